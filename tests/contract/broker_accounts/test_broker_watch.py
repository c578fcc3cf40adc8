"""WatchBalance: the balance at once, and after whatever changes it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from iap.broker.v1 import account_pb2

from tests.contract.broker_world.operations import charge, grant_credits, rotate_token
from tests.contract.broker_world.refusals import Refusal, parse_error, refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, Amounts, World, amounts, call, new_world
from tests.databases import DatabaseKind, cut_connections, no_connections, only_on

POLL_SECONDS = 0.1
# For what must come; a loaded machine is slow.
PATIENCE_SECONDS = 10.0
# For what must not come: several polls.
QUIET_SECONDS = 0.5
TTL = timedelta(seconds=10)


class Watcher:
    """One who watches a balance, message by message."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers
        self.seen: list[account_pb2.WatchBalanceResponse] = []

    async def next(self) -> Amounts:
        message = await asyncio.wait_for(self.answers.read(), PATIENCE_SECONDS)
        assert message is not grpc.aio.EOF
        self.seen.append(message)
        return amounts(message.balance)

    async def until(self, wanted: Amounts) -> None:
        """Reads on until a balance comes; others may come before."""
        while await self.next() != wanted:
            pass

    async def ends(self) -> Refusal:
        """Reads to the end, which must be an error."""
        try:
            while True:
                await self.next()
        except grpc.aio.AioRpcError as error:
            return parse_error(error)

    async def hears_nothing(self) -> None:
        reading = asyncio.ensure_future(self.answers.read())
        done, _ = await asyncio.wait([reading], timeout=QUIET_SECONDS)
        assert not done
        # It goes on waiting: a read that is cancelled cancels the call.
        self.answers = _Resumed(self.answers, reading)


class _Resumed:
    """A stream with a read on its way."""

    def __init__(self, answers: Any, reading: Any) -> None:
        self._answers = answers
        self._reading = reading

    def read(self) -> Any:
        reading, self._reading = self._reading, None
        return reading or self._answers.read()

    def cancel(self) -> None:
        self._answers.cancel()


@asynccontextmanager
async def watching(world: World, account: Account, *, key: str = "") -> AsyncIterator[Watcher]:
    """Watches an account by its token, or by its id with a key."""
    named = {"account_id": account.id} if key else {"account_token": account.token}
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    watcher = Watcher(world.stubs.accounts.WatchBalance(account_pb2.WatchBalanceRequest(**named), metadata=metadata))
    try:
        yield watcher
    finally:
        watcher.answers.cancel()


async def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.fixture
async def watched_world(database_url: str) -> AsyncIterator[World]:
    """A broker of the test's own that polls often."""
    async with running_broker(database_url, watch_seconds=POLL_SECONDS) as running:
        yield await new_world(running)


async def test_the_balance_comes_at_once_and_after_each_change(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    async with watching(world, account) as watcher:
        assert await watcher.next() == (100, 0, 100)
        reservation_id = await world.reserved(account, 60)
        assert await watcher.next() == (100, 60, 40)
        await world.capture(reservation_id, 50)
        assert await watcher.next() == (50, 0, 50)
        await world.buy(account, (await world.new_pack(account.service, pack_credits=200)).pack_id)
        assert await watcher.next() == (250, 0, 250)
        await grant_credits(world, account, 7)
        assert await watcher.next() == (257, 0, 257)
        await charge(world, account, 57)
        assert await watcher.next() == (200, 0, 200)
        await watcher.hears_nothing()


async def test_who_has_just_been_answered_starts_with_that(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    async with watching(world, account) as first:
        await first.next()
        for reserved in range(1, 21):
            await world.reserve(account, 1)
            async with watching(world, account) as another:
                assert await another.next() == (100, reserved, 100 - reserved)


async def test_time_alone_changes_a_balance(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service, pack_credits=40, validity=timedelta(days=1))
    await world.buy(account, pack.pack_id)
    reserved = (await world.reserve(account, 30, ttl=TTL)).reservation
    async with watching(world, account) as watcher:
        assert await watcher.next() == (40, 30, 10)
        world.clock.move(TTL - timedelta(microseconds=1))
        await watcher.hears_nothing()
        world.clock.move(timedelta(microseconds=1))
        assert await watcher.next() == (40, 0, 40)
        assert watcher.seen[-1].time == reserved.expire_time
        world.clock.move(timedelta(days=1))
        assert await watcher.next() == (0, 0, 0)
        await watcher.hears_nothing()


async def test_changes_by_another_broker_are_seen(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    async with running_broker(world.running.database_url, world.clock) as running, watching(world, account) as watcher:
        other = World(running, world.provider, world.rival)
        assert await watcher.next() == (100, 0, 100)
        reservation_id = await other.reserved(account, 60)
        assert await watcher.next() == (100, 60, 40)
        await other.release(reservation_id)
        assert await watcher.next() == (100, 0, 100)
        await charge(other, account, 1)
        assert await watcher.next() == (99, 0, 99)


async def test_every_watcher_of_many_accounts_sees_the_last_balance(watched_world: World) -> None:
    world = watched_world
    accounts = [await world.new_account() for _ in range(4)]
    watchers = []
    for account in accounts * 10:
        answers = world.stubs.accounts.WatchBalance(account_pb2.WatchBalanceRequest(account_token=account.token))
        watchers.append(Watcher(answers))
    await asyncio.gather(*(watcher.next() for watcher in watchers))
    for number, account in enumerate(accounts, start=1):
        await asyncio.gather(*(charge(world, account, number) for _ in range(20)))
    for number, watcher in enumerate(watchers):
        left = 100 - 20 * (number % 4 + 1)
        await watcher.until((left, 0, left))
        ledger = [message.balance.ledger_credits for message in watcher.seen]
        assert ledger == sorted(ledger, reverse=True), "it never goes backwards"
        times = [message.time.ToNanoseconds() for message in watcher.seen]
        assert times == sorted(times)
        watcher.answers.cancel()
    await eventually(lambda: len(world.running.broker.watch) == 0)


async def test_a_burst_is_told_in_few_messages(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account(trial_credits=1_000)
    async with watching(world, account) as watcher:
        await watcher.next()
        began = time.monotonic()
        await asyncio.gather(*(charge(world, account, 1) for _ in range(500)))
        took_seconds = time.monotonic() - began
        await watcher.until((500, 0, 500))
        assert len(watcher.seen) <= 4 + took_seconds / 0.05


async def test_who_reads_slowly_misses_changes_and_holds_nobody_up(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account(trial_credits=1_000)
    async with watching(world, account) as slow, watching(world, account) as quick:
        await slow.next()
        await quick.next()
        for _ in range(100):
            await charge(world, account, 1)
        await quick.until((900, 0, 900))
        await slow.until((900, 0, 900))


async def test_a_watcher_that_leaves_leaves_nothing_behind(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    await asyncio.sleep(POLL_SECONDS)
    tasks = len(asyncio.all_tasks())
    for _ in range(20):
        async with watching(world, account) as watcher:
            await watcher.next()
    # Some do not even wait for their first message.
    for _ in range(20):
        async with watching(world, account):
            await asyncio.sleep(0)
    await eventually(lambda: len(world.running.broker.watch) == 0 and len(asyncio.all_tasks()) <= tasks)
    # A task that has ended is forgotten a turn of the event loop later.
    await eventually(lambda: not world.running.broker.watch._refreshing)
    await charge(world, account, 1)
    assert not world.running.broker.watch._refreshing


async def test_draining_ends_the_stream_and_says_so(database_url: str) -> None:
    async with running_broker(database_url) as running:
        world = await new_world(running)
        account = await world.new_account()
        async with watching(world, account) as watcher:
            await watcher.next()
            began = time.monotonic()
            stopping = asyncio.create_task(running.broker.node.stop())
            refusal = await watcher.ends()
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
            await stopping
            assert time.monotonic() - began < 4, "it need not be cancelled"


async def test_a_customers_and_an_operators_key_will_do(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    for key in (account.customer.key, world.running.operator_key):
        async with watching(world, account, key=key) as watcher:
            assert await watcher.next() == (100, 0, 100)


async def test_it_is_refused_as_get_balance_is(world: World) -> None:
    account, stranger = await world.new_account(), await world.new_customer()
    shown: list[tuple[dict[str, str], str]] = [
        ({}, ""),
        ({"account_id": account.id}, ""),
        ({"account_id": account.id}, "key_unknown"),
        ({"account_id": account.id}, stranger.key),
        ({"account_id": account.id}, world.provider.key),
        ({"account_id": "acc_unknown"}, stranger.key),
        ({"account_token": "tok_unknown"}, ""),
        ({"account_token": "x" * 201}, ""),
    ]
    stubs = world.stubs.accounts
    for named, key in shown:
        watched = await refusal_of(call(stubs.WatchBalance, account_pb2.WatchBalanceRequest(**named), key))
        read = await refusal_of(call(stubs.GetBalance, account_pb2.GetBalanceRequest(**named), key))
        assert watched == read


async def test_a_token_that_is_rotated_away_ends_the_stream_and_shows_nothing_more(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    async with watching(world, account) as watcher:
        await watcher.next()
        await rotate_token(world, account)
        await grant_credits(world, account, 1)
        refusal = await watcher.ends()
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
        assert len(watcher.seen) == 1


async def test_a_token_that_is_rotated_away_by_another_broker_ends_the_stream(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    async with running_broker(world.running.database_url, world.clock) as running, watching(world, account) as watcher:
        await watcher.next()
        other = World(running, world.provider, world.rival)
        new_token = (await rotate_token(other, account, overlap=timedelta(hours=1))).account_token
        await watcher.hears_nothing()
        await rotate_token(other, account)
        assert (await watcher.ends()).reason == "ACCOUNT_NOT_FOUND"
        assert len(watcher.seen) == 1
    assert (await refusal_of(world.balance(replace(account, token=new_token)))).reason == "ACCOUNT_NOT_FOUND"


async def test_a_token_that_expires_ends_the_stream(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    async with watching(world, account) as watcher:
        await watcher.next()
        await rotate_token(world, account, overlap=timedelta(hours=1))
        await watcher.hears_nothing()
        world.clock.move(timedelta(hours=1))
        assert (await watcher.ends()).reason == "ACCOUNT_NOT_FOUND"


@only_on(DatabaseKind.POSTGRESQL, reason="a file takes no connections")
async def test_an_outage_ends_the_stream_and_a_lost_connection_does_not(watched_world: World) -> None:
    world = watched_world
    account = await world.new_account()
    async with watching(world, account) as watcher:
        await watcher.next()
        assert cut_connections(world.running.database_url) >= 1
        await charge(world, account, 1)
        assert await watcher.next() == (99, 0, 99)
        with no_connections(world.running.database_url):
            refusal = await watcher.ends()
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    async with watching(world, account) as watcher:
        assert await watcher.next() == (99, 0, 99)
