"""The sweeper writes down what is true already, and changes no answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog
from iap.broker.v1 import account_pb2, broker_pb2

from broker_service.background import expiry_sweeper
from broker_service.background.expiry_sweeper import ExpirySweeper
from broker_service.domain.identities import shard_of
from broker_service.engine.committer import Committer, CommitterLimits
from broker_service.storage.audit import audit
from tests.contract.broker_world.operations import charge, grant_credits
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, call, new_world
from tests.databases import DatabaseKind, no_connections, only_on, write_lock

ACTIVE, EXPIRED = broker_pb2.RESERVATION_STATE_ACTIVE, broker_pb2.RESERVATION_STATE_EXPIRED
TTL = timedelta(seconds=10)
DAY = timedelta(days=1)
SHARDS = 3
PATIENCE_SECONDS = 20.0


@pytest.fixture
async def sharded_world(new_database: Callable[[], str]) -> AsyncIterator[World]:
    """A broker of the test's own, of several shards, that does not sweep."""
    async with running_broker(new_database(), shards=SHARDS) as running:
        yield await new_world(running)


def sweeper_of(world: World, *, interval_seconds: float = 0.05) -> ExpirySweeper:
    broker = world.running.broker
    return ExpirySweeper(broker.database, broker.committer, shards=SHARDS, interval_seconds=interval_seconds)


class RecordingCommitter(Committer):
    """Notes which accounts are settled, in order."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.settled: list[str] = []

    async def execute(self, command: Any) -> Any:
        self.settled.append(command.account_id)
        return await super().execute(command)


async def sweep(world: World) -> int:
    return await sweeper_of(world).sweep()


def stored(world: World) -> list[tuple[Any, ...]]:
    """What stands in the database of reservations that are not over."""
    return world.running.sql("SELECT account_id FROM reservations WHERE state = 'ACTIVE'")


async def answers(world: World, accounts: list[Account]) -> list[Any]:
    """Everything that can be asked of accounts and changes nothing."""
    found: list[Any] = []
    for account in accounts:
        listed = broker_pb2.ListReservationsRequest(account_token=account.token)
        found.append(await world.holdings(account))
        found.append(await call(world.stubs.broker.ListReservations, listed, world.provider.key))
    return found


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not await holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def accounts_with_something_overdue(world: World, count: int = 6) -> list[Account]:
    """Opens accounts with a reservation that ends, one that does not, and a grant that does."""
    accounts = [await world.new_account() for _ in range(count)]
    for account in accounts:
        await grant_credits(world, account, 50, expire_time=world.clock.now + TTL)
        await world.reserve(account, 20, ttl=TTL)
        await world.reserve(account, 5, ttl=DAY)
    world.clock.move(TTL)
    return accounts


async def test_it_writes_down_what_the_predicate_says(sharded_world: World) -> None:
    world = sharded_world
    account = await world.new_account()
    expire_time = world.clock.now + 2 * TTL
    await grant_credits(world, account, 50, expire_time=expire_time, priority=1)
    reservation = (await world.reserve(account, 30, ttl=TTL)).reservation
    world.clock.move(3 * TTL)
    before = await answers(world, [account])
    assert stored(world)
    assert await sweep(world) == 1
    assert not stored(world)
    assert await answers(world, [account]) == before
    swept = await world.reservation(reservation.reservation_id)
    assert (swept.state, swept.released_credits, swept.resolve_time) == (EXPIRED, 30, reservation.expire_time)
    rows = world.running.sql("SELECT kind, credits, counterpart, ledger_credits_after FROM entries ORDER BY sequence")
    assert rows[2:] == [("EXPIRY", -30, "expired", 120), ("EXPIRY", -20, "expired", 100)]
    assert [entry.kind for entry in await world.entries(account)][2:] == 2 * [account_pb2.ENTRY_KIND_EXPIRY]
    assert await world.balance(account) == (100, 0, 100)
    assert await sweep(world) == 0
    assert not (await world.running.broker.database.read(audit)).violations


async def test_nothing_is_written_one_tick_too_early(sharded_world: World) -> None:
    world = sharded_world
    account = await world.new_account()
    await grant_credits(world, account, 50, expire_time=world.clock.now + TTL)
    await world.reserve(account, 30, ttl=TTL)
    world.clock.move(TTL - timedelta(microseconds=1))
    assert await sweep(world) == 0
    world.clock.move(timedelta(microseconds=1))
    assert await sweep(world) == 1


async def test_a_late_sweeper_changes_no_answer_and_no_time(sharded_world: World) -> None:
    world = sharded_world
    accounts = await accounts_with_something_overdue(world)
    unswept = await answers(world, accounts)
    world.clock.move(timedelta(hours=5))
    assert await answers(world, accounts) == unswept
    assert await sweep(world) == len(accounts)
    assert await answers(world, accounts) == unswept
    assert len(stored(world)) == len(accounts), "what has not ended is left alone"


async def test_who_is_overdue_for_longest_comes_first(sharded_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = sharded_world
    monkeypatch.setattr(expiry_sweeper, "_BATCH_ROWS", 1)
    accounts = [await world.new_account() for _ in range(6)]
    for position in (3, 0, 5, 1, 4, 2):
        await world.reserve(accounts[position], 1, ttl=TTL + timedelta(seconds=position))
    world.clock.move(DAY)
    committer = RecordingCommitter(world.running.broker.database, world.clock, shards=SHARDS)
    sweeper = ExpirySweeper(world.running.broker.database, committer, shards=SHARDS, interval_seconds=1)
    assert await sweeper.sweep() == 6
    for shard_id in range(SHARDS):
        in_shard = [account.id for account in accounts if shard_of(account.id, SHARDS) == shard_id]
        assert [account_id for account_id in committer.settled if account_id in in_shard] == in_shard


async def test_many_overdue_are_written_in_small_batches(sharded_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = sharded_world
    monkeypatch.setattr(expiry_sweeper, "_ROUND_ACCOUNTS", 5)
    monkeypatch.setattr(expiry_sweeper, "_BATCH_ROWS", 4)
    accounts = [await world.new_account() for _ in range(40)]
    await asyncio.gather(*(world.reserve(account, 1, ttl=TTL) for account in accounts for _ in range(2)))
    busy = await world.new_account(trial_credits=1_000_000)
    world.clock.move(TTL)
    commits = world.running.broker.committer.counts.commits
    sweeping = asyncio.create_task(sweep(world))
    calls = 0
    while not sweeping.done():
        await charge(world, busy, 1)
        calls += 1
    assert await sweeping == 40
    assert calls > 1, "callers go on meanwhile"
    assert world.running.broker.committer.counts.commits - commits >= 20
    assert not stored(world)


async def test_a_grant_that_is_wholly_reserved_is_left_until_it_is_given_back(sharded_world: World) -> None:
    world = sharded_world
    account = await world.new_account(trial_credits=0)
    await grant_credits(world, account, 50, expire_time=world.clock.now + TTL)
    reservation_id = await world.reserved(account, 50, ttl=DAY)
    world.clock.move(TTL)
    assert await sweep(world) == 0
    await world.capture(reservation_id, 20, keep_open=True)
    assert await sweep(world) == 0
    await world.release(reservation_id)
    assert await world.balance(account) == (0, 0, 0)
    assert await sweep(world) == 0


async def test_two_sweepers_at_once_write_everything_once(sharded_world: World) -> None:
    world = sharded_world
    accounts = await accounts_with_something_overdue(world, count=20)
    unswept = await answers(world, accounts)
    async with running_broker(world.running.database_url, world.clock, shards=SHARDS) as running:
        other = World(running, world.provider, world.rival)
        await asyncio.gather(sweep(world), sweep(other), sweep(world), sweep(other))
        assert await answers(other, accounts) == unswept
    assert await answers(world, accounts) == unswept
    assert world.running.sql("SELECT count(*) FROM entries WHERE kind = 'EXPIRY'") == [(40,)]
    assert not (await world.running.broker.database.read(audit)).violations


async def test_a_broker_sweeps_while_it_serves_and_stops_in_order(database_url: str) -> None:
    async with running_broker(database_url, sweep_seconds=0.05) as running:
        world = await new_world(running)
        account = await world.new_account()
        for _ in range(3):
            await world.reserve(account, 5, ttl=TTL)
            world.clock.move(TTL)

            async def swept() -> bool:
                return not stored(world)

            await eventually(swept)
    async with running_broker(database_url, world.clock) as running:
        assert not (await running.broker.database.read(audit)).violations


async def test_a_sweeper_that_is_stopped_writes_nothing_more(sharded_world: World) -> None:
    world = sharded_world
    sweeper = sweeper_of(world)
    sweeper.start()
    await sweeper.stop()
    accounts = await accounts_with_something_overdue(world)
    await asyncio.sleep(0.2)
    assert len(stored(world)) == 2 * len(accounts)
    assert await sweeper.sweep() == 0


@only_on(DatabaseKind.POSTGRESQL, reason="a file takes no connections")
async def test_it_outlives_an_outage(sharded_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = sharded_world
    monkeypatch.setattr(expiry_sweeper, "_MAX_PAUSE_SECONDS", 0.2)
    accounts = await accounts_with_something_overdue(world)
    sweeper = sweeper_of(world)
    with structlog.testing.capture_logs() as logged, no_connections(world.running.database_url):
        sweeper.start()
        await asyncio.sleep(1.0)
    assert [line["event"] for line in logged if line["event"].startswith("expiry.")] == ["expiry.failed"]

    async def swept() -> bool:
        return len(stored(world)) == len(accounts)

    await eventually(swept)
    await sweeper.stop()


async def test_it_gives_way_to_callers_when_there_is_too_much_to_do(sharded_world: World) -> None:
    world = sharded_world
    accounts = await accounts_with_something_overdue(world)
    database = world.running.broker.database
    crowded = Committer(database, world.clock, shards=SHARDS, limits=CommitterLimits(queue_commands=1))
    sweeper = ExpirySweeper(database, crowded, shards=SHARDS, interval_seconds=0.05)
    sweeper.start()
    with write_lock(world.running.database_url):
        await asyncio.sleep(0.3)

    async def swept() -> bool:
        return len(stored(world)) == len(accounts)

    await eventually(swept)
    await sweeper.stop()
    await crowded.drain()
