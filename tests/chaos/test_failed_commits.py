"""A commit that fails for certain: nothing is acknowledged, nothing is half done, and later it works again."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import pytest

from broker_service.storage import postgresql, sqlite
from deploy.node_process import NodeCommand, NodeProcess
from tests.chaos.movements import MOVEMENTS, Movement
from tests.chaos.stage import BROKER, audit_of
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import MovableClock, Stubs, running_broker
from tests.contract.broker_world.world import World, new_world
from tests.databases import DatabaseKind, only_on, sqlite_file, write_lock


async def holdings(world: World, movements: Sequence[Movement]) -> list[object]:
    """Returns the balances and statements of the accounts that are there."""
    accounts = [it.account for it in movements if it.account is not None]
    return [(await world.balance(account), await world.entries(account)) for account in accounts]


async def refused_all(world: World, movements: Sequence[Movement]) -> set[str]:
    """Sends all at once, so that they share batches; returns the reasons of the refusals."""
    return {it.reason for it in await asyncio.gather(*(refusal_of(movement.send(world)) for movement in movements))}


async def assert_all_succeed(world: World, movements: Sequence[Movement]) -> None:
    answers = await asyncio.gather(*(movement.send(world) for movement in movements))
    for movement, answer in zip(movements, answers, strict=True):
        assert not answer.replayed, "the refused one left nothing behind"
        await movement.assert_done_once(world, answer)


async def test_a_batch_that_meets_a_lock_too_often_leaves_nothing(
    books_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setitem(postgresql._SETTINGS, "lock_timeout", "50ms")
    async with running_broker(books_url) as running:
        world = await new_world(running)
        movements = [await make(world) for make in MOVEMENTS.values()]
        before = await holdings(world, movements)
        with write_lock(books_url):
            assert await refused_all(world, movements) == {"STORAGE_CONFLICT"}
            assert await holdings(world, movements) == before
        await assert_all_succeed(world, movements)
    assert (await audit_of(books_url))["violations"] == []


@only_on(DatabaseKind.SQLITE, reason="a server writes its log itself, for all of its databases")
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limits can be set on Linux only")
async def test_a_commit_that_the_disk_has_no_room_for_leaves_nothing(books_url: str, tmp_path: Path) -> None:
    """What a transaction changes is written to the log in COMMIT itself, and the log cannot grow."""
    async with running_broker(books_url, MovableClock(datetime.now(UTC))) as running:
        made = await new_world(running)
        movements = [await make(made) for make in MOVEMENTS.values()]
        account = await made.new_account()
    async with broker_process(books_url, tmp_path) as (pid, stubs):
        world = World(replace(made.running, stubs=stubs), made.provider, made.rival, made.services)
        await world.reserve(account, 1)
        before = await holdings(world, movements)
        log = sqlite_file(f"{books_url}-wal")
        with no_file_longer_than(log.stat().st_size, pid):
            for _ in range(3):
                assert await refused_all(world, movements) == {"UNAVAILABLE"}
            assert await holdings(world, movements) == before
        await assert_all_succeed(world, movements)
    assert (await audit_of(books_url))["violations"] == []


@contextmanager
def no_file_longer_than(size: int, pid: int) -> Iterator[None]:
    """Keeps a process from writing behind so many bytes of any file."""
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


@asynccontextmanager
async def broker_process(database_url: str, directory: Path) -> AsyncIterator[tuple[int, Stubs]]:
    """Serves a database from a process of its own; yields its id and stubs."""
    command = NodeCommand(module=BROKER, arguments=("--database", database_url, "--log-level", "error"))
    broker = NodeProcess(command, log_path=directory / "broker.log")
    try:
        await broker.start()
        assert broker._process is not None
        async with grpc.aio.insecure_channel(broker.address) as channel:
            yield broker._process.pid, Stubs(channel)
        assert await broker.stop() == 0
    finally:
        await broker.kill()
