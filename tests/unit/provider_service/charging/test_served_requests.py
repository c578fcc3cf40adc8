"""What one request leads to: served and charged, or refused and not."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import replace

import grpc
import pytest
from iap.provider.v1.provider_pb2_grpc import ProviderServiceStub

from client_stub.errors import (
    InsufficientCreditsError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ServiceFailedError,
)
from client_stub.structs import from_struct
from provider_service.charging import outputs
from provider_service.services.service import FieldViolation, InvalidInput, Json, ServiceFailure
from tests.unit.provider_service.broker_double import (
    CAPTURED,
    RELEASED,
    BrokerDouble,
    insufficient_credits,
    refusal,
)
from tests.unit.provider_service.example_services import ExampleService
from tests.unit.provider_service.harness import Provider, providing


def balance(response: object) -> tuple[int, int, int]:
    numbers = response.balance  # type: ignore[attr-defined]
    return numbers.ledger_credits, numbers.reserved_credits, numbers.available_credits


async def test_a_request_is_served_and_charged(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    token, request_id = broker.open_account(10), str(uuid.uuid4())
    response = await provider.serve(account_token=token, text="hello", request_id=request_id)
    assert from_struct(response.output) == {"echo": "hello"}
    assert response.charged_credits == 5
    assert balance(response) == (5, 0, 5)
    assert not response.replayed
    assert service.requests == [request_id]
    (reservation,) = broker.reservations
    assert reservation.state == CAPTURED
    assert reservation.reservation_id == response.reservation_id
    assert reservation.description == "The echo service"


async def test_the_broker_learns_nothing_of_the_input(broker: BrokerDouble, provider: Provider) -> None:
    token = broker.open_account(50)
    await provider.serve(account_token=token, text="+12025550143")
    (booking,) = broker.bookings.values()
    assert "2025550143" not in str(booking.request)
    assert list(booking.request.metadata) == ["request_digest"]


async def test_too_few_credits_are_refused_with_the_brokers_own_status(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    token = broker.open_account(3)
    refused = await provider.refused(account_token=token, text="hello")
    assert isinstance(refused, InsufficientCreditsError)
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.status == insufficient_credits("echo", available=3, required=5).to_status()
    assert refused.offer is not None
    assert refused.offer.packs[0].credits == 100
    assert service.requests == []


async def test_a_refused_id_may_be_used_again_after_a_top_up(broker: BrokerDouble, provider: Provider) -> None:
    token, request_id = broker.open_account(3), str(uuid.uuid4())
    await provider.refused(account_token=token, request_id=request_id)
    broker.accounts[token].ledger_credits = 100
    response = await provider.serve(account_token=token, request_id=request_id)
    assert (response.charged_credits, response.replayed) == (5, False)


async def test_wrong_input_is_named_field_by_field_and_reserves_nothing(
    broker: BrokerDouble, provider: Provider
) -> None:
    refused = await provider.refused(account_token=broker.open_account(10), text=7)
    assert isinstance(refused, InvalidArgumentError)
    assert refused.domain == "iap.provider"
    assert dict(refused.violations) == {"input.text": "must be text", "input.other": "must be left out"}
    assert not broker.calls


async def test_an_unknown_service_is_not_found(broker: BrokerDouble, provider: Provider) -> None:
    refused = await provider.refused(account_token=broker.open_account(10), service="fax")
    assert isinstance(refused, NotFoundError)
    assert (refused.reason, refused.domain) == ("SERVICE_NOT_FOUND", "iap.provider")
    assert refused.metadata == {"service": "fax"}
    assert refused.details[0].resource_name == "fax"  # type: ignore[attr-defined]
    assert not broker.calls


async def test_credits_of_another_service_do_not_pay(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    token = broker.open_account(10, service="fax")
    refused = await provider.refused(account_token=token)
    assert isinstance(refused, PermissionDeniedError)
    assert refused.metadata == {"service": "echo", "account_service": "fax"}
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]
    assert service.requests == []


async def test_an_account_of_another_service_is_refused_the_same_way_every_time(
    broker: BrokerDouble, broker_address: str, provider: Provider, service: ExampleService
) -> None:
    faxing, right, request_id = broker.open_account(10, service="fax"), broker.open_account(10), str(uuid.uuid4())
    first, again = [await provider.refused(account_token=faxing, request_id=request_id) for _ in range(2)]
    async with providing(broker_address, [service]) as restarted:
        elsewhere = await restarted.refused(account_token=faxing, request_id=request_id)
    assert first.reason == "PERMISSION_DENIED"
    assert first.status == again.status == elsewhere.status
    assert (await provider.serve(account_token=right, request_id=request_id)).charged_credits == 5
    assert broker.accounts[faxing].balance.available_credits == 10
    assert broker.calls["Release"] == 1


@pytest.mark.parametrize(
    ("retryable", "code"),
    [(True, grpc.StatusCode.UNAVAILABLE), (False, grpc.StatusCode.FAILED_PRECONDITION)],
)
async def test_failed_work_is_released_and_explained(
    broker: BrokerDouble, provider: Provider, service: ExampleService, retryable: bool, code: grpc.StatusCode
) -> None:
    async def fail(_input: Mapping[str, Json]) -> Mapping[str, Json]:
        raise ServiceFailure("the line is busy", retryable=retryable)

    service.work = fail
    token = broker.open_account(10)
    refused = await provider.refused(account_token=token)
    assert isinstance(refused, ServiceFailedError)
    assert (refused.code, refused.domain, refused.service) == (code, "iap.provider", "echo")
    assert refused.message == "the line is busy; nothing was charged"
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]
    assert broker.accounts[token].balance.available_credits == 10


async def test_a_retryable_failure_is_not_retried_by_the_callers_channel(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def fail(_input: Mapping[str, Json]) -> Mapping[str, Json]:
        raise ServiceFailure("the line is busy", retryable=True)

    service.work = fail
    policy = {"maxAttempts": 5, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1}
    config = {"methodConfig": [{"name": [{}], "retryPolicy": {**policy, "retryableStatusCodes": ["UNAVAILABLE"]}}]}
    options = [("grpc.service_config", json.dumps(config))]
    async with grpc.aio.insecure_channel(provider.address, options=options) as channel:
        retrying = replace(provider, stub=ProviderServiceStub(channel), channel=channel)
        refused = await retrying.refused(account_token=broker.open_account(10))
        assert refused.reason == "SERVICE_FAILED"
        broker.fail("Reserve", refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"))
        refused = await retrying.refused(account_token=broker.open_account(10))
        assert refused.reason == "SERVICE_FAILED", "what has used up no request_id is retried"


async def test_work_that_refuses_its_input_is_released(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def refuse(_input: Mapping[str, Json]) -> Mapping[str, Json]:
        raise InvalidInput([FieldViolation("text", "must be nicer")])

    service.work = refuse
    refused = await provider.refused(account_token=broker.open_account(10))
    assert isinstance(refused, InvalidArgumentError)
    assert dict(refused.violations) == {"input.text": "must be nicer"}
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def crash(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    raise RuntimeError("the password is hunter2")


async def cancel_itself(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    raise asyncio.CancelledError


async def time_out_itself(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    raise TimeoutError("the password is hunter2")


async def answer_what_is_no_json(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    return {"echo": {1, 2}}  # type: ignore[dict-item]


async def answer_no_mapping(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    return ["echo"]  # type: ignore[return-value]


async def answer_too_much(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    return {"echo": "x" * 1000}


@pytest.mark.parametrize(
    "work", [crash, cancel_itself, time_out_itself, answer_what_is_no_json, answer_no_mapping, answer_too_much]
)
async def test_a_bug_in_a_service_is_released_and_not_shown(
    broker: BrokerDouble,
    provider: Provider,
    service: ExampleService,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    work: object,
) -> None:
    monkeypatch.setattr(outputs, "_LIMIT_BYTES", 1000)
    service.work = work  # type: ignore[assignment]
    refused = await provider.refused(account_token=broker.open_account(10))
    assert (refused.code, refused.reason, refused.domain) == (grpc.StatusCode.INTERNAL, "INTERNAL", "iap.provider")
    assert "hunter2" not in str(refused.status)
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]
    output = capfd.readouterr()
    assert (output.out + output.err).count("service.bug") == 1
    assert "call.bug" not in output.out + output.err
