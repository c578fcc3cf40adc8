"""Extend: more time, more credits, or both."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from iap.broker.v1 import account_pb2, broker_pb2

from tests.contract.broker_world.operations import extend, grant_credits, suspend_account
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import World, amounts, new_id

ACTIVE = broker_pb2.RESERVATION_STATE_ACTIVE
CAPTURED = broker_pb2.RESERVATION_STATE_CAPTURED
EXPIRED = broker_pb2.RESERVATION_STATE_EXPIRED
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)


async def test_a_life_counts_from_now_and_ends_exactly(world: World) -> None:
    account = await world.new_account()
    reserved = (await world.reserve(account, 5, ttl=2 * MINUTE)).reservation
    world.clock.move(MINUTE)
    answer = await extend(world, reserved.reservation_id, ttl=5 * MINUTE)
    assert answer.reservation.expire_time.ToMicroseconds() - reserved.create_time.ToMicroseconds() == 360_000_000
    assert (answer.reservation.state, answer.reservation.reserved_credits) == (ACTIVE, 5)
    assert (amounts(answer.balance), answer.replayed) == ((100, 5, 95), False)
    world.clock.move(5 * MINUTE - TICK)
    assert await world.reservation(reserved.reservation_id) == answer.reservation
    world.clock.move(TICK)
    assert (await world.reservation(reserved.reservation_id)).state == EXPIRED
    assert [it.credits for it in await world.entries(account)] == [100]


async def test_a_life_can_be_made_shorter(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    await extend(world, reservation_id, ttl=MINUTE)
    world.clock.move(MINUTE)
    assert await world.balance(account) == (100, 0, 100)


async def test_additional_credits_are_reserved_and_the_time_stays(world: World) -> None:
    account = await world.new_account()
    reserved = (await world.reserve(account, 5)).reservation
    world.clock.move(MINUTE)
    answer = await extend(world, reserved.reservation_id, 95)
    assert (answer.reservation.reserved_credits, answer.reservation.expire_time) == (100, reserved.expire_time)
    assert amounts(answer.balance) == await world.balance(account) == (100, 100, 0)
    refusal = await refusal_of(extend(world, reserved.reservation_id, 1, ttl=MINUTE))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS")
    assert refusal.detail(broker_pb2.Offer).missing_credits == 1
    assert await world.reservation(reserved.reservation_id) == answer.reservation
    assert (await world.capture(reserved.reservation_id)).captured_credits == 100


async def test_a_session_goes_on_with_more_credits_of_several_grants(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    await grant_credits(world, account, 20, priority=200)
    reservation_id = await world.reserved(account, 6)
    await world.capture(reservation_id, 6, keep_open=True)
    await extend(world, reservation_id, 12, ttl=MINUTE)
    assert [(it.remaining_credits, it.reserved_credits) for it in (await world.holdings(account)).grants] == [
        (4, 4),
        (20, 8),
    ]
    refusal = await refusal_of(world.capture(reservation_id, 13))
    assert (refusal.reason, refusal.metadata["reserved"]) == ("CAPTURE_EXCEEDS_RESERVATION", "12")
    await world.capture(reservation_id, 5, keep_open=True)
    # The first grant is spent, and no longer among what a batch loads.
    await extend(world, reservation_id, 3)
    last = await world.capture(reservation_id, 6)
    assert (last.reservation.state, last.reservation.captured_credits) == (CAPTURED, 17)
    assert (last.released_credits, amounts(last.balance)) == (4, (13, 0, 13))
    entries = [(it.kind, it.credits) for it in await world.entries(account)][2:]
    assert entries == [(account_pb2.ENTRY_KIND_CAPTURE, amount) for amount in (-6, -5, -6)]


async def test_a_reservation_holds_at_most_10_to_the_12th_in_all(world: World) -> None:
    account = await world.new_account(trial_credits=10**12)
    await grant_credits(world, account, 10)
    reservation_id = await world.reserved(account, 10**12 - 1)
    refusal = await refusal_of(extend(world, reservation_id, 2))
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["additional_credits"])
    await extend(world, reservation_id, 1)
    assert await world.balance(account) == (10**12 + 10, 10**12, 10)
    assert (await world.capture(reservation_id)).captured_credits == 10**12


async def test_a_life_is_at_most_the_service_s_longest(world: World) -> None:
    service = await world.new_service(trial_credits=10, max_ttl=MINUTE)
    account, request_id = await world.new_account(service=service), new_id()
    reservation_id = await world.reserved(account, 5)
    refusal = await refusal_of(extend(world, reservation_id, 99, ttl=MINUTE + TICK, request_id=request_id))
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["ttl"])
    world.clock.move(MINUTE / 2)
    assert not (await extend(world, reservation_id, ttl=MINUTE, request_id=request_id)).replayed


@pytest.mark.parametrize("reason", ["RESERVATION_CAPTURED", "RESERVATION_RELEASED", "RESERVATION_EXPIRED"])
async def test_a_resolved_reservation_is_not_extended(world: World, reason: str) -> None:
    account = await world.new_account()
    reserved = (await world.reserve(account, 5, ttl=MINUTE)).reservation
    if reason == "RESERVATION_CAPTURED":
        await world.capture(reserved.reservation_id, 2)
    elif reason == "RESERVATION_RELEASED":
        await world.release(reserved.reservation_id)
    else:
        world.clock.move(MINUTE)
    before = await world.holdings(account), await world.reservation(reserved.reservation_id)
    for late in (
        extend(world, reserved.reservation_id, ttl=MINUTE),
        extend(world, reserved.reservation_id, 10**12),
    ):
        assert (await refusal_of(late)).reason == reason
    assert (await world.holdings(account), await world.reservation(reserved.reservation_id)) == before


async def test_a_suspended_account_gets_time_and_no_credits(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=MINUTE)
    await suspend_account(world, account)
    refusal = await refusal_of(extend(world, reservation_id, 1, ttl=2 * MINUTE))
    assert (refusal.reason, refusal.metadata) == ("ACCOUNT_SUSPENDED", {"account_id": account.id})
    await extend(world, reservation_id, ttl=2 * MINUTE)
    world.clock.move(MINUTE)
    assert (await world.capture(reservation_id)).captured_credits == 5


async def test_a_replay_gets_the_reservation_and_the_balance_as_they_now_stand(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5)
    await extend(world, reservation_id, 5, ttl=MINUTE, request_id=request_id)
    captured = await world.capture(reservation_id, 7)
    world.clock.move(MINUTE)
    again = await extend(world, reservation_id, 5, ttl=MINUTE, request_id=request_id)
    assert (again.replayed, again.reservation) == (True, captured.reservation)
    assert amounts(again.balance) == (93, 0, 93)


async def test_a_request_id_serves_one_extension(world: World) -> None:
    account = await world.new_account()
    reservation_id, other = await world.reserved(account, 5), await world.reserved(account, 5)
    request = broker_pb2.ExtendRequest(
        request_id=new_id(), reservation_id=reservation_id, ttl=Duration(seconds=60), additional_credits=2
    )
    changes = [
        put(ttl=None),
        put(ttl=Duration(seconds=61)),
        put(additional_credits=3),
        put(additional_credits=0),
        put(additional_credits=10**12),
        put(reservation_id=other),
    ]
    await assert_reused(world, "Extend", request, changes, world.provider.key)
    assert await world.balance(account) == (100, 12, 88)
