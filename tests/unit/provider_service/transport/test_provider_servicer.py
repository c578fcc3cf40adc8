import uuid

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from iap.provider.v1 import provider_pb2

from client_stub.errors import InvalidArgumentError
from client_stub.structs import from_struct, to_struct
from provider_service.transport.provider_servicer import SERVICE_NAME
from tests.unit.provider_service.broker_double import BrokerDouble
from tests.unit.provider_service.example_services import ExampleService
from tests.unit.provider_service.harness import Provider, providing, refusal_of


async def test_a_quote_needs_no_account_and_reserves_nothing(broker: BrokerDouble, provider: Provider) -> None:
    request = provider_pb2.QuoteRequest(service="echo", input=to_struct({"text": "hello"}))
    quote = await provider.stub.Quote(request, timeout=5)
    assert (quote.credits, quote.unit_name) == (5, "character")
    assert from_struct(quote.breakdown) == {"characters": 5}
    assert not broker.calls


async def test_a_quote_names_wrong_input(provider: Provider) -> None:
    request = provider_pb2.QuoteRequest(service="echo", input=Struct())
    refused = await refusal_of(provider.stub.Quote(request, timeout=5))
    assert isinstance(refused, InvalidArgumentError)
    assert list(refused.violations) == ["input.text", "input.other"]


async def test_a_quote_of_an_unknown_service_is_not_found(provider: Provider) -> None:
    request = provider_pb2.QuoteRequest(service="fax", input=Struct())
    refused = await refusal_of(provider.stub.Quote(request, timeout=5))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SERVICE_NOT_FOUND")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"request_id": "7"}, "request_id"),
        ({"service": ""}, "service"),
        ({"service": "x" * 64}, "service"),
        ({"account_token": ""}, "account_token"),
        ({"account_token": "x" * 201}, "account_token"),
        ({"input": None}, "input"),
    ],
)
async def test_a_field_that_breaks_its_rule_is_named(
    broker: BrokerDouble, provider: Provider, change: dict[str, object], field: str
) -> None:
    fields = {"request_id": str(uuid.uuid4()), "service": "echo", "account_token": "token", "input": Struct(), **change}
    request = provider_pb2.ServeRequestRequest(**fields)  # type: ignore[arg-type]
    refused = await refusal_of(provider.stub.ServeRequest(request, timeout=5))
    assert isinstance(refused, InvalidArgumentError)
    assert (refused.domain, list(refused.violations)) == ("iap.provider", [field])
    assert not broker.calls


async def test_services_are_listed_by_name(broker_address: str) -> None:
    async with providing(broker_address, [ExampleService("fax"), ExampleService("echo")]) as provider:
        listed = await provider.stub.ListServices(provider_pb2.ListServicesRequest(), timeout=5)
    assert [service.service for service in listed.services] == ["echo", "fax"]
    assert listed.services[0].title == "The echo service"
    assert listed.services[0].unit_name == "character"
    assert from_struct(listed.services[0].input_schema)["required"] == ["text"]


@pytest.mark.parametrize("name", ["", SERVICE_NAME])
async def test_health_is_serving(provider: Provider, name: str) -> None:
    assert SERVICE_NAME == "iap.provider.v1.ProviderService"
    stub = health_pb2_grpc.HealthStub(provider.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_names_the_service(provider: Provider) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(provider.channel)
    calls = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
    names = [service.name async for response in calls for service in response.list_services_response.service]
    assert SERVICE_NAME in names
