"""Charge: Reserve and Capture in one step."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.errors import (
    AccountSuspended,
    InsufficientCredits,
    ProviderSuspended,
    Refusal,
    RequestIdReused,
    ReservationCaptured,
)
from broker_service.domain.records import (
    MAX_CREDITS,
    AccountState,
    Balance,
    Counterpart,
    EntryKind,
    GrantKind,
    ReservationState,
)
from tests.unit.broker_service.domain.ledger_world import (
    START,
    capture,
    charge,
    extend,
    grant,
    new_id,
    refund,
    release,
    reserve,
    world,
)


def test_a_charge_makes_a_reservation_that_is_captured_from_the_start() -> None:
    it = world(grant(10))
    result = it.do(charge(4, description="a text", metadata={"job": "7"}))
    reservation = result.reservation
    assert (result.captured_credits, result.balance, result.replayed) == (4, Balance(6, 0), False)
    assert it.balance == Balance(6, 0)
    assert (reservation.state, reservation.reserved_credits, reservation.captured_credits) == (
        ReservationState.CAPTURED,
        4,
        4,
    )
    assert reservation.create_time == reservation.expire_time == reservation.resolve_time == START
    assert (reservation.description, reservation.metadata) == ("a text", {"job": "7"})
    (entry,) = it.entries
    assert (entry.kind, entry.credits, entry.counterpart) == (EntryKind.CAPTURE, -4, Counterpart.REDEEMED)
    assert (entry.reservation_id, entry.description) == (reservation.reservation_id, "a text")


@pytest.mark.parametrize("amount", [1, 10, MAX_CREDITS])
def test_a_charge_of_all_there_is_leaves_nothing(amount: int) -> None:
    it = world(grant(amount))
    it.do(charge(amount))
    assert it.balance == Balance(0, 0)


def test_a_charge_of_one_too_many_is_refused_with_what_is_missing() -> None:
    it = world(grant(10))
    it.reserve(4)
    with pytest.raises(InsufficientCredits) as refusal:
        it.do(charge(7))
    assert refusal.value.facts == {"available": 6, "required": 7, "missing": 1}
    assert (it.balance, it.entries) == (Balance(10, 4), [])


def test_a_charge_takes_from_several_grants_trial_before_paid() -> None:
    it = world(grant(5, "paid"), grant(3, "trial", kind=GrantKind.TRIAL))
    reservation = it.do(charge(6)).reservation
    assert [(part.grant_id, part.captured_credits) for part in reservation.allocations] == [("trial", 3), ("paid", 3)]
    assert it.remaining() == {"trial": (0, 0), "paid": (2, 0)}


def test_a_charge_leaves_what_others_have_reserved_of_its_grants() -> None:
    it = world(grant(10))
    open_one = it.reserve(4)
    it.do(charge(5))
    assert it.balance == Balance(5, 4)
    it.do(capture(open_one))
    assert it.balance == Balance(1, 0)


def test_a_charge_takes_nothing_from_a_grant_at_the_instant_it_expires() -> None:
    it = world(grant(5, expire_time=START + timedelta(hours=1)))
    it.now = START + timedelta(hours=1)
    with pytest.raises(InsufficientCredits):
        it.do(charge(1))


def test_a_charge_again_gets_the_reservation_as_it_now_stands() -> None:
    it = world(grant(10))
    command = charge(4)
    first = it.do(command).reservation
    it.do(refund(first, 1))
    again = it.do(command)
    assert again.replayed
    assert (again.reservation.refunded_credits, again.balance) == (1, Balance(7, 0))
    assert (again.captured_credits, again.refunded_credits) == (4, 0)
    assert it.balance == Balance(7, 0)


@pytest.mark.parametrize("difference", [{"credits": 5}, {"description": "b"}, {"metadata": {"a": "b"}}])
def test_a_charge_with_one_field_changed_is_refused(difference: dict[str, object]) -> None:
    it = world(grant(10))
    command = charge(4)
    it.do(command)
    with pytest.raises(RequestIdReused) as refusal:
        it.do(replace(command, **difference))
    assert refusal.value.facts["rpc"] == "Charge"


def test_the_same_charge_twice_in_one_batch_acts_once() -> None:
    it = world(grant(10))
    command = charge(4)
    first, second = it.decide(command, command)
    assert not isinstance(first, Refusal)
    assert not isinstance(second, Refusal)
    assert (first.replayed, second.replayed) == (False, True)
    assert it.balance == Balance(6, 0)


def test_a_charge_and_a_reserve_may_share_an_id() -> None:
    it = world(grant(10))
    request_id = new_id()
    it.reserve(4, request_id=request_id)
    assert not it.do(charge(4, request_id=request_id)).replayed
    assert it.balance == Balance(6, 4)


def test_a_suspended_account_or_provider_is_not_charged_and_gets_its_replays() -> None:
    it = world(grant(10))
    command = charge(4)
    it.do(command)
    with pytest.raises(ProviderSuspended):
        it.do(charge(1, provider_suspended=True))
    it.suspend()
    with pytest.raises(AccountSuspended):
        it.do(charge(99))
    assert it.do(replace(command, provider_suspended=True)).replayed
    with pytest.raises(ProviderSuspended):
        world(state=AccountState.SUSPENDED).do(charge(1, provider_suspended=True))


@pytest.mark.parametrize("ask", [capture, release, extend])
def test_what_was_charged_is_resolved(ask: object) -> None:
    it = world(grant(10))
    reservation = it.do(charge(4)).reservation
    it.now += timedelta(days=1)
    with pytest.raises(ReservationCaptured):
        it.do(ask(reservation, ttl=timedelta(1)) if ask is extend else ask(reservation))  # type: ignore[operator]
    assert it.book.reservations[reservation.reservation_id].state is ReservationState.CAPTURED


def test_big_refused_before_small_accepted() -> None:
    it = world(grant(10))
    refused, accepted, left = it.decide(charge(11), charge(9), reserve(1))
    assert isinstance(refused, InsufficientCredits)
    assert not isinstance(accepted, Refusal)
    assert not isinstance(left, Refusal)
    assert it.balance == Balance(1, 1)
