"""The same request_id again, when all that is left of the first is the broker's reservation."""

import uuid
from collections.abc import Mapping

import grpc
import pytest

from provider_service.services.service import Json, ServiceFailure
from tests.unit.provider_service.broker_double import ACTIVE, CAPTURED, BrokerDouble, refusal
from tests.unit.provider_service.example_services import ExampleService
from tests.unit.provider_service.harness import providing


@pytest.fixture
def request_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def token(broker: BrokerDouble) -> str:
    return broker.open_account(100)


async def fail(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    raise ServiceFailure("no", retryable=False)


async def test_after_a_restart_a_served_request_is_not_charged_again(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service]) as before:
        first = await before.serve(account_token=token, request_id=request_id)
    async with providing(broker_address, [service]) as after:
        again = await after.serve(account_token=token, request_id=request_id, timeout=3)
    assert again.replayed
    assert not again.HasField("output")
    assert (again.reservation_id, again.charged_credits) == (first.reservation_id, 5)
    assert again.balance == first.balance
    assert len(service.requests) == broker.calls["Capture"] == 1


async def test_after_a_restart_the_same_id_for_another_input_of_the_same_price_is_refused(
    broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service]) as before:
        await before.serve(account_token=token, request_id=request_id, text="hello")
    async with providing(broker_address, [service]) as after:
        refused = await after.refused(account_token=token, request_id=request_id, text="world")
    assert refused.reason == "REQUEST_ID_REUSED"
    assert len(service.requests) == 1


def change_price_and_title(service: ExampleService) -> None:
    service.price = 3
    service.title = "A new title"


async def test_after_a_change_of_price_a_served_request_is_replayed_at_the_old_one(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service]) as before:
        first = await before.serve(account_token=token, request_id=request_id)
    change_price_and_title(service)
    async with providing(broker_address, [service]) as after:
        again = await after.serve(account_token=token, request_id=request_id)
    assert again.replayed
    assert (again.reservation_id, again.charged_credits) == (first.reservation_id, 5)
    assert again.balance == first.balance
    assert len(service.requests) == broker.calls["Capture"] == 1


async def test_after_a_change_of_price_what_is_reserved_is_worked_for_and_taken(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service]) as before:
        broker.fail("Reserve", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), after=True)
        await before.refused(account_token=token, request_id=request_id)
    change_price_and_title(service)
    async with providing(broker_address, [service]) as after:
        response = await after.serve(account_token=token, request_id=request_id)
    assert (response.charged_credits, response.replayed) == (5, False)
    assert response.balance.ledger_credits == 95
    assert response.output["echo"] == "hello"
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED]


async def test_after_a_change_of_price_a_failed_request_is_not_done_again(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    service.work = fail
    async with providing(broker_address, [service]) as before:
        await before.refused(account_token=token, request_id=request_id)
    change_price_and_title(service)
    async with providing(broker_address, [service]) as after:
        refused = await after.refused(account_token=token, request_id=request_id)
    assert refused.reason == "RESERVATION_RELEASED"
    assert len(service.requests) == 1


async def test_after_a_change_of_price_the_same_id_for_another_input_is_refused(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service]) as before:
        await before.serve(account_token=token, request_id=request_id, text="hello")
    change_price_and_title(service)
    async with providing(broker_address, [service]) as after:
        refused = await after.refused(account_token=token, request_id=request_id, text="world")
    assert (refused.reason, refused.domain) == ("REQUEST_ID_REUSED", "iap.broker")
    assert len(service.requests) == 1


@pytest.mark.parametrize("rpc", ["GetReservation", "CheckCredits"])
async def test_an_earlier_reservation_that_cannot_be_read_now_can_be_later(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str, rpc: str
) -> None:
    async with providing(broker_address, [service]) as before:
        await before.serve(account_token=token, request_id=request_id)
    change_price_and_title(service)
    async with providing(broker_address, [service]) as after:
        broker.fail(rpc, refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"))
        assert (await after.refused(account_token=token, request_id=request_id)).reason == "STORAGE_CONFLICT"
        assert (await after.serve(account_token=token, request_id=request_id)).replayed


async def test_after_a_restart_a_failed_request_is_not_done_again(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    service.work = fail
    async with providing(broker_address, [service]) as before:
        await before.refused(account_token=token, request_id=request_id)
    async with providing(broker_address, [service]) as after:
        refused = await after.refused(account_token=token, request_id=request_id)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESERVATION_RELEASED")
    assert len(service.requests) == 1


async def test_an_expired_request_that_nobody_remembers_is_not_done_again(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service]) as before:
        broker.fail("Capture", refusal(grpc.StatusCode.NOT_FOUND, "RESERVATION_NOT_FOUND"))
        assert (await before.refused(account_token=token, request_id=request_id)).reason == "UNAVAILABLE"
    (booking,) = broker.bookings.values()
    booking.reservation.expire_time.FromSeconds(1)
    async with providing(broker_address, [service]) as after:
        refused = await after.refused(account_token=token, request_id=request_id)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESERVATION_EXPIRED")
    assert refused.metadata == {
        "reservation_id": booking.reservation.reservation_id,
        "expire_time": "1970-01-01T00:00:01Z",
    }
    assert len(service.requests) == 1


async def test_what_died_between_reserve_and_capture_is_done_and_charged_once(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service]) as before:
        broker.fail("Reserve", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), after=True)
        await before.refused(account_token=token, request_id=request_id)
    assert [reservation.state for reservation in broker.reservations] == [ACTIVE]
    async with providing(broker_address, [service]) as after:
        response = await after.serve(account_token=token, request_id=request_id)
    assert (response.charged_credits, response.replayed) == (5, False)
    assert broker.accounts[token].balance.ledger_credits == 95
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED]
