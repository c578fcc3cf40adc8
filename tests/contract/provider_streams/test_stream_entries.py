"""What the journal of a provider says of a stream in the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from client_stub.errors import ReservationReleasedError
from client_stub.provider import ProviderClient
from provider_service.journal import committer
from provider_service.journal.durable import open_journal
from provider_service.journal.entries import Step
from tests.contract.broker_world.world import Account
from tests.contract.provider_streams.metered_service import MeteredService, pieces
from tests.contract.provider_streams.streaming import Received, Streaming, receive
from tests.databases import Rows, run_sql, sqlite_url
from tests.unit.provider_service.harness import Provider, providing

# Makes each write of one kind fail, as a disk would that is full just then; others go on. (An integer overflows, which
# is no broken constraint: those would be a bug of ours.)
FAILING = "CREATE TRIGGER full BEFORE {write} BEGIN SELECT abs(-9223372036854775807 - 1); END"
NO_OPENING = FAILING.format(write="INSERT ON requests")
NO_WORKING = FAILING.format(write=f"UPDATE ON requests WHEN NEW.step = {Step.WORKING:d}")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "PROBE_SECONDS", 0.02)


@pytest.fixture
def journal_url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "journal.db")


@asynccontextmanager
async def journaled(streaming: Streaming, journal_url: str) -> AsyncIterator[Provider]:
    """Serves the same service with a journal on a disk; in the end everything is written."""
    writable = asyncio.Event()
    writable.set()
    journal = await open_journal(journal_url, tell_writable=lambda can: writable.set() if can else writable.clear())
    try:
        address, key = str(streaming.world.running.address), streaming.world.provider.key
        async with providing(address, [streaming.service], key=key, journal=journal) as provider:
            yield provider
            await provider.settle()
            await asyncio.wait_for(writable.wait(), 10)
    finally:
        await journal.close()


async def read(streaming: Streaming, provider: Provider, account: Account) -> Received:
    async with ProviderClient.connect(provider.address) as client:
        return await receive(client.serve_stream(service=streaming.service.name, input={}, account_token=account.token))


def entries(journal_url: str) -> Rows:
    return run_sql(journal_url, "SELECT step, is_open, credits, account_token FROM requests")


async def test_a_stream_whose_last_capture_failed_is_not_noted_as_paid(
    streaming: Streaming, service: MeteredService, journal_url: str
) -> None:
    account = await streaming.account(50)

    async def release(index: int) -> None:
        if index == 2:
            (reservation,) = await streaming.reservations(account)
            await streaming.world.release(reservation.reservation_id)

    service.script = pieces(3, each=2, after=release)
    async with journaled(streaming, journal_url) as provider:
        received = await read(streaming, provider, account)
    assert isinstance(received.error, ReservationReleasedError)
    assert await streaming.books(account) == (0, 0)
    assert [row[:2] for row in entries(journal_url)] == [(Step.RELEASED, 0)]


async def test_a_stream_of_which_a_part_was_captured_is_noted_with_that_part(
    streaming: Streaming, service: MeteredService, journal_url: str
) -> None:
    account = await streaming.account(50)

    async def release(index: int) -> None:
        # A slice is captured as soon as it was delivered.
        if index == 9:
            await streaming.ledger_reaches(account, 40)
        if index == 11:
            (reservation,) = await streaming.reservations(account)
            await streaming.world.release(reservation.reservation_id)

    service.script = pieces(12, after=release)
    async with journaled(streaming, journal_url) as provider:
        received = await read(streaming, provider, account)
    assert received.error is not None
    assert await streaming.books(account) == (10, 0)
    assert entries(journal_url) == [(Step.CAPTURED, 0, 10, None)]


@pytest.mark.parametrize("trigger", [NO_OPENING, NO_WORKING], ids=["opening", "working"])
async def test_a_stream_that_cannot_be_written_down_leaves_no_token(
    streaming: Streaming, service: MeteredService, journal_url: str, trigger: str
) -> None:
    account = await streaming.account(50)
    async with journaled(streaming, journal_url):
        pass
    run_sql(journal_url, trigger)
    async with journaled(streaming, journal_url) as provider:
        # By a channel that does not try again.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [_ async for _ in provider.stub.ServeStream(streaming.request(account))]
    assert (caught.value.code(), service.yielded) == (grpc.StatusCode.UNAVAILABLE, 0)
    assert await streaming.books(account) == (0, 0)
    assert entries(journal_url) == ([] if trigger == NO_OPENING else [(Step.RELEASED, 0, None, None)])
