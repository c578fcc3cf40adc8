"""Streams whose process died: what was delivered is paid, and the rest given back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from client_stub.broker import BrokerClient
from client_stub.errors import ReservationCapturedError
from provider_service.charging.stream_request import operation_id
from provider_service.journal.durable import DurableJournal, open_journal
from provider_service.journal.entries import Kind, Step, new_entry
from tests.contract.broker_world.world import Account, new_id
from tests.contract.provider_streams.metered_service import MeteredService, pieces
from tests.contract.provider_streams.streaming import CAPTURED, RELEASED, Streaming
from tests.databases import run_sql
from tests.unit.provider_service.harness import providing

RESERVED = 10


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[DurableJournal]:
    journal = await open_journal(f"sqlite:///{path}", tell_writable=lambda _: None)
    try:
        yield journal
    finally:
        await journal.close()


async def leave(
    streaming: Streaming, path: Path, account: Account, *, metered: int, captures: tuple[int, ...] = ()
) -> str:
    """Leaves a stream open, as a crash would, after some captures; returns its request_id."""
    request_id = new_id()
    key = (b"account", request_id)
    provider_key = streaming.world.provider.key
    async with BrokerClient.connect(str(streaming.world.running.address), key=provider_key) as broker:
        reserved = await broker.reserve(account_token=account.token, credits=RESERVED, request_id=request_id)
        reservation_id = reserved.reservation.reservation_id
        captured = 0
        for part in captures:
            await broker.capture(
                reservation_id=reservation_id,
                credits=part,
                keep_open=True,
                request_id=operation_id(request_id, f"capture {captured}"),
            )
            captured += part
    async with opened(path) as journal:
        entry = new_entry(key, kind=Kind.STREAM, digest="", service=streaming.service.name, account_token=account.token)
        await journal.open(entry)
        await journal.working(key, reservation_id=reservation_id)
        if metered:
            await journal.metered(key, credits=metered)
    return request_id


@pytest.mark.parametrize(
    ("metered", "captures", "paid", "state"),
    [
        (0, (), 0, RELEASED),
        (7, (), 7, CAPTURED),
        (7, (2, 3), 7, CAPTURED),
        # What the last capture took had been delivered, whether or not the journal came to say so.
        (4, (2, 3), 5, CAPTURED),
        (0, (2,), 2, CAPTURED),
    ],
)
async def test_what_was_delivered_is_captured_and_the_rest_released(
    streaming: Streaming, tmp_path: Path, metered: int, captures: tuple[int, ...], paid: int, state: int
) -> None:
    account = await streaming.account(50)
    await leave(streaming, tmp_path / "journal.db", account, metered=metered, captures=captures)
    async with (
        opened(tmp_path / "journal.db") as journal,
        providing(
            str(streaming.world.running.address),
            [streaming.service],
            key=streaming.world.provider.key,
            journal=journal,
        ),
    ):
        async with asyncio.timeout(20):
            while (await streaming.world.balance(account))[:2] != (50 - paid, 0):  # noqa: ASYNC110 - another task
                await asyncio.sleep(0.01)
    assert await streaming.books(account) == (paid, 0)
    assert [reservation.state for reservation in await streaming.reservations(account)] == [state]


async def test_a_stream_tells_the_journal_what_it_delivers(
    streaming: Streaming, service: MeteredService, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    service.script = pieces(3, each=2)
    account, request_id = await streaming.account(50), new_id()
    address, key = str(streaming.world.running.address), streaming.world.provider.key
    async with opened(path) as journal, providing(address, [service], key=key, journal=journal) as provider:
        responses = provider.stub.ServeStream(streaming.request(account, request_id))
        assert [response.charged_credits async for response in responses] == [2, 4, 6, 6]
        await provider.settle()
    url = f"sqlite:///{path}"
    assert run_sql(url, "SELECT kind, step, credits, account_token FROM requests") == [
        ("stream", int(Step.CAPTURED), 6, None)
    ]
    async with opened(path) as journal, providing(address, [service], key=key, journal=journal):
        again = await streaming.read(account, request_id=request_id)
    assert isinstance(again.error, ReservationCapturedError)
