"""Every operation on a reservation in every state, and operations that race for its end."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from iap.broker.v1 import broker_pb2

from broker_service.background.expiry_sweeper import ExpirySweeper
from broker_service.storage.audit import audit
from tests.contract.broker_world.batches import answer_or_reason
from tests.contract.broker_world.operations import extend, refund
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, amounts, new_world

TTL = timedelta(seconds=60)
TICK = timedelta(microseconds=1)
ROUNDS = 40

Operation = Callable[[World, str, str], Awaitable[Any]]
OPERATIONS: dict[str, Operation] = {
    "capture": lambda world, it, key: world.capture(it, 1, key=key),
    "release": lambda world, it, key: world.release(it, key=key),
    "extend": lambda world, it, key: extend(world, it, 1, ttl=TTL, key=key),
    "refund": lambda world, it, key: refund(world, it, 1, key=key),
}

# What each operation is told of each reservation; "": it is done.
ANSWERS: dict[str, dict[str, str]] = {
    "captured": dict.fromkeys(("capture", "release", "extend"), "RESERVATION_CAPTURED") | {"refund": ""},
    "released": dict.fromkeys(("capture", "release", "extend"), "RESERVATION_RELEASED")
    | {"refund": "REFUND_EXCEEDS_CAPTURE"},
    "expired": dict.fromkeys(("capture", "release", "extend"), "RESERVATION_EXPIRED")
    | {"refund": "REFUND_EXCEEDS_CAPTURE"},
    "unknown": dict.fromkeys(OPERATIONS, "RESERVATION_NOT_FOUND"),
    "another provider's": dict.fromkeys(OPERATIONS, "RESERVATION_NOT_FOUND"),
    "another account's": dict.fromkeys(OPERATIONS, "RESERVATION_NOT_FOUND"),
}


async def in_state(world: World, state: str, account: Account, other: Account) -> tuple[str, str, str]:
    """Makes a reservation; returns its id, the id to ask for it by, and whose key to ask with."""
    reservation_id = await world.reserved(account, 5, ttl=TTL)
    asked, key = reservation_id, world.provider.key
    if state == "captured":
        await world.capture(reservation_id, 3)
    elif state == "released":
        await world.release(reservation_id)
    elif state == "expired":
        world.clock.move(TTL)
    elif state == "another provider's":
        key = world.rival.key
    else:
        kind, of_account, itself = reservation_id.split("_")
        asked = "_".join(
            (kind, of_account, itself[::-1]) if state == "unknown" else (kind, other.id.split("_")[1], itself)
        )
    return reservation_id, asked, key


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", ANSWERS)
async def test_an_operation_on_a_reservation_in_a_state(world: World, operation: str, state: str) -> None:
    account, other = await world.new_account(), await world.new_account()
    reservation_id, asked, key = await in_state(world, state, account, other)
    before = await books(world, reservation_id, account, other)
    expected = ANSWERS[state][operation]
    if not expected:
        done = await OPERATIONS[operation](world, asked, key)
        assert (done.refunded_credits, amounts(done.balance)) == (1, (98, 0, 98))
        return
    refusal = await refusal_of(OPERATIONS[operation](world, asked, key))
    assert (refusal.reason, refusal.metadata["reservation_id"]) == (expected, asked)
    assert await books(world, reservation_id, account, other) == before


async def books(world: World, reservation_id: str, *accounts: Account) -> list[Any]:
    found: list[Any] = [await world.reservation(reservation_id)]
    for account in accounts:
        found += [await world.holdings(account), await world.entries(account)]
    return found


@pytest.fixture
async def two_brokers(database_url: str) -> AsyncIterator[tuple[World, World]]:
    """Two brokers on one database; in the end the books must agree."""
    async with running_broker(database_url) as first:
        world = await new_world(first)
        async with running_broker(database_url, first.clock) as second:
            yield world, World(second, world.provider, world.rival, world.services)
            assert (await first.broker.database.read(audit)).violations == ()


async def test_capture_racing_release_racing_expiry_has_one_winner(two_brokers: tuple[World, World]) -> None:
    first, second = two_brokers
    account, chance = await first.new_account(trial_credits=1_000), random.Random(20260131)
    sweeper = ExpirySweeper(first.running.broker.database, first.running.broker.committer, interval_seconds=1)
    left = 1_000

    async def let_expire() -> None:
        first.clock.move(TICK)
        await sweeper.sweep()

    async def soon(act: Awaitable[Any]) -> Any:
        await asyncio.sleep(chance.choice((0, chance.uniform(0, 0.01))))
        return await act

    for _ in range(ROUNDS):
        reservation_id = await first.reserved(account, 10, ttl=TTL)
        first.clock.move(TTL - TICK)
        racing = (first.capture(reservation_id, 4), second.release(reservation_id), let_expire())
        ends = await asyncio.gather(*(soon(act) for act in racing), return_exceptions=True)
        captured, released, _ = (answer_or_reason(end) for end in ends)
        winner = broker_pb2.ReservationState.Name((await second.reservation(reservation_id)).state)
        reason = winner.replace("_STATE", "")
        assert isinstance(captured, str) is (reason != "RESERVATION_CAPTURED")
        assert isinstance(released, str) is (reason != "RESERVATION_RELEASED")
        assert {end for end in (captured, released) if isinstance(end, str)} == {reason}
        left -= 4 * (reason == "RESERVATION_CAPTURED")
        assert await first.balance(account) == await second.balance(account) == (left, 0, left)
