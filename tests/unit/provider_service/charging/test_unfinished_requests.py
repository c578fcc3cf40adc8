"""Requests whose time runs out, whose caller leaves, or whose broker does not confirm."""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import timedelta

import grpc
import pytest

from client_stub.structs import from_struct
from mesh_runtime.call_errors import CallError
from provider_service.charging import budgets
from provider_service.services.service import Json, ServiceFailure
from tests.unit.provider_service.broker_double import ACTIVE, CAPTURED, RELEASED, BrokerDouble, refusal
from tests.unit.provider_service.example_services import ExampleService, Gate
from tests.unit.provider_service.harness import Provider, providing, until


async def test_work_that_takes_too_long_is_ended_and_released(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    gate = Gate()
    service.work = gate.work
    refused = await provider.refused(account_token=broker.open_account(10), timeout=1.6)
    assert gate.cancelled.is_set()
    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "SERVICE_FAILED")
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_without_a_deadline_there_is_one_all_the_same(
    broker: BrokerDouble, provider: Provider, service: ExampleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "REQUEST_SECONDS", 1.6)
    service.work = Gate().work
    async with asyncio.timeout(20):
        refused = await provider.refused(account_token=broker.open_account(10), timeout=None)
    assert refused.reason == "SERVICE_FAILED"
    # The answer waits for the release only as long as there is time.
    await until(lambda: [reservation.state for reservation in broker.reservations] == [RELEASED])


async def test_work_ends_before_its_reservation_does(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    broker.default_ttl = timedelta(seconds=2)
    gate = Gate()
    service.work = gate.work
    refused = await provider.refused(account_token=broker.open_account(10), timeout=10)
    assert refused.reason == "SERVICE_FAILED"
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_a_service_that_is_slow_to_give_up_keeps_nobody_waiting(
    broker: BrokerDouble, provider: Provider, service: ExampleService, capfd: pytest.CaptureFixture[str]
) -> None:
    gate, unwound = Gate(), asyncio.Event()

    async def unwind_slowly(service_input: Mapping[str, Json]) -> Mapping[str, Json]:
        try:
            return await gate.work(service_input)
        finally:
            await unwound.wait()

    service.work = unwind_slowly
    refused = asyncio.create_task(provider.refused(account_token=broker.open_account(10), timeout=0.5))
    await asyncio.wait_for(gate.cancelled.wait(), 20)
    await refused
    unwound.set()
    await provider.settle()
    output = capfd.readouterr()
    assert "bug" not in output.out + output.err
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_a_caller_who_leaves_during_the_work_ends_and_releases_it(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    gate = Gate()
    service.work = gate.work
    call = provider.begin(account_token=broker.open_account(10))
    await service.began.wait()
    call.cancel()
    await asyncio.wait_for(gate.cancelled.wait(), 20)
    await provider.settle()
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_a_caller_who_leaves_while_credits_are_reserved_gets_nothing_done(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    reserving, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reserving.set()
        await go_on.wait()

    broker.after["Reserve"] = [hold]
    call = provider.begin(account_token=broker.open_account(10))
    await reserving.wait()
    call.cancel()
    await asyncio.sleep(0.1)
    go_on.set()
    await provider.settle()
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]
    assert service.requests == []


async def test_work_that_is_done_is_captured_although_the_caller_left(broker: BrokerDouble, provider: Provider) -> None:
    capturing, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        capturing.set()
        await go_on.wait()

    broker.before["Capture"] = [hold]
    call = provider.begin(account_token=broker.open_account(10))
    await capturing.wait()
    call.cancel()
    await asyncio.sleep(0.1)
    go_on.set()
    await provider.settle()
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED]
    assert broker.calls["Release"] == 0


async def test_a_release_that_fails_is_repeated_in_the_background(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def fail(_input: Mapping[str, Json]) -> Mapping[str, Json]:
        raise ServiceFailure("no", retryable=False)

    service.work = fail
    broker.fail("Release", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), times=3)
    refused = await provider.refused(account_token=broker.open_account(10), timeout=1)
    assert refused.reason == "SERVICE_FAILED"
    await provider.settle()
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]
    assert broker.calls["Release"] == 4


async def test_a_capture_whose_answer_is_lost_is_repeated(broker: BrokerDouble, provider: Provider) -> None:
    broker.fail("Capture", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), after=True)
    response = await provider.serve(account_token=broker.open_account(10))
    assert response.charged_credits == 5
    assert response.balance.available_credits == 5
    assert broker.calls["Capture"] == 2


@pytest.mark.parametrize(
    "error",
    [refusal(grpc.StatusCode.INTERNAL, "INTERNAL"), refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "")],
    ids=lambda error: error.code.name,
)
async def test_a_capture_that_may_succeed_yet_is_repeated(
    broker: BrokerDouble, provider: Provider, service: ExampleService, error: CallError
) -> None:
    broker.fail("Capture", error, times=2)
    response = await provider.serve(account_token=broker.open_account(10))
    assert response.charged_credits == 5
    assert len(service.requests) == 1


async def test_a_capture_is_not_repeated_after_its_reservation_expired(
    broker: BrokerDouble, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    broker.default_ttl = timedelta(seconds=2)
    broker.fail("Capture", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), times=100)
    refused = await provider.refused(account_token=broker.open_account(10))
    assert (refused.reason, refused.domain) == ("UNAVAILABLE", "iap.provider")
    output = capfd.readouterr()
    assert "charging.work_unpaid" in output.out + output.err


async def test_a_reservation_of_another_process_is_not_released_because_a_caller_left(
    broker: BrokerDouble, broker_address: str, provider: Provider, service: ExampleService
) -> None:
    gate = Gate()
    elsewhere = ExampleService(work=gate.work)
    token, request_id = broker.open_account(10), str(uuid.uuid4())
    reserving, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reserving.set()
        await go_on.wait()

    async with providing(broker_address, [elsewhere]) as other:
        working = other.begin(account_token=token, request_id=request_id)
        await elsewhere.began.wait()
        broker.after["Reserve"] = [hold]
        call = provider.begin(account_token=token, request_id=request_id)
        await reserving.wait()
        call.cancel()
        await asyncio.sleep(0.1)
        go_on.set()
        await provider.settle()
        gate.opened.set()
        assert (await working).charged_credits == 5
    assert service.requests == []


async def test_work_that_cannot_be_captured_any_more_is_reported(
    broker: BrokerDouble, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    async def expire() -> None:
        (booking,) = broker.bookings.values()
        booking.reservation.expire_time.FromSeconds(1)

    broker.before["Capture"] = [expire]
    refused = await provider.refused(account_token=broker.open_account(10))
    assert (refused.reason, refused.domain) == ("UNAVAILABLE", "iap.provider")
    output = capfd.readouterr()
    assert "charging.work_unpaid" in output.out + output.err


async def test_work_that_could_not_be_captured_is_withheld_until_a_retry_pays_for_it(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def expire() -> None:
        (booking,) = broker.bookings.values()
        booking.reservation.expire_time.FromSeconds(1)

    broker.before["Capture"] = [expire]
    token, request_id = broker.open_account(5), str(uuid.uuid4())
    await provider.refused(account_token=token, request_id=request_id)
    assert broker.accounts[token].ledger_credits == 5
    broker.accounts[token].ledger_credits = 4
    refused = await provider.refused(account_token=token, request_id=request_id)
    assert refused.reason == "INSUFFICIENT_CREDITS"
    broker.accounts[token].ledger_credits = 5
    for _ in range(2):
        served = await provider.serve(account_token=token, request_id=request_id)
        assert from_struct(served.output) == {"echo": "hello"}
        assert (served.charged_credits, served.balance.ledger_credits, served.replayed) == (5, 0, True)
    assert (len(service.requests), len(broker.charges)) == (1, 1)


async def test_an_attempt_that_is_cancelled_as_the_process_ends_is_left_to_expire(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    gate = Gate()
    service.work = gate.work
    call = asyncio.create_task(provider.refused(account_token=broker.open_account(10)))
    await service.began.wait()
    (attempt,) = provider.pending._tasks
    attempt.cancel()
    assert (await call).reason == "INTERNAL"
    assert attempt.cancelled()
    assert [reservation.state for reservation in broker.reservations] == [ACTIVE]
