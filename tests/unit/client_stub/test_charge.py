import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest
from iap.broker.v1.broker_pb2 import (
    CaptureRequest,
    ReleaseRequest,
    Reservation,
    ReservationState,
    ReserveRequest,
    ReserveResponse,
)

from client_stub.broker import BrokerClient
from client_stub.charge import charge, drain_charges
from client_stub.errors import (
    IapError,
    InsufficientCreditsError,
    ReservationCapturedError,
    ReservationExpiredError,
    ReservationReleasedError,
    ReservationStateError,
)
from tests.unit.client_stub.charges import (
    ACTIVE,
    BROKEN,
    CAPTURE,
    CAPTURED,
    ID,
    RELEASE,
    RELEASED,
    RESERVE,
    Gate,
    a_broker,
    captured,
    charge_five,
    make_reservation,
    methods,
    released,
    reserved,
    run_charge,
    start_charge,
)
from tests.unit.client_stub.scripted_server import refusal


async def test_all_that_is_reserved_is_captured_by_default() -> None:
    async with a_broker() as (broker, server), charge_five(broker) as paying:
        assert paying.reservation.reservation_id == "rsv_1"
        assert paying.capture_credits is None
        before = paying.captured_credits
        assert paying.balance.available_credits == 10
    assert before is None
    assert server.requests(CAPTURE) == [CaptureRequest(request_id=ID, reservation_id="rsv_1")]
    assert paying.captured_credits == 5
    assert paying.balance.available_credits == 20
    assert paying.reservation.state == CAPTURED
    assert methods(server) == [RESERVE, CAPTURE]


async def test_what_to_pay_for_is_reserved_as_told() -> None:
    async with (
        a_broker() as (broker, server),
        charge(
            broker,
            account_token="token",
            credits=5,
            request_id=ID,
            ttl=timedelta(minutes=1),
            description="words",
            metadata={"a": "b"},
            timeout_seconds=4,
        ) as paying,
    ):
        assert not paying.replayed
        assert paying.request_id == ID
    assert server.requests(RESERVE) == [
        ReserveRequest(
            request_id=ID,
            account_token="token",
            credits=5,
            ttl=timedelta(minutes=1),
            description="words",
            metadata={"a": "b"},
        )
    ]
    assert all(2 < call.time_remaining_seconds < 4.5 for call in server.calls)


async def test_a_charge_without_a_request_id_uses_one_for_all_its_calls() -> None:
    async with a_broker() as (broker, server), charge(broker, account_token="token", credits=5) as paying:
        pass
    assert {call.request.request_id for call in server.calls} == {paying.request_id}


@pytest.mark.parametrize("credits_taken", [0, 2, 5])
async def test_the_body_decides_what_is_captured(credits_taken: int) -> None:
    async with a_broker() as (broker, server), charge_five(broker) as paying:
        paying.capture(credits_taken)
    assert server.requests(CAPTURE) == [CaptureRequest(request_id=ID, reservation_id="rsv_1", credits=credits_taken)]
    assert paying.captured_credits == credits_taken


async def test_the_last_word_on_what_is_captured_counts() -> None:
    async with a_broker() as (broker, server), charge_five(broker) as paying:
        paying.capture(2)
        paying.capture_credits = None
    assert not server.requests(CAPTURE)[0].HasField("credits")


@pytest.mark.parametrize("credits_taken", [-1, 6])
async def test_more_than_is_reserved_is_refused_at_once(credits_taken: int) -> None:
    async with a_broker() as (broker, server), charge_five(broker) as paying:
        with pytest.raises(ValueError, match=f"cannot capture {credits_taken} credits: 5 are reserved"):
            paying.capture(credits_taken)
        paying.capture_credits = 3
    assert paying.captured_credits == 3
    assert methods(server) == [RESERVE, CAPTURE]


async def test_half_a_credit_is_refused_at_once() -> None:
    async with a_broker() as (broker, _), charge_five(broker) as paying:
        with pytest.raises(TypeError):
            paying.capture(1.5)


async def test_what_was_captured_before_cannot_be_captured_again() -> None:
    before = ReserveResponse(
        reservation=Reservation(reservation_id="rsv_1", state=ACTIVE, reserved_credits=5, captured_credits=2),
        replayed=True,
    )
    async with a_broker(Reserve=before) as (broker, _), charge_five(broker) as paying:
        with pytest.raises(ValueError, match="3 are reserved"):
            paying.capture(4)


async def test_without_enough_credits_the_body_does_not_run() -> None:
    refused = refusal(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS", missing="2")
    async with a_broker(Reserve=refused) as (broker, server):
        with pytest.raises(InsufficientCreditsError):
            async with charge_five(broker):
                pytest.fail("the body ran")
    assert methods(server) == [RESERVE]


async def test_an_error_of_the_body_releases_and_is_raised_as_it_is() -> None:
    error = LookupError("no such number")
    async with a_broker() as (broker, server):
        with pytest.raises(LookupError) as caught:
            async with charge_five(broker) as paying:
                raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert server.requests(RELEASE) == [ReleaseRequest(request_id=ID, reservation_id="rsv_1")]
    assert methods(server) == [RESERVE, RELEASE]
    assert paying.captured_credits == 0
    assert paying.balance.available_credits == 15
    assert paying.reservation.state == RELEASED


async def test_when_the_release_fails_too_the_error_of_the_body_is_what_is_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_broker(Release=BROKEN) as (broker, _):
        with caplog.at_level(logging.WARNING), pytest.raises(LookupError) as caught:
            async with charge_five(broker):
                raise LookupError
    assert caught.value.__notes__ == ["and reservation rsv_1 was not released: INTERNAL: broken"]
    assert "charge.release_failed reservation_id=rsv_1" in caplog.text


@pytest.mark.parametrize("state", ["RELEASED", "EXPIRED", "CAPTURED"])
async def test_a_reservation_that_is_over_needs_no_release(state: str, caplog: pytest.LogCaptureFixture) -> None:
    over = refusal(grpc.StatusCode.FAILED_PRECONDITION, f"RESERVATION_{state}")
    async with a_broker(Release=over) as (broker, _):
        with pytest.raises(LookupError) as caught:
            async with charge_five(broker):
                raise LookupError
    assert not hasattr(caught.value, "__notes__")
    assert caplog.text == ""


async def test_a_cancelled_body_releases() -> None:
    async with a_broker() as (broker, server):
        task = await start_charge(broker, lambda: asyncio.sleep(30))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert methods(server) == [RESERVE, RELEASE]


async def test_a_body_that_times_out_releases() -> None:
    async with a_broker() as (broker, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), charge_five(broker):
                await asyncio.sleep(30)
        assert methods(server) == [RESERVE, RELEASE]


async def test_a_second_cancellation_ends_the_wait_and_not_the_release() -> None:
    gate = Gate(released)
    async with a_broker(Release=gate) as (broker, server):
        task = await start_charge(broker, lambda: asyncio.sleep(30))
        task.cancel()
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await drain_charges(0.05) == 1
        gate.opened.set()
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE, RELEASE]


async def test_a_cancellation_while_releasing_is_not_swallowed_by_the_error_of_the_body() -> None:
    async def fail() -> None:
        raise LookupError

    gate = Gate(released)
    async with a_broker(Release=gate) as (broker, _):
        task = await start_charge(broker, fail)
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()


async def test_a_cancellation_during_the_capture_does_not_lose_it() -> None:
    gate = Gate(captured)
    async with a_broker(Capture=gate) as (broker, server):
        task = await start_charge(broker, lambda: asyncio.sleep(0))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await drain_charges(0.05) == 1
        gate.opened.set()
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE, CAPTURE]


async def test_a_capture_that_fails_is_raised_and_logged_and_nothing_is_released(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_broker(Capture=BROKEN) as (broker, server):
        with caplog.at_level(logging.WARNING), pytest.raises(IapError, match="broken"):
            await run_charge(broker)
    assert methods(server) == [RESERVE, CAPTURE]
    assert "charge.capture_failed reservation_id=rsv_1" in caplog.text


async def test_a_capture_that_comes_too_late_is_raised() -> None:
    expired = refusal(grpc.StatusCode.FAILED_PRECONDITION, "RESERVATION_EXPIRED")
    async with a_broker(Capture=expired) as (broker, _):
        with pytest.raises(ReservationExpiredError):
            await run_charge(broker)


async def test_what_is_reserved_for_a_cancelled_caller_is_given_back() -> None:
    gate = Gate(reserved)
    async with a_broker(Reserve=gate) as (broker, server):
        task = asyncio.create_task(run_charge(broker))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        assert await drain_charges(5) == 0
        assert methods(server) == [RESERVE, RELEASE]


async def test_a_cancelled_caller_leaves_the_reservation_of_another_attempt_alone() -> None:
    def reserved_before(request: ReserveRequest) -> ReserveResponse:
        response = reserved(request)
        response.replayed = True
        return response

    gate = Gate(reserved_before)
    async with a_broker(Reserve=gate) as (broker, server):
        task = asyncio.create_task(run_charge(broker))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        assert await drain_charges(5) == 0
        assert methods(server) == [RESERVE]


async def test_a_refusal_after_the_caller_was_cancelled_is_of_no_consequence() -> None:
    gate = Gate(lambda _request: BROKEN)
    async with a_broker(Reserve=gate) as (broker, server):
        task = asyncio.create_task(run_charge(broker))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        assert await drain_charges(5) == 0
        assert methods(server) == [RESERVE]


async def test_a_coroutine_that_is_closed_releases_in_the_background() -> None:
    async with a_broker() as (broker, server):
        entered = charge_five(broker)
        await entered.__aenter__()
        assert await entered.__aexit__(GeneratorExit, GeneratorExit(), None) in {None, False}
        assert methods(server) == [RESERVE]
        assert await drain_charges(5) == 0
        assert methods(server) == [RESERVE, RELEASE]


async def test_a_generator_that_is_closed_while_it_charges_releases() -> None:
    async def pieces(broker: BrokerClient) -> AsyncIterator[int]:
        async with charge_five(broker):
            yield 1
            yield 2

    async with a_broker() as (broker, server):
        generator = pieces(broker)
        assert await anext(generator) == 1
        await generator.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert await drain_charges(5) == 0
        assert methods(server) == [RESERVE, RELEASE]


async def test_an_active_reservation_of_an_earlier_attempt_is_used() -> None:
    before = ReserveResponse(reservation=make_reservation(ACTIVE, 5), replayed=True)
    async with a_broker(Reserve=before) as (broker, server), charge_five(broker) as paying:
        assert paying.replayed
    assert methods(server) == [RESERVE, CAPTURE]


@pytest.mark.parametrize(
    ("state", "expected_class"),
    [
        (ReservationState.RESERVATION_STATE_CAPTURED, ReservationCapturedError),
        (ReservationState.RESERVATION_STATE_RELEASED, ReservationReleasedError),
        (ReservationState.RESERVATION_STATE_EXPIRED, ReservationExpiredError),
    ],
)
async def test_a_reservation_that_was_over_before_does_not_run_the_body(
    state: ReservationState, expected_class: type[ReservationStateError]
) -> None:
    before = ReserveResponse(reservation=make_reservation(state, 5), replayed=True)
    async with a_broker(Reserve=before) as (broker, server):
        with pytest.raises(expected_class) as caught:
            async with charge_five(broker):
                pytest.fail("the body ran")
    error = caught.value
    assert (error.state, error.code) == (state, grpc.StatusCode.FAILED_PRECONDITION)
    assert error.reason == ReservationState.Name(state).replace("_STATE", "")
    assert (error.domain, error.metadata) == ("iap.broker", {"reservation_id": "rsv_1"})
    assert methods(server) == [RESERVE]


async def test_the_release_has_a_time_budget_of_its_own() -> None:
    gate = Gate(released)
    async with a_broker(Release=gate) as (broker, _):
        with pytest.raises(LookupError) as caught:
            async with charge_five(broker, timeout_seconds=0.3):
                raise LookupError
        gate.opened.set()
    assert "no answer within 0.3 s" in caught.value.__notes__[0]


async def test_nothing_to_drain_is_drained_at_once() -> None:
    assert await drain_charges(0) == 0
