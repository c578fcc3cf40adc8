"""RotateAccountToken: another secret for an account, and the end of the old one."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from iap.broker.v1 import account_pb2

from tests.contract.broker_world.operations import charge, rotate_token, suspend_account
from tests.contract.broker_world.refusals import parse_error, refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import Account, World, new_id
from tests.databases import write_lock

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


async def works(world: World, account: Account, token: str) -> bool:
    """Tells whether a token opens its account."""
    request = account_pb2.GetBalanceRequest(account_token=token)
    try:
        found = await world.call(world.stubs.accounts.GetBalance, request)
    except grpc.aio.AioRpcError as error:
        if parse_error(error).reason != "ACCOUNT_NOT_FOUND":
            raise
        return False
    return found.account.account_id == account.id


async def test_the_old_token_stops_at_once_and_the_new_one_works(world: World) -> None:
    account = await world.new_account()
    # Looked up, so that the broker remembers it.
    await charge(world, account, 1)
    answer = await rotate_token(world, account)
    assert (bool(answer.account_token), answer.replayed) == (True, False)
    for refused in (world.reserve(account, 1), charge(world, account, 1), world.balance(account)):
        assert (await refusal_of(refused)).reason == "ACCOUNT_NOT_FOUND"
    renewed = replace(account, token=answer.account_token)
    await charge(world, renewed, 1)
    world.clock.move(400 * DAY)
    assert await world.balance(renewed) == (98, 0, 98)


@pytest.mark.parametrize("overlap", [TICK, DAY, 30 * DAY])
async def test_the_old_token_goes_on_for_the_overlap(world: World, overlap: timedelta) -> None:
    account = await world.new_account()
    assert await works(world, account, account.token)
    new_token = (await rotate_token(world, account, overlap=overlap)).account_token
    world.clock.move(overlap - TICK)
    assert await works(world, account, account.token)
    assert await works(world, account, new_token)
    world.clock.move(TICK)
    assert not await works(world, account, account.token)
    assert await works(world, account, new_token)


async def test_a_later_rotation_brings_an_end_forward_and_never_back(world: World) -> None:
    account = await world.new_account()
    second = (await rotate_token(world, account, overlap=2 * DAY)).account_token
    third = (await rotate_token(world, account, overlap=3 * DAY)).account_token
    world.clock.move(2 * DAY)
    assert [await works(world, account, token) for token in (account.token, second, third)] == [False, True, True]
    fourth = (await rotate_token(world, account)).account_token
    assert [await works(world, account, token) for token in (second, third, fourth)] == [False, False, True]


async def test_a_replay_gets_an_empty_token_and_stops_none(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    first = await rotate_token(world, account, overlap=DAY, request_id=request_id)
    again = await rotate_token(world, account, overlap=DAY, request_id=request_id)
    assert (again.account_token, again.replayed) == ("", True)
    assert await works(world, account, account.token)
    assert await works(world, account, first.account_token)


async def test_a_request_id_serves_one_rotation(world: World) -> None:
    account = await world.new_account()
    request = account_pb2.RotateAccountTokenRequest(
        request_id=new_id(), account_id=account.id, overlap=Duration(seconds=60)
    )
    changes = [put(overlap=None), put(overlap=Duration(seconds=61)), put(overlap=Duration(seconds=60, nanos=1_000))]
    await assert_reused(world, "RotateAccountToken", request, changes, account.customer.key)


async def test_no_overlap_spelled_out_is_the_same_request(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    await rotate_token(world, account, request_id=request_id)
    assert (await rotate_token(world, account, overlap=timedelta(0), request_id=request_id)).replayed


async def test_a_suspended_account_can_stop_a_token_that_has_leaked(world: World) -> None:
    account = await world.new_account()
    await suspend_account(world, account)
    new_token = (await rotate_token(world, account)).account_token
    assert not await works(world, account, account.token)
    assert await works(world, account, new_token)


async def test_reservations_made_with_the_old_token_are_brought_to_their_end(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    new_token = (await rotate_token(world, account)).account_token
    await world.capture(reservation_id)
    assert await world.balance(replace(account, token=new_token)) == (95, 0, 95)


async def test_no_secret_is_stored(world: World) -> None:
    account = await world.new_account()
    new_token = (await rotate_token(world, account)).account_token
    stored = world.running.sql("SELECT token_hash FROM account_tokens WHERE account_id = ?", account.id)
    assert len(stored) == 2
    assert not {(new_token,), (account.token,)} & set(stored)


async def test_a_rotation_whose_caller_has_left_stops_the_old_token_at_once_all_the_same(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    assert await works(world, account, account.token)
    request = account_pb2.RotateAccountTokenRequest(request_id=new_id(), account_id=account.id)
    authorization = (("authorization", f"Bearer {account.customer.key}"),)
    with write_lock(world.running.database_url):
        rotating = world.stubs.accounts.RotateAccountToken(request, metadata=authorization)
        await asyncio.sleep(0.2)
        # Looked up again while the rotation waits for its commit, and remembered as it was.
        assert await works(world, account, account.token)
        rotating.cancel()
        await asyncio.sleep(0.1)
    await world.running.broker.committer.drain()
    assert not await works(world, account, account.token)
    assert (await world.call(world.stubs.accounts.RotateAccountToken, request, account.customer.key)).replayed
