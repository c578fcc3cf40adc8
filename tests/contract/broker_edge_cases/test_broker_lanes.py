"""One lane's trouble, which stops no other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from broker_service.domain.identities import shard_of
from tests.contract.broker_world.batches import one_commits, queued, until
from tests.contract.broker_world.operations import charge
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, new_id, new_world
from tests.databases import DatabaseKind, only_on, row_lock, write_lock

SHARDS = 2
QUEUE_COMMANDS = 2
LOCK_ACCOUNT = "SELECT 1 FROM accounts WHERE account_id = ? FOR UPDATE"


@pytest.fixture
async def two_lanes(new_database: Callable[[], str]) -> AsyncIterator[World]:
    """A broker of the test's own, of two lanes, in each of which few commands may wait."""
    async with running_broker(new_database(), shards=SHARDS, queue_commands=QUEUE_COMMANDS) as running:
        yield await new_world(running)


async def account_of_lane(world: World, shard_id: int) -> Account:
    while True:
        account = await world.new_account()
        if shard_of(account.id, SHARDS) == shard_id:
            return account


async def fill_lane(world: World, shard_id: int, account: Account) -> list[asyncio.Future[Any]]:
    """Starts one reserve that commits, and as many behind it as may wait."""
    first = asyncio.create_task(world.reserve(account, 1))
    await until(lambda: one_commits(world, shard_id))
    return [first, *await queued(world, [world.reserve(account, 1) for _ in range(QUEUE_COMMANDS)])]


async def test_a_lane_that_has_halted_stops_no_other(two_lanes: World) -> None:
    world = two_lanes
    broken, beside = [await account_of_lane(world, 0) for _ in range(2)]
    elsewhere = await account_of_lane(world, 1)
    world.running.sql("UPDATE accounts SET ledger_credits = ledger_credits + 1 WHERE account_id = ?", broken.id)
    for account in (broken, beside, broken):
        refusal = await refusal_of(world.reserve(account, 1))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        await world.capture(await world.reserved(elsewhere, 2), 1)
        await charge(world, elsewhere, 1)
    assert await world.balance(elsewhere) == (94, 0, 94)
    assert await world.balance(beside) == (100, 0, 100), "reading goes on"


@only_on(DatabaseKind.POSTGRESQL, reason="SQLite locks the whole file")
async def test_a_lane_that_waits_for_a_lock_stops_no_other(two_lanes: World) -> None:
    world = two_lanes
    locked, elsewhere = await account_of_lane(world, 0), await account_of_lane(world, 1)
    with row_lock(world.running.database_url, LOCK_ACCOUNT, locked.id):
        held = asyncio.create_task(world.reserve(locked, 1))
        for _ in range(5):
            await charge(world, elsewhere, 1)
        assert not held.done()
    assert not (await held).replayed
    assert await world.balance(elsewhere) == (95, 0, 95)


async def test_a_lane_that_is_full_keeps_nobody_out_of_another(two_lanes: World) -> None:
    world = two_lanes
    crowded, elsewhere = await account_of_lane(world, 0), await account_of_lane(world, 1)
    request_id = new_id()
    with write_lock(world.running.database_url):
        sent = await fill_lane(world, 0, crowded)
        refusal = await refusal_of(world.reserve(crowded, 1, request_id=request_id))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        sent += await fill_lane(world, 1, elsewhere)
    await asyncio.gather(*sent)
    assert not (await world.reserve(crowded, 1, request_id=request_id)).replayed
    assert await world.balance(crowded) == (100, 4, 96)
    assert await world.balance(elsewhere) == (100, 3, 97)
