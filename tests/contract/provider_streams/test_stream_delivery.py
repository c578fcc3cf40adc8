"""What a stream delivers, what of it is paid, and how that is set aside and captured."""

import asyncio
from datetime import timedelta

import grpc
import pytest

from client_stub.errors import InsufficientCreditsError
from provider_service.charging import stream_captures
from provider_service.services.charge import InsufficientCredits, StreamCharge
from tests.contract.broker_world.world import World
from tests.contract.provider_streams.metered_service import Chunks, MeteredService, pieces
from tests.contract.provider_streams.streaming import CAPTURED, Streaming, streaming_of
from tests.unit.provider_service.harness import until


async def test_chunks_come_with_what_they_cost_so_far(streaming: Streaming, service: MeteredService) -> None:
    service.script = pieces(5, each=3)
    account = await streaming.account(100)
    received = await streaming.read(account)
    assert received.error is None
    assert received.chunks == [{"piece": index} for index in range(5)]
    assert received.charged == [3, 6, 9, 12, 15]
    last = received.last
    assert last is not None
    assert last.charged_credits == 15
    assert (last.balance.ledger_credits, last.balance.reserved_credits, last.balance.available_credits) == (85, 0, 85)
    (reservation,) = await streaming.reservations(account)
    assert (reservation.reservation_id, reservation.state) == (last.reservation_id, CAPTURED)
    assert await streaming.books(account) == (15, 0)


async def test_slices_are_captured_and_not_chunks(streaming: Streaming, service: MeteredService) -> None:
    service.script = pieces(100)
    account = await streaming.account(200)
    assert (await streaming.read(account)).paid_credits == 100
    captures = [entry for entry in await streaming.world.entries(account) if entry.credits < 0]
    assert 2 <= len(captures) <= 11
    assert await streaming.books(account) == (100, 0)


async def test_what_was_delivered_is_captured_after_a_while(
    streaming: Streaming, service: MeteredService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_captures, "CAPTURE_SECONDS", 0.05)
    go_on = asyncio.Event()

    async def wait(_index: int) -> None:
        await go_on.wait()

    service.script = pieces(2, after=wait)
    account = await streaming.account(50)
    reading = asyncio.create_task(streaming.read(account))
    await streaming.ledger_reaches(account, 49)
    go_on.set()
    assert (await reading).paid_credits == 2
    assert await streaming.books(account) == (2, 0)


async def test_the_next_slice_is_set_aside_while_the_service_works(
    streaming: Streaming, service: MeteredService
) -> None:
    seen = []

    async def script(charge: StreamCharge) -> Chunks:
        seen.append(charge.credits)
        await charge.meter(4)
        yield {}
        assert charge.credits == 10
        await charge.meter(1)
        await until(lambda: charge.credits == 20)
        yield {}

    service.script = script
    account = await streaming.account(100)
    received = await streaming.read(account)
    assert (seen, received.error, received.paid_credits) == ([10], None, 5)
    assert await streaming.books(account) == (5, 0)


async def test_nothing_beyond_the_quote_is_set_aside_before_it_is_metered(
    streaming: Streaming, service: MeteredService
) -> None:
    service.quoted_credits = 4
    seen = []

    async def script(charge: StreamCharge) -> Chunks:
        await charge.meter(4)
        await asyncio.sleep(0.05)
        seen.append(charge.credits)
        yield {}
        await charge.meter(1)
        seen.append(charge.credits)
        yield {}

    service.script = script
    account = await streaming.account(100)
    assert (await streaming.read(account)).paid_credits == 5
    assert seen == [4, 14]
    assert await streaming.books(account) == (5, 0)


async def test_credits_that_run_out_end_the_stream_with_an_offer(streaming: Streaming, service: MeteredService) -> None:
    service.script = pieces(100, each=2)
    account = await streaming.account(25)
    received = await streaming.read(account)
    error = received.error
    assert isinstance(error, InsufficientCreditsError)
    assert (error.code, error.domain) == (grpc.StatusCode.FAILED_PRECONDITION, "iap.broker")
    # One credit is set aside already, and no good without another.
    assert (error.available, error.required, error.missing) == (0, 1, 1)
    assert error.offer is not None
    assert [pack.credits for pack in error.offer.packs] == [25]
    # What was left, smaller than a slice, is used; the odd credit buys no chunk.
    assert (len(received.chunks), received.paid_credits) == (12, 24)
    assert await streaming.books(account) == (24, 0)


async def test_a_first_slice_that_the_account_cannot_pay_is_made_smaller(
    streaming: Streaming, service: MeteredService
) -> None:
    service.script = pieces(100)
    account = await streaming.account(3)
    received = await streaming.read(account)
    assert isinstance(received.error, InsufficientCreditsError)
    assert received.paid_credits == 3
    assert await streaming.books(account) == (3, 0)


async def test_a_stream_refused_before_it_began_may_begin_after_a_top_up(
    streaming: Streaming, service: MeteredService
) -> None:
    account = await streaming.account(0)
    request_id = "1e1e3c39-4c1b-4a0b-8ff0-75bdb2b6b4a7"
    refused = await streaming.read(account, request_id=request_id)
    assert isinstance(refused.error, InsufficientCreditsError)
    assert service.yielded == 0
    await streaming.top_up(account, 5)
    assert (await streaming.read(account, request_id=request_id)).paid_credits == 3


async def test_a_top_up_midway_lets_the_stream_go_on(streaming: Streaming, service: MeteredService) -> None:
    account = await streaming.account(4)

    async def top_up(index: int) -> None:
        if index == 3:
            await streaming.top_up(account, 10)

    service.script = pieces(10, after=top_up)
    received = await streaming.read(account)
    assert (received.error, received.paid_credits) == (None, 10)
    assert await streaming.books(account) == (10, 0)


async def test_a_service_may_say_goodbye_when_credits_run_out(streaming: Streaming, service: MeteredService) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        await charge.meter(5)
        yield {"text": "begun"}
        try:
            await charge.meter(50)
        except InsufficientCredits:
            yield {"text": "cut short"}

    service.script = script
    account = await streaming.account(8)
    received = await streaming.read(account)
    assert [chunk["text"] for chunk in received.chunks] == ["begun", "cut short"]
    assert isinstance(received.error, InsufficientCreditsError)
    assert (received.charged, received.error.required) == ([5, 5], 50 - 3)
    assert await streaming.books(account) == (5, 0)


async def test_a_service_may_go_on_with_less(streaming: Streaming, service: MeteredService) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        try:
            await charge.meter(50)
        except InsufficientCredits:
            await charge.meter(2)
        yield {"metered": charge.metered_credits}

    service.script = script
    account = await streaming.account(8)
    received = await streaming.read(account)
    assert (received.error, received.chunks, received.paid_credits) == (None, [{"metered": 2}], 2)


async def test_what_is_metered_after_the_last_chunk_is_paid(streaming: Streaming, service: MeteredService) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        yield {}
        await charge.meter(7)

    service.script = script
    account = await streaming.account(20)
    received = await streaming.read(account)
    assert (received.charged, received.paid_credits) == ([0], 7)
    assert await streaming.books(account) == (7, 0)


@pytest.mark.parametrize("number", [0, 2])
async def test_a_stream_may_cost_nothing(streaming: Streaming, service: MeteredService, number: int) -> None:
    service.script = pieces(number, each=0)
    account = await streaming.account(20)
    received = await streaming.read(account)
    assert (len(received.chunks), received.error, received.paid_credits) == (number, None, 0)
    assert received.last is not None
    assert received.last.balance.available_credits == 20
    assert await streaming.books(account) == (0, 0)


async def test_a_service_may_set_more_aside_at_once(streaming: Streaming, service: MeteredService) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        await charge.extend(credits=30)
        assert charge.credits >= 40
        await charge.meter(35)
        yield {}
        await charge.extend(credits=1_000)

    service.script = script
    account = await streaming.account(60)
    received = await streaming.read(account)
    assert isinstance(received.error, InsufficientCreditsError)
    assert await streaming.books(account) == (35, 0)


@pytest.mark.parametrize("wrong", [-1, 1.5, True])
async def test_the_meter_takes_whole_credits_only(streaming: Streaming, service: MeteredService, wrong: int) -> None:
    async def script(charge: StreamCharge) -> Chunks:
        with pytest.raises((TypeError, ValueError)):
            await charge.meter(wrong)
        with pytest.raises(RuntimeError):
            charge.capture(1)
        yield {"credits": charge.metered_credits}

    service.script = script
    received = await streaming.read(await streaming.account(20))
    assert (received.error, received.chunks) == (None, [{"credits": 0}])


async def test_the_reservation_of_a_long_stream_is_kept_alive(paying_world: World) -> None:
    service = MeteredService(await paying_world.new_service(default_ttl=timedelta(seconds=2)))

    async def wait(_index: int) -> None:
        await asyncio.sleep(0.25)

    service.script = pieces(9, after=wait)
    async with streaming_of(paying_world, service) as streaming:
        account = await streaming.account(20)
        received = await streaming.read(account)
        assert (received.error, received.paid_credits) == (None, 9)
        assert await streaming.books(account) == (9, 0)
