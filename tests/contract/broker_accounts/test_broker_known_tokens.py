"""Every process remembers account tokens, and none takes one that has stopped, wherever it was rotated."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from iap.broker.v1 import account_pb2, broker_pb2, purchase_pb2

from tests.contract.broker_world.operations import charge, rotate_token
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, call, new_id, new_world

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)

# Each way to use a token; those that need a key take the provider's.
USES: dict[str, Any] = {
    "Reserve": lambda token: broker_pb2.ReserveRequest(request_id=new_id(), account_token=token, credits=1),
    "Charge": lambda token: broker_pb2.ChargeRequest(request_id=new_id(), account_token=token, credits=1),
    "CheckCredits": lambda token: broker_pb2.CheckCreditsRequest(account_token=token, credits=1),
    "ListReservations": lambda token: broker_pb2.ListReservationsRequest(account_token=token),
    "GetBalance": lambda token: account_pb2.GetBalanceRequest(account_token=token),
    "ListEntries": lambda token: account_pb2.ListEntriesRequest(account_token=token),
    "WatchBalance": lambda token: account_pb2.WatchBalanceRequest(account_token=token),
}


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[World]:
    async with running_broker(database_url) as running:
        yield await new_world(running)


@pytest.fixture
async def there(here: World) -> AsyncIterator[World]:
    """The same people at another broker, which remembers for itself."""
    async with running_broker(here.running.database_url, here.clock) as running:
        yield World(running, here.provider, here.rival, here.services)


async def use(world: World, rpc: str, token: str, *, key: str | None = None) -> Any:
    key = world.provider.key if key is None else key
    return await call(world.stubs.method(rpc), USES[rpc](token), "" if rpc in ("GetBalance", "WatchBalance") else key)


async def assert_stopped(world: World, token: str) -> None:
    for rpc in USES:
        refusal = await refusal_of(use(world, rpc, token))
        assert (rpc, refusal.reason) == (rpc, "ACCOUNT_NOT_FOUND")
        assert "account_id" not in refusal.metadata


async def assert_opens(world: World, token: str) -> None:
    for rpc in USES:
        await use(world, rpc, token)


async def remembered(*worlds: World) -> Account:
    """Returns an account whose token all brokers have looked up."""
    account = await worlds[0].new_account()
    for world in worlds:
        await assert_opens(world, account.token)
    return account


async def test_a_rotation_in_one_process_counts_at_once_in_another(here: World, there: World) -> None:
    account = await remembered(here, there)
    new_token = (await rotate_token(here, account)).account_token
    await assert_opens(there, new_token)
    await assert_stopped(there, account.token)
    newest_token = (await rotate_token(there, account)).account_token
    await assert_stopped(here, new_token)
    await assert_opens(here, newest_token)


@pytest.mark.parametrize("rpc", USES)
async def test_each_use_by_itself_notices_a_rotation_elsewhere(here: World, there: World, rpc: str) -> None:
    account = await remembered(here, there)
    new_token = (await rotate_token(here, account, overlap=HOUR)).account_token
    await use(there, rpc, account.token)
    await rotate_token(here, replace(account, token=new_token))
    assert (await refusal_of(use(there, rpc, account.token))).reason == "ACCOUNT_NOT_FOUND"


async def test_an_overlap_ends_to_the_tick_in_every_process(here: World, there: World) -> None:
    account = await remembered(here, there)
    new_token = (await rotate_token(here, account, overlap=HOUR)).account_token
    here.clock.move(HOUR - TICK)
    for world in (here, there):
        await assert_opens(world, account.token)
    here.clock.move(TICK)
    for world in (here, there):
        await assert_stopped(world, account.token)
        await assert_opens(world, new_token)


async def test_a_token_that_has_ended_stays_so_when_the_clock_steps_back(here: World) -> None:
    account = await remembered(here)
    await rotate_token(here, account, overlap=HOUR)
    here.clock.move(HOUR)
    await assert_stopped(here, account.token)
    here.clock.move(-HOUR)
    await assert_stopped(here, account.token)


async def test_a_replay_needs_a_token_that_works_and_any_will_do(here: World, there: World) -> None:
    account, request_id = await remembered(here, there), new_id()
    first = await there.reserve(account, 5, request_id=request_id)
    new_token = (await rotate_token(here, account)).account_token
    assert (await refusal_of(there.reserve(account, 5, request_id=request_id))).reason == "ACCOUNT_NOT_FOUND"
    again = await there.reserve(replace(account, token=new_token), 5, request_id=request_id)
    assert (again.replayed, again.reservation) == (True, first.reservation)


async def test_nobody_learns_of_an_account_by_a_token_that_has_stopped(here: World, there: World) -> None:
    account = await remembered(here, there)
    reservation = broker_pb2.GetReservationRequest(request_id=new_id(), account_token=account.token)
    purchase = purchase_pb2.CreatePurchaseRequest(
        request_id=new_id(), pack_id="pck_unknown", account_token=account.token
    )
    assert (await refusal_of(use(there, "Reserve", account.token, key=there.rival.key))).reason == "PERMISSION_DENIED"
    assert (await refusal_of(call(there.stubs.purchases.CreatePurchase, purchase))).reason == "PACK_NOT_FOUND"
    await rotate_token(here, account)
    for rpc in ("Reserve", "Charge", "CheckCredits", "ListReservations"):
        assert (await refusal_of(use(there, rpc, account.token, key=there.rival.key))).reason == "ACCOUNT_NOT_FOUND"
    for asked in (
        call(there.stubs.purchases.CreatePurchase, purchase),
        call(there.stubs.broker.GetReservation, reservation, there.provider.key),
    ):
        assert (await refusal_of(asked)).reason == "ACCOUNT_NOT_FOUND"


async def test_a_purchase_by_token_is_refused_after_a_rotation_elsewhere(here: World, there: World) -> None:
    account = await remembered(here, there)
    pack = await here.new_pack(account.service)
    await there.purchase(account, pack.pack_id)
    new_token = (await rotate_token(here, account)).account_token
    assert (await refusal_of(there.purchase(account, pack.pack_id))).reason == "ACCOUNT_NOT_FOUND"
    await there.buy(replace(account, token=new_token), pack.pack_id)
    assert await there.balance(replace(account, token=new_token)) == (198, 2, 196)


async def test_calls_that_come_while_a_token_is_rotated_are_done_or_refused(here: World, there: World) -> None:
    account = await remembered(here, there)
    token, done = account.token, 0
    for _ in range(5):
        token = (await rotate_token(here, account, overlap=HOUR)).account_token
        await charge(there, account, 1)
        await charge(there, replace(account, token=token), 1)
        done += 2
    assert await here.balance(replace(account, token=token)) == (98 - done, 2, 96 - done)
