"""Charge: reserved and captured in one step."""

from datetime import timedelta

import grpc
from iap.broker.v1 import account_pb2, broker_pb2

from tests.contract.broker_world.operations import charge, extend, refund, suspend_account
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import World, amounts, new_id

CAPTURED = broker_pb2.RESERVATION_STATE_CAPTURED


async def test_a_charge_takes_credits_at_once_and_leaves_a_captured_reservation(world: World) -> None:
    account = await world.new_account()
    now = world.clock.now
    answer = await charge(world, account, 5, description="Seven pages")
    reservation = answer.reservation
    assert (reservation.state, reservation.reserved_credits, reservation.captured_credits) == (CAPTURED, 5, 5)
    assert (reservation.released_credits, reservation.refunded_credits) == (0, 0)
    for time in (reservation.create_time, reservation.expire_time, reservation.resolve_time):
        assert time.ToDatetime(tzinfo=now.tzinfo) == now
    assert amounts(answer.balance) == await world.balance(account) == (95, 0, 95)
    last = (await world.entries(account))[-1]
    assert (last.kind, last.credits, last.ledger_credits_after) == (account_pb2.ENTRY_KIND_CAPTURE, -5, 95)
    assert (last.reservation_id, last.description) == (reservation.reservation_id, "Seven pages")
    world.clock.move(timedelta(days=1))
    assert await world.reservation(reservation.reservation_id) == reservation


async def test_a_charge_of_all_and_of_one_too_many(world: World) -> None:
    account = await world.new_account()
    await world.reserve(account, 40)
    refusal = await refusal_of(charge(world, account, 61))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS")
    assert (refusal.metadata["available"], refusal.metadata["missing"]) == ("60", "1")
    assert refusal.detail(broker_pb2.Offer).missing_credits == 1
    assert amounts((await charge(world, account, 60)).balance) == (40, 40, 0)


async def test_the_largest_amount_is_charged(world: World) -> None:
    account = await world.new_account(trial_credits=10**12)
    assert amounts((await charge(world, account, 10**12)).balance) == (0, 0, 0)


async def test_a_replay_gets_the_reservation_and_the_balance_as_they_now_stand(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    first = await charge(world, account, 5, request_id=request_id)
    refunded = await refund(world, first.reservation.reservation_id, 2)
    await suspend_account(world, account)
    again = await charge(world, account, 5, request_id=request_id)
    assert (first.replayed, again.replayed, again.reservation) == (False, True, refunded.reservation)
    assert amounts(again.balance) == (97, 0, 97)


async def test_a_request_id_serves_one_charge(world: World) -> None:
    account = await world.new_account()
    request = broker_pb2.ChargeRequest(
        request_id=new_id(), account_token=account.token, credits=5, description="one", metadata={"job": "1"}
    )
    changes = [
        put(credits=6),
        put(credits=10**12),
        put(description="two"),
        put(description=""),
        lambda it: it.metadata.update({"job": "2"}),
        lambda it: it.metadata.clear(),
    ]
    await assert_reused(world, "Charge", request, changes, world.provider.key)
    assert await world.balance(account) == (95, 0, 95)


async def test_a_reserve_may_have_the_request_id_of_a_charge(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    await charge(world, account, 5, request_id=request_id)
    assert not (await world.reserve(account, 5, request_id=request_id)).replayed
    assert await world.balance(account) == (95, 5, 90)


async def test_a_suspended_account_is_not_charged(world: World) -> None:
    account = await world.new_account()
    await suspend_account(world, account)
    refusal = await refusal_of(charge(world, account, 101))
    assert (refusal.reason, refusal.metadata) == ("ACCOUNT_SUSPENDED", {"account_id": account.id})


async def test_what_was_charged_is_resolved(world: World) -> None:
    account = await world.new_account()
    reservation_id = (await charge(world, account, 5)).reservation.reservation_id
    for late in (
        world.capture(reservation_id, 0),
        world.release(reservation_id),
        extend(world, reservation_id, ttl=timedelta(seconds=5)),
    ):
        assert (await refusal_of(late)).reason == "RESERVATION_CAPTURED"


async def test_a_charge_is_listed_as_captured(world: World) -> None:
    account = await world.new_account()
    reservation = (await charge(world, account, 5)).reservation
    request = broker_pb2.ListReservationsRequest(account_token=account.token, state=CAPTURED)
    listed = await world.call(world.stubs.broker.ListReservations, request, world.provider.key)
    assert list(listed.reservations) == [reservation]
