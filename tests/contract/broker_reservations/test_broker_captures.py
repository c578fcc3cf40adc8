"""Taking reserved credits: all, some, none, and bit by bit."""

from datetime import timedelta

import pytest
from iap.broker.v1 import account_pb2, broker_pb2

from tests.contract.broker_world.world import World, amounts

ACTIVE = broker_pb2.RESERVATION_STATE_ACTIVE
CAPTURED = broker_pb2.RESERVATION_STATE_CAPTURED
RELEASED = broker_pb2.RESERVATION_STATE_RELEASED


async def test_a_reservation_is_told_in_full(world: World) -> None:
    account = await world.new_account()
    now = world.clock.now
    answer = await world.reserve(account, 5, description="Seven pages", metadata={"job": "7"})
    reservation = answer.reservation
    assert (reservation.account_id, reservation.service) == (account.id, account.service)
    assert (reservation.state, reservation.reserved_credits) == (ACTIVE, 5)
    assert (reservation.captured_credits, reservation.released_credits, reservation.refunded_credits) == (0, 0, 0)
    assert reservation.create_time.ToDatetime(tzinfo=now.tzinfo) == now
    assert reservation.expire_time.ToDatetime(tzinfo=now.tzinfo) == now + timedelta(minutes=15)
    assert not reservation.HasField("resolve_time")
    assert amounts(answer.balance) == (100, 5, 95)


@pytest.mark.parametrize(("asked", "captured"), [(None, 5), (5, 5), (3, 3), (1, 1), (0, 0)])
async def test_a_capture_takes_what_it_asks_and_releases_the_rest(
    world: World, asked: int | None, captured: int
) -> None:
    account = await world.new_account()
    reserved = (await world.reserve(account, 5, description="Work")).reservation
    world.clock.move(timedelta(seconds=1))
    answer = await world.capture(reserved.reservation_id, asked)
    assert (answer.captured_credits, answer.released_credits) == (captured, 5 - captured)
    reservation = answer.reservation
    assert (reservation.state, reservation.reserved_credits) == (CAPTURED, 5)
    assert (reservation.captured_credits, reservation.released_credits) == (captured, 5 - captured)
    assert reservation.resolve_time.ToMicroseconds() - reservation.create_time.ToMicroseconds() == 1_000_000
    assert reservation == await world.reservation(reserved.reservation_id)
    assert amounts(answer.balance) == await world.balance(account) == (100 - captured, 0, 100 - captured)
    entries = (await world.entries(account))[1:]
    expected = [(account_pb2.ENTRY_KIND_CAPTURE, -captured, 100 - captured, reserved.reservation_id, "Work")]
    assert [(it.kind, it.credits, it.ledger_credits_after, it.reservation_id, it.description) for it in entries] == (
        expected if captured else []
    )


async def test_a_session_is_captured_bit_by_bit(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10)
    for step, (asked, left) in enumerate([(3, 7), (0, 7), (2, 5), (5, 0), (0, 0)]):
        answer = await world.capture(reservation_id, asked, keep_open=True)
        assert (answer.captured_credits, answer.released_credits) == (asked, 0), step
        assert (answer.reservation.state, answer.reservation.captured_credits) == (ACTIVE, 10 - left)
        assert not answer.reservation.HasField("resolve_time")
        assert amounts(answer.balance) == (90 + left, left, 90)
    closing = await world.capture(reservation_id)
    assert (closing.captured_credits, closing.released_credits) == (0, 0)
    assert (closing.reservation.state, closing.reservation.captured_credits) == (CAPTURED, 10)
    assert await world.balance(account) == (90, 0, 90)


async def test_the_last_capture_of_a_session_takes_what_is_left(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10)
    await world.capture(reservation_id, 3, keep_open=True)
    answer = await world.capture(reservation_id)
    assert (answer.captured_credits, answer.released_credits) == (7, 0)
    assert answer.reservation.captured_credits == 10


async def test_keeping_open_without_an_amount_takes_all_and_stays_active(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10)
    answer = await world.capture(reservation_id, keep_open=True)
    assert (answer.captured_credits, answer.reservation.state) == (10, ACTIVE)
    assert amounts(answer.balance) == (90, 0, 90)


async def test_a_release_gives_back_what_is_left(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10)
    await world.capture(reservation_id, 4, keep_open=True)
    answer = await world.release(reservation_id, reason="busy")
    reservation = answer.reservation
    assert (reservation.state, reservation.captured_credits, reservation.released_credits) == (RELEASED, 4, 6)
    assert reservation.HasField("resolve_time")
    assert amounts(answer.balance) == await world.balance(account) == (96, 0, 96)
    assert [it.credits for it in await world.entries(account)] == [100, -4]


async def test_released_credits_can_be_reserved_again(world: World) -> None:
    account = await world.new_account()
    for _ in range(3):
        await world.release(await world.reserved(account, 100))
    await world.capture(await world.reserved(account, 100))
    assert await world.balance(account) == (0, 0, 0)


async def test_the_largest_amount_goes_round(world: World) -> None:
    account = await world.new_account(trial_credits=10**12)
    reservation_id = await world.reserved(account, 10**12)
    assert await world.balance(account) == (10**12, 10**12, 0)
    await world.capture(reservation_id, 10**12 - 1, keep_open=True)
    assert (await world.capture(reservation_id)).captured_credits == 1
    assert await world.balance(account) == (0, 0, 0)
