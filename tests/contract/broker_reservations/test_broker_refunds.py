"""Refund: captured credits go back where they came from."""

from datetime import timedelta

import grpc
import pytest
from iap.broker.v1 import account_pb2, broker_pb2

from tests.contract.broker_world.operations import charge, charged, grant_credits, refund, suspend_account
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import Account, World, amounts, new_id

ACTIVE = broker_pb2.RESERVATION_STATE_ACTIVE
CAPTURED = broker_pb2.RESERVATION_STATE_CAPTURED
RELEASED = broker_pb2.RESERVATION_STATE_RELEASED
EXPIRED = broker_pb2.RESERVATION_STATE_EXPIRED
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


async def grants(world: World, account: Account) -> list[int]:
    return [grant.remaining_credits for grant in (await world.holdings(account)).grants]


@pytest.mark.parametrize(("asked", "refunded"), [(None, 5), (5, 5), (1, 1)])
async def test_a_refund_gives_back_what_it_is_asked(world: World, asked: int | None, refunded: int) -> None:
    account = await world.new_account()
    reservation_id = await charged(world, account, 5)
    answer = await refund(world, reservation_id, asked, reason="Not delivered")
    assert (answer.refunded_credits, answer.replayed) == (refunded, False)
    reservation = answer.reservation
    assert (reservation.state, reservation.captured_credits, reservation.refunded_credits) == (CAPTURED, 5, refunded)
    assert reservation == await world.reservation(reservation_id)
    assert amounts(answer.balance) == await world.balance(account) == (95 + refunded, 0, 95 + refunded)
    last = (await world.entries(account))[-1]
    assert (last.kind, last.credits) == (account_pb2.ENTRY_KIND_REFUND, refunded)
    assert (last.reservation_id, last.description) == (reservation_id, "Not delivered")


@pytest.mark.parametrize(("asked", "required"), [(6, "6"), (10**12, "1000000000000")])
async def test_more_than_was_captured_is_not_refunded(world: World, asked: int, required: str) -> None:
    account = await world.new_account()
    reservation_id = await charged(world, account, 5)
    refusal = await refusal_of(refund(world, reservation_id, asked))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REFUND_EXCEEDS_CAPTURE")
    assert refusal.metadata == {"reservation_id": reservation_id, "captured": "5", "required": required}
    assert await world.balance(account) == (95, 0, 95)


async def test_the_sum_of_several_refunds_is_at_most_what_was_captured(world: World) -> None:
    account = await world.new_account()
    reservation_id = await charged(world, account, 5)
    await refund(world, reservation_id, 2)
    await refund(world, reservation_id, 2)
    refusal = await refusal_of(refund(world, reservation_id, 2))
    assert (refusal.reason, refusal.metadata["captured"]) == ("REFUND_EXCEEDS_CAPTURE", "1")
    assert (await refund(world, reservation_id)).refunded_credits == 1
    for asked in (None, 1):
        refusal = await refusal_of(refund(world, reservation_id, asked))
        assert (refusal.reason, refusal.metadata["captured"]) == ("REFUND_EXCEEDS_CAPTURE", "0")
    assert await world.balance(account) == (100, 0, 100)


async def test_what_a_session_captured_is_refunded_whatever_became_of_it(world: World) -> None:
    account = await world.new_account()
    kept_open, captured, released, expired = [
        await world.reserved(account, 5, ttl=HOUR * number) for number in (4, 3, 2, 1)
    ]
    for reservation_id in (kept_open, captured, released, expired):
        await world.capture(reservation_id, 3, keep_open=True)
    await world.capture(captured, 0)
    await world.release(released)
    world.clock.move(HOUR)
    states = [
        (await refund(world, reservation_id, 2)).reservation.state
        for reservation_id in (kept_open, captured, released, expired)
    ]
    assert states == [ACTIVE, CAPTURED, RELEASED, EXPIRED]
    assert await world.balance(account) == (96, 2, 94)
    assert (await world.capture(kept_open)).captured_credits == 2
    assert (await refund(world, kept_open)).refunded_credits == 3


async def test_where_nothing_was_captured_nothing_is_refunded(world: World) -> None:
    account = await world.new_account()
    active, released = await world.reserved(account, 5), await world.reserved(account, 5)
    await world.release(released)
    for reservation_id in (active, released):
        assert (await refusal_of(refund(world, reservation_id))).reason == "REFUND_EXCEEDS_CAPTURE"
    assert await world.balance(account) == (100, 5, 95)


async def test_each_grant_gets_its_own_back_the_last_used_first_even_if_it_is_spent(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    await grant_credits(world, account, 20, priority=200)
    await grant_credits(world, account, 30, priority=300)
    reservation_id = await charged(world, account, 35)
    assert await grants(world, account) == [25]
    await refund(world, reservation_id, 3)
    assert await grants(world, account) == [28]
    await refund(world, reservation_id, 4)
    assert await grants(world, account) == [2, 30]
    await refund(world, reservation_id)
    assert await grants(world, account) == [10, 20, 30]
    await charge(world, account, 60)
    assert await world.balance(account) == (0, 0, 0)


@pytest.mark.parametrize(("wait", "left"), [(HOUR - TICK, 20), (HOUR, 0)])
async def test_what_comes_back_to_an_expired_grant_is_gone(world: World, wait: timedelta, left: int) -> None:
    account = await world.new_account(trial_credits=5)
    await grant_credits(world, account, 20, expire_time=world.clock.now + HOUR)
    reservation_id = await charged(world, account, 22)
    world.clock.move(wait)
    answer = await refund(world, reservation_id, reason="Late")
    assert (answer.refunded_credits, amounts(answer.balance)) == (22, (5 + left, 0, 5 + left))
    entries = [(it.kind, it.credits, it.reservation_id) for it in await world.entries(account)][3:]
    gone = [] if left else [(account_pb2.ENTRY_KIND_EXPIRY, -20, reservation_id)]
    assert entries == [(account_pb2.ENTRY_KIND_REFUND, 22, reservation_id), *gone]
    world.clock.move(HOUR - wait)
    assert await world.balance(account) == (5, 0, 5)


async def test_a_suspended_account_gets_its_refunds(world: World) -> None:
    account = await world.new_account()
    reservation_id = await charged(world, account, 5)
    await suspend_account(world, account)
    assert amounts((await refund(world, reservation_id)).balance) == (100, 0, 100)


async def test_the_largest_amount_goes_round(world: World) -> None:
    account = await world.new_account(trial_credits=10**12)
    reservation_id = await charged(world, account, 10**12)
    assert (await refund(world, reservation_id, 10**12)).refunded_credits == 10**12
    assert await world.balance(account) == (10**12, 0, 10**12)


async def test_a_replay_gets_the_first_amount(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await charged(world, account, 5)
    await refund(world, reservation_id, 1)
    first = await refund(world, reservation_id, request_id=request_id)
    await charge(world, account, 10)
    again = await refund(world, reservation_id, request_id=request_id)
    assert (first.refunded_credits, again.refunded_credits, again.replayed) == (4, 4, True)
    assert (again.reservation, amounts(again.balance)) == (first.reservation, (90, 0, 90))


async def test_a_request_id_serves_one_refund(world: World) -> None:
    account = await world.new_account()
    reservation_id, other = await charged(world, account, 5), await charged(world, account, 5)
    request = broker_pb2.RefundRequest(request_id=new_id(), reservation_id=reservation_id, credits=2, reason="one")
    changes = [
        put(credits=3),
        put(credits=None),
        put(credits=10**12),
        put(reason="two"),
        put(reason=""),
        put(reservation_id=other),
    ]
    await assert_reused(world, "Refund", request, changes, world.provider.key)
    assert await world.balance(account) == (92, 0, 92)


async def test_a_refund_does_not_lift_a_balance_out_of_64_bits(own_world: World) -> None:
    world = own_world
    account = await world.new_account(trial_credits=5)
    reservation_id = await charged(world, account, 5)
    await grant_credits(world, account, 1)
    nearly = 2**63 - 3
    for statement in (
        "UPDATE accounts SET ledger_credits = ?1 WHERE account_id = ?2",
        "UPDATE grants SET credits = ?1, remaining_credits = ?1 WHERE account_id = ?2 AND remaining_credits = 1",
        "UPDATE entries SET credits = ?1, ledger_credits_after = ?1 WHERE account_id = ?2 AND credits = 1",
    ):
        world.running.sql(statement, nearly, account.id)
    refusal = await refusal_of(refund(world, reservation_id))
    assert (refusal.reason, refusal.metadata) == ("BALANCE_OVERFLOW", {"account_id": account.id})
    assert (await refund(world, reservation_id, 2)).balance.ledger_credits == 2**63 - 1
