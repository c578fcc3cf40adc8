"""Work that is done is charged for, as long as there is time to."""

from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from client_stub.provider import ProviderClient
from tests.unit.provider_service.broker_double import CAPTURED, BrokerDouble, refusal
from tests.unit.provider_service.example_services import ExampleService
from tests.unit.provider_service.harness import Provider


async def test_a_capture_whose_key_is_not_known_everywhere_yet_is_repeated_and_the_work_is_not(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    broker.fail("Capture", refusal(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID"))
    async with ProviderClient.connect(provider.address) as client:
        served = await client.serve(service="echo", account_token=broker.open_account(10), input={"text": "hello"})
    assert (served.charged_credits, len(service.requests), broker.calls["Capture"]) == (5, 1, 2)


async def test_a_capture_is_tried_once_more_before_the_reservation_expires(
    broker: BrokerDouble, provider: Provider
) -> None:
    broker.default_ttl = timedelta(seconds=1)
    asked_to_wait = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=5))
    broker.fail("Capture", refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", asked_to_wait))
    await provider.serve(account_token=broker.open_account(10), timeout=10)
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED]
