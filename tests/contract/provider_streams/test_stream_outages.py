"""Streams whose broker cannot be reached for a while, or whose answers are lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from client_stub.errors import UnavailableError
from provider_service.charging import budgets
from tests.contract.broker_world.world import World, new_id
from tests.contract.provider_streams.lossy_broker import LossyBroker, lossy
from tests.contract.provider_streams.metered_service import MeteredService, pieces
from tests.contract.provider_streams.streaming import Streaming, streaming_of


@pytest.fixture
async def wire(paying_world: World) -> AsyncIterator[LossyBroker]:
    async with lossy(paying_world.running.channel) as running:
        yield running


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "SETTLE_SECONDS", 0.3)


@pytest.fixture
async def streaming(paying_world: World, service: MeteredService, wire: LossyBroker) -> AsyncIterator[Streaming]:
    async with streaming_of(paying_world, service, broker_address=wire.address) as running:
        yield running


async def test_a_stream_goes_on_within_what_is_set_aside_while_the_broker_is_out_of_reach(
    streaming: Streaming, service: MeteredService, wire: LossyBroker
) -> None:
    async def go_down(index: int) -> None:
        wire.down = index >= 2

    service.script = pieces(100, after=go_down)
    account = await streaming.account(100)
    received = await streaming.read(account)
    assert isinstance(received.error, UnavailableError)
    assert received.error.retry_after is not None
    assert received.error.metadata["charged_credits"] == "10"
    assert (received.paid_credits, received.last) == (10, None)
    assert (await streaming.world.balance(account))[0] == 100, "not captured yet"
    wire.down = False
    assert await streaming.books(account) == (10, 0)


async def test_a_short_outage_is_not_noticed(streaming: Streaming, service: MeteredService, wire: LossyBroker) -> None:
    async def go_down(index: int) -> None:
        wire.down = 6 <= index < 8
        await asyncio.sleep(0.01)

    service.script = pieces(9, after=go_down)
    account = await streaming.account(100)
    received = await streaming.read(account)
    assert (received.error, received.paid_credits) == (None, 9)
    assert await streaming.books(account) == (9, 0)


async def test_a_slice_whose_answer_was_lost_is_found_again(
    streaming: Streaming, service: MeteredService, wire: LossyBroker
) -> None:
    wire.lost_answers["Extend"] = 1

    async def wait(_index: int) -> None:
        await asyncio.sleep(0.01)

    service.script = pieces(20, after=wait)
    # Exactly enough: a slice set aside twice would be refused.
    account = await streaming.account(20)
    received = await streaming.read(account)
    assert (received.error, received.paid_credits) == (None, 20)
    assert await streaming.books(account) == (20, 0)


async def test_a_slice_whose_answer_was_lost_is_found_though_more_is_needed(
    streaming: Streaming, service: MeteredService, wire: LossyBroker
) -> None:
    wire.lost_answers["Extend"] = 1
    service.script = pieces(2, each=9)
    service.slice_credits = 10
    account = await streaming.account(20)
    received = await streaming.read(account)
    assert (received.error, received.paid_credits) == (None, 18)
    assert await streaming.books(account) == (18, 0)


async def test_a_capture_whose_answer_was_lost_is_not_done_twice(
    streaming: Streaming, service: MeteredService, wire: LossyBroker
) -> None:
    wire.lost_answers["Capture"] = 2
    service.script = pieces(25)
    account = await streaming.account(30)
    received = await streaming.read(account)
    assert (received.error, received.paid_credits) == (None, 25)
    assert await streaming.books(account) == (25, 0)


async def test_a_reserve_whose_answer_was_lost_is_gone_on_with(
    streaming: Streaming, service: MeteredService, wire: LossyBroker
) -> None:
    wire.lost_answers["Reserve"] = 1
    account, request_id = await streaming.account(50), new_id()
    first = await streaming.read(account, request_id=request_id, timeout_seconds=5)
    # The client's channel tries again by itself when nothing has come yet.
    assert (first.error, first.paid_credits) == (None, 3)
    assert wire.calls["Reserve"] == 2
    assert await streaming.books(account) == (3, 0)


async def test_a_release_goes_on_until_the_broker_confirms_it(
    streaming: Streaming, service: MeteredService, wire: LossyBroker
) -> None:
    async def go_down(_index: int) -> None:
        wire.down = True
        raise RuntimeError

    service.script = pieces(1, each=0, after=go_down)
    account = await streaming.account(50)
    assert (await streaming.read(account)).error is not None
    wire.down = False
    assert await streaming.books(account) == (0, 0)
