"""Too much at once, a database that does not answer, and one that others hold."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from iap.broker.v1 import broker_pb2, catalog_pb2

from broker_service.storage import database
from broker_service.storage.audit import audit
from tests.contract.broker_world.refusals import Refusal, refusal_of
from tests.contract.broker_world.running_broker import RunningBroker, running_broker, write_lock
from tests.contract.broker_world.world import World, call, new_id, new_world

ARRIVE_SECONDS = 0.05


@pytest.fixture(scope="module")
async def impatient_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A broker that waits for a lock for a twentieth of a second instead of five."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_BUSY_TIMEOUT_SECONDS", 0.05)
        async with running_broker(tmp_path_factory.mktemp("impatient") / "iap.db") as running:
            yield await new_world(running)


def assert_retry_later(refusal: Refusal, code: grpc.StatusCode, reason: str) -> None:
    """Holds a refusal to the form of those that may be tried again; RetryInfo is checked for all of them."""
    assert (refusal.code, refusal.reason, refusal.metadata) == (code, reason, {})
    for secret in ("sqlite", "SQL", "table", "disk", "locked"):
        assert secret not in refusal.message


async def test_more_commands_than_may_wait_are_refused_undone(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "iap.db", queue_commands=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        request_ids = [new_id() for _ in range(10)]
        with write_lock(running.path):
            first = asyncio.create_task(world.reserve(account, 1))
            await asyncio.sleep(ARRIVE_SECONDS)
            second = asyncio.create_task(world.reserve(account, 1))
            await asyncio.sleep(ARRIVE_SECONDS)
            burst = [asyncio.create_task(world.reserve(account, 1, request_id=it)) for it in request_ids]
            refusals = [await refusal_of(it) for it in burst]
        await asyncio.gather(first, second)
        for refusal in refusals:
            assert_retry_later(refusal, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert await world.balance(account) == (100, 2, 98)
        for request_id in request_ids:
            assert not (await world.reserve(account, 1, request_id=request_id)).replayed


async def test_commands_whose_callers_have_left_do_not_keep_others_out(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "iap.db", queue_commands=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        with write_lock(running.path):
            first = asyncio.create_task(world.reserve(account, 1))
            await asyncio.sleep(ARRIVE_SECONDS)
            leaves = asyncio.create_task(world.reserve(account, 1))
            await asyncio.sleep(ARRIVE_SECONDS)
            leaves.cancel()
            await asyncio.sleep(ARRIVE_SECONDS)
            comes = asyncio.create_task(world.reserve(account, 1))
            await asyncio.sleep(ARRIVE_SECONDS)
        await asyncio.gather(first, comes)
        assert await world.balance(account) == (100, 2, 98)


async def test_more_calls_than_may_run_are_refused(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "iap.db", max_concurrent_calls=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        with write_lock(running.path):
            first = asyncio.create_task(world.reserve(account, 1))
            await asyncio.sleep(ARRIVE_SECONDS)
            refusal = await refusal_of(world.balance(account))
        assert_retry_later(refusal, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        await first
        assert await world.balance(account) == (100, 1, 99)


async def limit_pages(running: RunningBroker, pages: int) -> None:
    """Sets how large the database may grow, which SQLite treats as the size of the disk; 0: what it is now."""
    await running.broker.database.write(
        lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages or 1}").all()
    )


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


@pytest.mark.parametrize("table", ["keys", "providers", "services"])
async def test_credentials_and_goods_that_cannot_be_looked_up_are_an_outage(forgetful_world: World, table: str) -> None:
    world = forgetful_world
    account = await world.new_account()
    world.running.sql(f"ALTER TABLE {table} RENAME TO hidden")
    refusal = await refusal_of(world.reserve(account, 1))
    world.running.sql(f"ALTER TABLE hidden RENAME TO {table}")
    assert_retry_later(refusal, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert (await world.reserve(account, 1)).balance.reserved_credits == 1


async def test_an_offer_that_cannot_be_read_does_not_hide_the_refusal(forgetful_world: World) -> None:
    world = forgetful_world
    account = await world.new_account(trial_credits=1)
    world.running.sql("ALTER TABLE packs RENAME TO hidden")
    refusal = await refusal_of(world.reserve(account, 2))
    world.running.sql("ALTER TABLE hidden RENAME TO packs")
    assert refusal.reason == "INSUFFICIENT_CREDITS"
    assert (refusal.detail(broker_pb2.Offer).missing_credits, refusal.metadata["missing"]) == (1, "1")


async def test_a_lock_that_others_hold_too_long_is_a_conflict(impatient_world: World) -> None:
    world = impatient_world
    account, request_id = await world.new_account(), new_id()
    pack = catalog_pb2.CreatePackRequest(request_id=new_id(), service=account.service, title="Pack", credits=1)
    pack.price.currency_code, pack.price.units = "EUR", 1
    with write_lock(world.running.path):
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
    with write_lock(world.running.path):
        waiting = asyncio.create_task(world.reserve(account, 1))
        await asyncio.sleep(0.12)
    assert not (await waiting).replayed
    assert await world.balance(account) == (100, 1, 99)
