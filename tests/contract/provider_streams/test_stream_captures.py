"""What a stream has delivered is captured once, whenever that is begun."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from client_stub.broker import BrokerClient
from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging import stream_captures
from provider_service.charging.stream_captures import Captures
from provider_service.charging.stream_payments import StreamPayments
from provider_service.charging.stream_refusals import Ending
from provider_service.charging.stream_slices import Slices
from tests.contract.broker_world.world import Account, World
from tests.contract.provider_streams.metered_service import MeteredService
from tests.contract.provider_streams.streaming import Streaming

SOON_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Capturing:
    """The captures of a stream that a test delivers by itself."""

    captures: Captures
    account: Account
    pending: PendingTasks
    endings: list[Ending]


@pytest.fixture
async def capturing(
    paying_world: World, streaming: Streaming, service: MeteredService, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Capturing]:
    monkeypatch.setattr(stream_captures, "CAPTURE_SECONDS", SOON_SECONDS)
    account = await streaming.account(20)
    pending = PendingTasks()
    endings: list[Ending] = []
    async with BrokerClient.connect(str(paying_world.running.address), key=paying_world.provider.key) as broker:
        payments = StreamPayments(broker)
        request = streaming.provider.streams.request(
            request_id=str(uuid.uuid4()),
            account_token=account.token,
            service=service,
            service_input={},
            quoted_credits=10,
        )
        reserved = await payments.reserve(request, timeout_seconds=10)
        slices = Slices(request, reserved, payments=payments)
        captures = Captures(request, slices, payments=payments, pending=pending, end=endings.append)
        yield Capturing(captures, account, pending, endings)
        assert await pending.drain(20) == 0


async def test_what_is_delivered_as_a_capture_begins_is_captured_with_it_and_not_again(
    capturing: Capturing, streaming: Streaming
) -> None:
    captures = capturing.captures
    captures.deliver(2)
    # The time to capture has come; the capture's task has not run yet.
    captures._begin()
    captures.deliver(3)
    await capturing.pending.drain(20)
    assert captures.captured_credits == 3
    # What the second delivery has set a timer for is captured already.
    await asyncio.sleep(3 * SOON_SECONDS)
    captures.deliver(5)
    await captures.settle(keep_captured=True)
    assert (capturing.endings, captures.captured_credits) == ([], 5)
    assert await streaming.books(capturing.account) == (5, 0)


async def test_what_is_delivered_while_a_capture_is_under_way_is_captured_after_it(
    capturing: Capturing, streaming: Streaming
) -> None:
    captures = capturing.captures
    captures.deliver(2)
    captures._begin()
    await asyncio.sleep(0)
    captures.deliver(4)
    async with asyncio.timeout(20):
        while captures.captured_credits < 4:  # noqa: ASYNC110 - what is waited for is beyond a connection
            await asyncio.sleep(SOON_SECONDS)
    await captures.settle(keep_captured=False)
    assert (capturing.endings, captures.captured_credits) == ([], 4)
    assert await streaming.books(capturing.account) == (4, 0)
