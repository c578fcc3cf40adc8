"""Expiry is exact: from expire_time on, for every call, whether or not anybody has written it down."""

from datetime import timedelta

import pytest
from iap.broker.v1 import account_pb2, broker_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import Account, World, amounts, call, new_id

ACTIVE = broker_pb2.RESERVATION_STATE_ACTIVE
EXPIRED = broker_pb2.RESERVATION_STATE_EXPIRED
TTL = timedelta(seconds=10)
TICK = timedelta(microseconds=1)


async def states(world: World, account: Account, state: "broker_pb2.ReservationState") -> list[int]:
    """Returns the states of the reservations that are listed as being in a state."""
    request = broker_pb2.ListReservationsRequest(account_token=account.token, state=state)
    listed = await call(world.stubs.broker.ListReservations, request, world.provider.key)
    return [reservation.state for reservation in listed.reservations]


async def check(world: World, account: Account, amount: int) -> broker_pb2.CheckCreditsResponse:
    request = broker_pb2.CheckCreditsRequest(account_token=account.token, credits=amount)
    return await call(world.stubs.broker.CheckCredits, request, world.provider.key)


@pytest.mark.parametrize("offset", [timedelta(0), TICK, timedelta(seconds=1), timedelta(days=400)])
async def test_from_its_time_on_a_reservation_is_expired_for_every_reader(world: World, offset: timedelta) -> None:
    account = await world.new_account()
    reserved = (await world.reserve(account, 60, ttl=TTL)).reservation
    world.clock.move(TTL + offset)
    found = await world.reservation(reserved.reservation_id)
    assert (found.state, found.released_credits, found.resolve_time) == (EXPIRED, 60, reserved.expire_time)
    assert await states(world, account, ACTIVE) == []
    assert await states(world, account, EXPIRED) == [EXPIRED]
    assert await states(world, account, broker_pb2.RESERVATION_STATE_UNSPECIFIED) == [EXPIRED]
    assert await states(world, account, broker_pb2.RESERVATION_STATE_RELEASED) == []
    checked = await check(world, account, 100)
    assert (checked.sufficient, amounts(checked.balance)) == (True, (100, 0, 100))
    holdings = await world.holdings(account)
    assert amounts(holdings.balance) == (100, 0, 100)
    assert [(grant.remaining_credits, grant.reserved_credits) for grant in holdings.grants] == [(100, 0)]
    by_request = broker_pb2.ListReservationsRequest(account_token=account.token)
    assert list((await call(world.stubs.broker.ListReservations, by_request, world.provider.key)).reservations) == [
        found
    ]
    # What reading showed is what writing finds.
    assert (await refusal_of(world.capture(reserved.reservation_id))).reason == "RESERVATION_EXPIRED"
    assert (await refusal_of(world.release(reserved.reservation_id))).reason == "RESERVATION_EXPIRED"
    assert await world.reservation(reserved.reservation_id) == found
    assert await world.holdings(account) == holdings


async def test_one_microsecond_before_its_time_a_reservation_is_active(world: World) -> None:
    account = await world.new_account()
    first, second = [await world.reserved(account, 40, ttl=TTL) for _ in range(2)]
    world.clock.move(TTL - TICK)
    assert (await world.reservation(first)).state == ACTIVE
    assert await states(world, account, ACTIVE) == [ACTIVE, ACTIVE]
    assert await states(world, account, EXPIRED) == []
    assert not (await check(world, account, 21)).sufficient
    assert (await refusal_of(world.reserve(account, 21))).reason == "INSUFFICIENT_CREDITS"
    assert (await world.capture(first)).captured_credits == 40
    assert (await world.release(second)).reservation.released_credits == 40
    assert await world.balance(account) == (60, 0, 60)


async def test_expired_credits_can_be_reserved_at_the_very_instant(world: World) -> None:
    account = await world.new_account()
    expired = await world.reserved(account, 100, ttl=TTL)
    world.clock.move(TTL)
    assert amounts((await world.reserve(account, 100)).balance) == (100, 100, 0)
    assert (await world.reservation(expired)).state == EXPIRED


async def test_what_a_session_captured_before_its_time_stays_captured(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10, ttl=TTL)
    await world.capture(reservation_id, 4, keep_open=True)
    world.clock.move(TTL)
    found = await world.reservation(reservation_id)
    assert (found.state, found.captured_credits, found.released_credits) == (EXPIRED, 4, 6)
    assert await world.balance(account) == (96, 0, 96)
    await world.reserve(account, 96)
    assert await world.reservation(reservation_id) == found


async def test_a_reservation_without_a_ttl_lives_as_long_as_its_service_says(world: World) -> None:
    service = await world.new_service(trial_credits=5, default_ttl=timedelta(seconds=3))
    account = await world.new_account(service=service)
    reservation_id = await world.reserved(account, 5)
    world.clock.move(timedelta(seconds=3) - TICK)
    assert (await world.reservation(reservation_id)).state == ACTIVE
    world.clock.move(TICK)
    assert (await world.reservation(reservation_id)).state == EXPIRED


async def test_a_service_with_a_short_max_ttl_has_no_longer_default(world: World) -> None:
    service = await world.new_service(trial_credits=5, max_ttl=timedelta(seconds=3))
    account = await world.new_account(service=service)
    reservation = (await world.reserve(account, 5)).reservation
    assert reservation.expire_time.ToMicroseconds() - reservation.create_time.ToMicroseconds() == 3_000_000


@pytest.mark.parametrize("ttl", [timedelta(seconds=1), timedelta(days=30)])
async def test_the_shortest_and_the_longest_ttl_are_kept_to_the_microsecond(world: World, ttl: timedelta) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=ttl)
    world.clock.move(ttl - TICK)
    assert (await world.reservation(reservation_id)).state == ACTIVE
    world.clock.move(TICK)
    assert (await world.reservation(reservation_id)).state == EXPIRED


async def test_many_reservations_expire_one_by_one(world: World) -> None:
    account = await world.new_account()
    for second in range(1, 6):
        await world.reserved(account, second, ttl=timedelta(seconds=second))
    reserved = 15
    for second in range(1, 6):
        world.clock.move(timedelta(seconds=1))
        reserved -= second
        assert await world.balance(account) == (100, reserved, 100 - reserved)
        assert len(await states(world, account, ACTIVE)) == 5 - second
    await world.reserve(account, 100)


async def test_expiry_of_reservations_writes_no_entry(world: World) -> None:
    account = await world.new_account()
    await world.reserve(account, 5, ttl=TTL)
    world.clock.move(TTL)
    await world.reserve(account, 5)
    assert [it.kind for it in await world.entries(account)] == [account_pb2.ENTRY_KIND_TRIAL]


async def test_capturing_at_the_instant_of_expiry_races_to_one_outcome(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5, ttl=TTL)
    world.clock.move(TTL)
    refusal = await refusal_of(world.capture(reservation_id, request_id=request_id))
    assert refusal.reason == "RESERVATION_EXPIRED"
    assert (await refusal_of(world.capture(reservation_id, request_id=request_id))).reason == "RESERVATION_EXPIRED"
    assert await world.balance(account) == (100, 0, 100)
