"""How streams end before their service is done, and what is paid then."""

import asyncio
from contextlib import aclosing
from datetime import timedelta

import grpc
import pytest

from client_stub.errors import (
    AccountNotFoundError,
    InternalError,
    PreconditionError,
    ReservationExpiredError,
    ReservationReleasedError,
    ServiceFailedError,
    SuspendedError,
    UnavailableError,
)
from client_stub.provider import ProviderClient
from provider_service.charging import stream_session
from provider_service.services.charge import StreamCharge
from provider_service.services.service import FieldViolation, InvalidInput, Json, ServiceFailure
from tests.contract.broker_world.operations import extend, resume_account, suspend_account
from tests.contract.broker_world.world import World, new_id
from tests.contract.provider_streams.metered_service import Chunks, MeteredService, Script, pieces
from tests.contract.provider_streams.streaming import RELEASED, Streaming, receive

# How many chunks of 5 KB may be on their way to a client that does not read.
AHEAD = 10
# How long they are waited for.
READER_SECONDS = 0.5


def failing(error: BaseException, *, after: int, each: int = 3) -> Script:
    """A service that fails behind some chunks, with credits metered that no chunk followed."""

    async def script(charge: StreamCharge) -> Chunks:
        for index in range(after):
            await charge.meter(each)
            yield {"piece": index}
        await charge.meter(each)
        raise error

    return script


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ServiceFailure("the line is dead", retryable=False), "FAILED_PRECONDITION", "the line is dead"),
        (ServiceFailure("the line is busy", retryable=True), "UNAVAILABLE", "the line is busy"),
        (RuntimeError("secret"), "INTERNAL", "an internal error occurred"),
        (asyncio.CancelledError(), "INTERNAL", "an internal error occurred"),
        (TimeoutError(), "INTERNAL", "an internal error occurred"),
        (InvalidInput([FieldViolation("text", "is odd")]), "INVALID_ARGUMENT", "input.text: is"),
        (InvalidInput([FieldViolation("", "is odd")]), "INVALID_ARGUMENT", "input: is odd"),
    ],
)
@pytest.mark.parametrize("after", [0, 2])
async def test_what_was_delivered_before_a_failure_is_paid(
    streaming: Streaming,
    service: MeteredService,
    error: BaseException,
    code: str,
    message: str,
    after: int,
) -> None:
    service.script = failing(error, after=after)
    account = await streaming.account(50)
    received = await streaming.read(account)
    assert received.error is not None
    assert received.error.code.name == code
    assert received.error.message.startswith(message)
    charged = "what was delivered was charged, in credits: 6" if after else "nothing was charged"
    assert received.error.message.endswith(f"; {charged}")
    assert received.error.metadata["charged_credits"] == str(3 * after)
    assert (len(received.chunks), received.last) == (after, None)
    assert await streaming.books(account) == (3 * after, 0)


@pytest.mark.parametrize("chunk", ["text", {"x": object()}, {"x": "x" * 4 * 1024 * 1024}])
async def test_a_chunk_that_cannot_be_sent_is_a_bug(
    streaming: Streaming, service: MeteredService, chunk: dict[str, Json]
) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        await charge.meter(2)
        yield {}
        await charge.meter(2)
        yield chunk

    service.script = script
    account = await streaming.account(50)
    received = await streaming.read(account)
    assert isinstance(received.error, InternalError)
    assert await streaming.books(account) == (2, 0)


async def test_a_caller_who_leaves_stops_the_meter(streaming: Streaming, service: MeteredService) -> None:
    async def wait(_index: int) -> None:
        await asyncio.sleep(0.02)

    service.script = pieces(1_000, after=wait)
    account = await streaming.account(500)
    received = 0
    async with aclosing(streaming.open(account)) as responses:
        async for response in responses:
            received = response.charged_credits
            if received == 5:
                break
    await service.ended.wait()
    paid, reserved = await streaming.books(account)
    assert received <= paid < received + 50, "some chunks may have been on their way, on a busy machine"
    assert (reserved, service.yielded <= paid + 1) == (0, True)


async def test_a_service_that_waits_is_cancelled_when_the_caller_leaves(
    streaming: Streaming, service: MeteredService
) -> None:
    waiting, cancelled = asyncio.Event(), asyncio.Event()

    async def script(charge: StreamCharge) -> Chunks:
        await charge.meter(1)
        yield {}
        await charge.meter(1)
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    service.script = script
    account = await streaming.account(50)
    reading = asyncio.create_task(streaming.read(account))
    await waiting.wait()
    reading.cancel()
    await asyncio.wait_for(cancelled.wait(), 20)
    assert await streaming.books(account) == (1, 0)


async def test_a_caller_who_leaves_at_once_pays_nothing(streaming: Streaming, service: MeteredService) -> None:
    account = await streaming.account(50)
    stop = asyncio.Event()
    service.script = pieces(0, after=None)

    async def script(_charge: StreamCharge) -> Chunks:
        stop.set()
        await asyncio.Event().wait()
        yield {}

    service.script = script
    reading = asyncio.create_task(streaming.read(account))
    await stop.wait()
    reading.cancel()
    await asyncio.wait({reading})
    await service.ended.wait()
    assert await streaming.books(account) == (0, 0)
    assert [reservation.state for reservation in await streaming.reservations(account)] == [RELEASED]


async def test_a_service_that_does_not_end_is_paid_without_it(
    streaming: Streaming, service: MeteredService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_session, "UNWIND_SECONDS", 0.05)
    unwound, metered_late = asyncio.Event(), asyncio.Event()

    async def script(charge: StreamCharge) -> Chunks:
        await charge.meter(2)
        yield {}
        try:
            await asyncio.Event().wait()
        finally:
            await unwound.wait()
            with pytest.raises(RuntimeError):
                await charge.meter(1)
            metered_late.set()

    service.script = script
    account = await streaming.account(50)
    async with aclosing(streaming.open(account)) as responses:
        assert (await anext(responses)).charged_credits == 2
    await streaming.ledger_reaches(account, 48)
    unwound.set()
    await metered_late.wait()
    assert await streaming.books(account) == (2, 0)


async def test_a_slow_reader_slows_the_service(streaming: Streaming, service: MeteredService) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        while True:
            await charge.meter(1)
            yield {"text": "x" * 5_000}

    service.script = script
    account = await streaming.account(400)
    received = 0
    async with aclosing(streaming.open(account)) as responses:
        async for response in responses:
            received += 1
            assert response.charged_credits == received
            # The client takes in no more than a few chunks ahead.
            assert service.yielded <= received + AHEAD
            if received == 20:
                break
            await asyncio.sleep(0.01)
    paid, reserved = await streaming.books(account)
    assert 20 <= paid <= 20 + AHEAD
    assert reserved == 0


async def test_a_chunk_that_was_not_taken_is_not_paid(streaming: Streaming, service: MeteredService) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        for _ in range(3):
            await charge.meter(7)
            yield {"text": "x" * 500_000}

    service.script = script
    streaming.provider.streams._reader_seconds = READER_SECONDS
    account = await streaming.account(400)
    responses = streaming.open(account)
    assert (await anext(responses)).charged_credits == 7
    await service.ended.wait()
    assert await streaming.books(account) == (7, 0)
    await responses.aclose()


async def test_a_stream_that_is_not_read_ends(streaming: Streaming, service: MeteredService) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        while True:
            await charge.meter(1)
            yield {"text": "x" * 5_000}

    service.script = script
    streaming.provider.streams._reader_seconds = READER_SECONDS
    account = await streaming.account(400)
    responses = streaming.open(account)
    await anext(responses)
    await service.ended.wait()
    paid, reserved = await streaming.books(account)
    assert (1 < paid <= 1 + AHEAD, reserved) == (True, 0)
    received = await receive(responses)
    assert isinstance(received.error, PreconditionError)
    assert received.error.reason == "STREAM_NOT_READ"
    # What gRPC still held when the stream ended was no longer counted.
    assert received.paid_credits in (paid, paid + 1)


async def test_the_deadline_ends_a_stream_in_good_order(streaming: Streaming, service: MeteredService) -> None:
    async def wait(_index: int) -> None:
        await asyncio.sleep(0.02)

    service.script = pieces(10_000, after=wait)
    account = await streaming.account(500)
    received = await streaming.read(account, deadline_seconds=1.6)
    assert isinstance(received.error, ServiceFailedError)
    assert received.error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert received.error.metadata["charged_credits"] == str(received.paid_credits)
    assert received.paid_credits == len(received.chunks) > 0
    assert await streaming.books(account) == (received.paid_credits, 0)


async def test_a_server_that_stops_ends_its_streams_in_good_order(
    streaming: Streaming, service: MeteredService
) -> None:
    async def wait(index: int) -> None:
        if index == 3:
            streaming.provider.streams.end_all()
        await asyncio.sleep(0)

    service.script = pieces(10_000, after=wait)
    account = await streaming.account(500)
    received = await streaming.read(account)
    assert isinstance(received.error, UnavailableError)
    assert received.error.retry_after == timedelta(seconds=1)
    paid = received.paid_credits
    assert received.error.metadata["charged_credits"] == str(paid)
    assert paid == len(received.chunks) in (4, 5)
    assert await streaming.books(account) == (paid, 0)
    # On a channel that does not try again by itself.
    streaming.client = ProviderClient(streaming.provider.channel)
    refused = await streaming.read(account)
    assert isinstance(refused.error, UnavailableError)
    assert await streaming.books(account) == (paid, 0)


async def test_a_suspended_account_gets_what_is_set_aside_and_no_more(
    streaming: Streaming, service: MeteredService
) -> None:
    account = await streaming.account(100)

    async def suspend(index: int) -> None:
        if index == 1:
            await suspend_account(streaming.world, account)

    service.script = pieces(100, after=suspend)
    received = await streaming.read(account)
    assert isinstance(received.error, SuspendedError)
    assert received.error.reason == "ACCOUNT_SUSPENDED"
    assert received.paid_credits == 10
    await resume_account(streaming.world, account)
    assert await streaming.books(account) == (10, 0)


async def test_a_reservation_released_by_another_ends_the_stream(streaming: Streaming, service: MeteredService) -> None:
    account = await streaming.account(100)

    async def release(index: int) -> None:
        if index == 1:
            (reservation,) = await streaming.reservations(account)
            await streaming.world.release(reservation.reservation_id)

    service.script = pieces(100, after=release)
    received = await streaming.read(account)
    assert isinstance(received.error, ReservationReleasedError)
    # Told at last that nothing of it could be taken.
    assert received.last is not None
    assert (received.last.charged_credits, received.last.HasField("balance")) == (0, False)
    assert await streaming.books(account) == (0, 0)


async def test_a_reservation_made_to_expire_by_another_ends_the_stream(
    streaming: Streaming, service: MeteredService
) -> None:
    account = await streaming.account(100)

    async def shorten(index: int) -> None:
        if index == 1:
            (reservation,) = await streaming.reservations(account)
            await extend(streaming.world, reservation.reservation_id, ttl=timedelta(seconds=1))
            await asyncio.sleep(1.05)

    service.script = pieces(100, after=shorten)
    received = await streaming.read(account)
    assert isinstance(received.error, ReservationExpiredError)
    assert received.last is not None
    assert received.last.charged_credits == 0
    assert await streaming.books(account) == (0, 0)


async def test_an_account_of_another_service_is_refused(
    paying_world: World, streaming: Streaming, service: MeteredService
) -> None:
    other = await paying_world.new_account(trial_credits=50)
    received = await streaming.read(other)
    assert received.error is not None
    assert received.error.reason == "PERMISSION_DENIED"
    assert service.yielded == 0
    assert await streaming.books(other) == (0, 0)


async def test_an_unknown_account_is_refused(streaming: Streaming, service: MeteredService) -> None:
    received = await receive(streaming.client.serve_stream(service=service.name, input={}, account_token=new_id()))
    assert isinstance(received.error, AccountNotFoundError)
    assert service.yielded == 0
