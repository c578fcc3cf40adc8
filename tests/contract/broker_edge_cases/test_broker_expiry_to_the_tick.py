"""One tick before its time, at it, and after it; and a grant that ends under a reservation that is extended."""

from datetime import timedelta
from typing import Any

import pytest
from iap.broker.v1 import broker_pb2

from tests.contract.broker_edge_cases.test_broker_states_of_reservations import OPERATIONS
from tests.contract.broker_world.operations import extend, grant_credits
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import World, amounts

ACTIVE = broker_pb2.RESERVATION_STATE_ACTIVE
TTL = timedelta(seconds=10)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize("operation", ["capture", "release", "extend"])
@pytest.mark.parametrize("offset", [-TICK, timedelta(0), TICK], ids=["before", "at", "after"])
async def test_one_tick_before_at_and_after_its_time(world: World, operation: str, offset: timedelta) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=TTL)
    world.clock.move(TTL + offset)
    asked: Any = OPERATIONS[operation](world, reservation_id, world.provider.key)
    if offset < timedelta(0):
        assert not (await asked).replayed
    else:
        assert (await refusal_of(asked)).reason == "RESERVATION_EXPIRED"
        assert await world.balance(account) == (100, 0, 100)


@pytest.mark.parametrize("offset", [-TICK, timedelta(0), TICK], ids=["before", "at", "after"])
async def test_a_refund_asks_for_no_time(world: World, offset: timedelta) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=TTL)
    await world.capture(reservation_id, 3, keep_open=True)
    world.clock.move(TTL + offset)
    refunded = await OPERATIONS["refund"](world, reservation_id, world.provider.key)
    reserved = 2 if offset < timedelta(0) else 0
    assert amounts(refunded.balance) == (98, reserved, 98 - reserved)


async def test_a_reservation_is_extended_though_its_grant_has_expired(world: World) -> None:
    account = await world.new_account(trial_credits=5)
    await grant_credits(world, account, 20, expire_time=world.clock.now + HOUR)
    reservation_id = await world.reserved(account, 15, ttl=2 * HOUR)
    world.clock.move(HOUR)
    refusal = await refusal_of(extend(world, reservation_id, 6))
    assert (refusal.reason, refusal.metadata["available"]) == ("INSUFFICIENT_CREDITS", "5")
    longer = await extend(world, reservation_id, 3, ttl=2 * HOUR)
    assert (longer.reservation.state, amounts(longer.balance)) == (ACTIVE, (20, 18, 2))
    world.clock.move(2 * HOUR - TICK)
    assert (await world.capture(reservation_id, 16)).captured_credits == 16
    assert await world.balance(account) == (4, 0, 4)
