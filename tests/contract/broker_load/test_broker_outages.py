"""Too much at once, a database that does not answer, and one that others hold."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from iap.broker.v1 import broker_pb2, catalog_pb2

from broker_service.storage import postgresql, sqlite
from broker_service.storage.audit import audit
from tests.contract.broker_world.batches import one_commits, until, waiting
from tests.contract.broker_world.refusals import Refusal, refusal_of
from tests.contract.broker_world.running_broker import RunningBroker, running_broker
from tests.contract.broker_world.world import World, call, new_id, new_world
from tests.databases import DatabaseKind, cut_connections, no_connections, only_on, unreadable, write_lock

ARRIVE_SECONDS = 0.05


@pytest.fixture
async def impatient_world(database_url: str) -> AsyncIterator[World]:
    """A broker that waits for a lock for a twentieth of a second instead of one or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "_BUSY_TIMEOUT_SECONDS", 0.05)
        patch.setitem(postgresql._SETTINGS, "lock_timeout", "50ms")
        async with running_broker(database_url) as running:
            yield await new_world(running)


def assert_retry_later(refusal: Refusal, code: grpc.StatusCode, reason: str) -> None:
    """Holds a refusal to the form of those that may be tried again; RetryInfo is checked for all of them."""
    assert (refusal.code, refusal.reason, refusal.metadata) == (code, reason, {})
    for secret in ("sqlite", "SQL", "postgres", "table", "disk", "lock", "connect"):
        assert secret not in refusal.message


async def test_more_commands_than_may_wait_are_refused_undone(database_url: str) -> None:
    async with running_broker(database_url, queue_commands=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        request_ids = [new_id() for _ in range(10)]
        with write_lock(running.database_url):
            first = asyncio.create_task(world.reserve(account, 1))
            await until(lambda: one_commits(world))
            second = asyncio.create_task(world.reserve(account, 1))
            await until(lambda: waiting(world) == 1)
            burst = [asyncio.create_task(world.reserve(account, 1, request_id=it)) for it in request_ids]
            refusals = [await refusal_of(it) for it in burst]
        await asyncio.gather(first, second)
        for refusal in refusals:
            assert_retry_later(refusal, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert await world.balance(account) == (100, 2, 98)
        for request_id in request_ids:
            assert not (await world.reserve(account, 1, request_id=request_id)).replayed


async def test_commands_whose_callers_have_left_do_not_keep_others_out(database_url: str) -> None:
    async with running_broker(database_url, queue_commands=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        with write_lock(running.database_url):
            first = asyncio.create_task(world.reserve(account, 1))
            await until(lambda: one_commits(world))
            leaves = asyncio.create_task(world.reserve(account, 1))
            await until(lambda: waiting(world) == 1)
            leaves.cancel()
            await until(lambda: waiting(world) == 0)
            comes = asyncio.create_task(world.reserve(account, 1))
            await until(lambda: waiting(world) == 1)
        await asyncio.gather(first, comes)
        assert await world.balance(account) == (100, 2, 98)


async def test_more_calls_than_may_run_are_refused(database_url: str) -> None:
    async with running_broker(database_url, max_concurrent_calls=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        with write_lock(running.database_url):
            first = asyncio.create_task(world.reserve(account, 1))
            await until(lambda: one_commits(world))
            refusal = await refusal_of(world.balance(account))
        assert_retry_later(refusal, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        await first
        assert await world.balance(account) == (100, 1, 99)


async def limit_pages(running: RunningBroker, pages: int) -> None:
    """Sets how large the database may grow, which SQLite treats as the size of the disk; 0: what it is now."""
    await running.broker.database.write(
        lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages or 1}").all()
    )


@only_on(DatabaseKind.SQLITE, reason="a server's disk is shared by all of its databases")
async def test_a_full_disk_is_an_outage_and_costs_nothing(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    labels = {str(number): "😀" * 500 for number in range(32)}
    await limit_pages(world.running, 0)
    request_ids = [new_id() for _ in range(3)]
    for request_id in request_ids:
        refusal = await refusal_of(world.reserve(account, 1, request_id=request_id, metadata=labels))
        assert_retry_later(refusal, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert await world.balance(account) == (100, 0, 100)
    await limit_pages(world.running, 1_000_000)
    for request_id in request_ids:
        assert not (await world.reserve(account, 1, request_id=request_id, metadata=labels)).replayed
    assert await world.balance(account) == (100, 3, 97)
    assert not (await world.running.broker.database.read(audit)).violations


@only_on(DatabaseKind.SQLITE, reason="PostgreSQL tells a missing table from a database that is gone")
async def test_a_database_that_fails_is_an_outage_for_every_call(forgetful_world: World) -> None:
    world = forgetful_world
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    check = broker_pb2.CheckCreditsRequest(account_token=account.token, credits=1)
    for table in ("accounts", "reservations"):
        world.running.sql(f"ALTER TABLE {table} RENAME TO hidden")
        failing = [
            world.reserve(account, 1),
            world.capture(reservation_id),
            world.release(reservation_id),
            world.reservation(reservation_id) if table == "reservations" else world.reserve(account, 2),
            world.balance(account),
            call(world.stubs.broker.CheckCredits, check, world.provider.key),
        ]
        for refused in failing:
            assert_retry_later(await refusal_of(refused), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        world.running.sql(f"ALTER TABLE hidden RENAME TO {table}")
    assert await world.balance(account) == (100, 5, 95)
    await world.capture(reservation_id)


@only_on(DatabaseKind.SQLITE, reason="PostgreSQL tells a missing table from a database that is gone")
@pytest.mark.parametrize("table", ["keys", "providers", "services"])
async def test_credentials_and_goods_that_cannot_be_looked_up_are_an_outage(forgetful_world: World, table: str) -> None:
    world = forgetful_world
    account = await world.new_account()
    world.running.sql(f"ALTER TABLE {table} RENAME TO hidden")
    refusal = await refusal_of(world.reserve(account, 1))
    world.running.sql(f"ALTER TABLE hidden RENAME TO {table}")
    assert_retry_later(refusal, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert (await world.reserve(account, 1)).balance.reserved_credits == 1


@only_on(DatabaseKind.POSTGRESQL, reason="a file takes no connections")
async def test_a_database_that_takes_no_connections_is_an_outage_for_every_call(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    request_id = new_id()
    check = broker_pb2.CheckCreditsRequest(account_token=account.token, credits=1)
    with no_connections(world.running.database_url):
        failing = [
            world.reserve(account, 1, request_id=request_id),
            world.capture(reservation_id),
            world.release(reservation_id),
            world.reservation(reservation_id),
            world.balance(account),
            world.new_customer(),
            call(world.stubs.broker.CheckCredits, check, world.provider.key),
        ]
        for ended in await asyncio.gather(*(refusal_of(call) for call in failing)):
            assert_retry_later(ended, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert await world.balance(account) == (100, 5, 95)
    assert not (await world.reserve(account, 1, request_id=request_id)).replayed
    await world.capture(reservation_id)
    assert not (await world.running.broker.database.read(audit)).violations


@only_on(DatabaseKind.POSTGRESQL, reason="a file has no connections")
async def test_connections_that_were_cut_are_made_again(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    for amount in range(1, 4):
        assert cut_connections(world.running.database_url) >= 1
        answers = await asyncio.gather(*(world.reserve(account, 1) for _ in range(5)))
        assert not any(answer.replayed for answer in answers)
        assert cut_connections(world.running.database_url) >= 1
        assert await world.balance(account) == (100, 5 * amount, 100 - 5 * amount)


@only_on(DatabaseKind.POSTGRESQL, reason="a file has no connections")
async def test_what_was_cut_off_is_done_once_when_it_is_tried_again(own_world: World) -> None:
    world = own_world
    account = await world.new_account(trial_credits=1_000)
    request_ids = [new_id() for _ in range(200)]
    calls = [asyncio.create_task(world.reserve(account, 1, request_id=it)) for it in request_ids]
    for _ in range(5):
        cut_connections(world.running.database_url)
        await asyncio.sleep(0.02)
    await asyncio.wait(calls)
    for ended in calls:
        if ended.exception():
            assert_retry_later(await refusal_of(ended), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    await asyncio.gather(*(world.reserve(account, 1, request_id=it) for it in request_ids))
    assert await world.balance(account) == (1_000, 200, 800)
    assert not (await world.running.broker.database.read(audit)).violations


async def test_an_offer_that_cannot_be_read_does_not_hide_the_refusal(impatient_world: World) -> None:
    world = impatient_world
    account = await world.new_account(trial_credits=1)
    with unreadable(world.running.database_url, "packs"):
        refusal = await refusal_of(world.reserve(account, 2))
    assert refusal.reason == "INSUFFICIENT_CREDITS"
    assert (refusal.detail(broker_pb2.Offer).missing_credits, refusal.metadata["missing"]) == (1, "1")


async def test_a_lock_that_others_hold_too_long_is_a_conflict(impatient_world: World) -> None:
    world = impatient_world
    account, request_id = await world.new_account(), new_id()
    pack = catalog_pb2.CreatePackRequest(request_id=new_id(), service=account.service, title="Pack", credits=1)
    pack.price.currency_code, pack.price.units = "EUR", 1
    with write_lock(world.running.database_url):
        refusals = [
            await refusal_of(world.reserve(account, 1, request_id=request_id)),
            await refusal_of(call(world.stubs.catalog.CreatePack, pack, world.provider.key)),
        ]
        assert await world.balance(account) == (100, 0, 100), "reading goes on"
    for refusal in refusals:
        assert_retry_later(refusal, grpc.StatusCode.ABORTED, "STORAGE_CONFLICT")
    assert not (await world.reserve(account, 1, request_id=request_id)).replayed
    assert not (await call(world.stubs.catalog.CreatePack, pack, world.provider.key)).replayed


async def test_a_lock_that_others_hold_shortly_is_waited_for(impatient_world: World) -> None:
    world = impatient_world
    account = await world.new_account()
    with write_lock(world.running.database_url):
        waiting = asyncio.create_task(world.reserve(account, 1))
        await asyncio.sleep(0.12)
    assert not (await waiting).replayed
    assert await world.balance(account) == (100, 1, 99)
