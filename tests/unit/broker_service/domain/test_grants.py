"""Which grants pay, which get credits back, and what expires."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.errors import InvariantError
from broker_service.domain.grants import allocate, order_of_use
from broker_service.domain.records import Balance, Counterpart, EntryKind, GrantKind
from tests.unit.broker_service.domain.ledger_world import (
    START,
    World,
    capture,
    charge,
    grant,
    refund,
    release,
    world,
)

HOUR = timedelta(hours=1)


def test_grants_are_used_by_priority_then_expiry_then_kind_then_age() -> None:
    ordered = [
        grant(1, "low priority number", priority=1),
        grant(1, "expires first", expire_time=START + HOUR),
        grant(1, "expires later, trial", kind=GrantKind.TRIAL, expire_time=START + 2 * HOUR),
        grant(1, "expires later, paid", expire_time=START + 2 * HOUR),
        grant(1, "promotional", kind=GrantKind.PROMOTIONAL, create_time=START + HOUR),
        grant(1, "paid, older"),
        grant(1, "paid, younger", create_time=START + HOUR),
    ]
    shuffled = ordered[3:] + ordered[:3]
    assert sorted(shuffled, key=order_of_use) == ordered


def test_reservation_spans_grants_and_capture_takes_in_their_order() -> None:
    it = world(grant(5, "paid"), grant(3, "trial", kind=GrantKind.TRIAL))
    reservation = it.reserve(6)
    assert [(part.grant_id, part.reserved_credits) for part in reservation.allocations] == [("trial", 3), ("paid", 3)]
    it.do(capture(reservation, 4))
    assert it.book.grants["trial"].remaining_credits == 0
    assert it.book.grants["paid"].remaining_credits == 4
    assert it.balance == Balance(4, 0)


def test_released_credits_go_back_to_each_grant_they_came_from() -> None:
    it = world(grant(5, "paid"), grant(3, "trial", kind=GrantKind.TRIAL))
    it.do(release(it.reserve(6)))
    assert {
        name: (it.book.grants[name].remaining_credits, it.book.grants[name].reserved_credits) for name in it.book.grants
    } == {
        "paid": (5, 0),
        "trial": (3, 0),
    }


def test_grant_expires_at_its_instant_with_an_entry() -> None:
    it = world(grant(5, expire_time=START + HOUR))
    it.now = START + HOUR - timedelta(microseconds=1)
    assert it.look() == Balance(5, 0)
    it.now = START + HOUR
    assert it.look() == Balance(0, 0)
    (entry,) = it.written[-1].entries
    assert (entry.kind, entry.credits, entry.counterpart) == (EntryKind.EXPIRY, -5, Counterpart.EXPIRED)


def test_grant_expiring_under_a_reservation_can_still_be_captured() -> None:
    it = world(grant(5, expire_time=START + HOUR))
    reservation = it.reserve(3, ttl=2 * HOUR)
    it.now = START + HOUR
    assert it.look() == Balance(3, 3)
    it.do(capture(reservation, 2))
    assert it.balance == Balance(0, 0)


@pytest.mark.parametrize("ends", ["release", "expiry"])
def test_what_comes_back_to_an_expired_grant_is_gone(ends: str) -> None:
    it = world(grant(5, expire_time=START + HOUR), grant(1, "other"))
    reservation = it.reserve(5, ttl=2 * HOUR)
    it.now = START + 2 * HOUR if ends == "expiry" else START + HOUR
    if ends == "release":
        it.do(release(reservation))
    assert it.look() == Balance(1, 0)
    assert sum(entry.credits for changes in it.written for entry in changes.entries) == -5


def two_that_expire() -> World:
    return world(grant(3, "first", expire_time=START + HOUR), grant(4, "second", expire_time=START + 2 * HOUR))


def test_what_comes_back_to_several_expired_grants_is_gone_in_one_entry() -> None:
    it = two_that_expire()
    reservation = it.reserve(7, ttl=3 * HOUR)
    it.do(capture(reservation, 1, keep_open=True))
    it.now += 2 * HOUR
    it.do(release(reservation))
    assert [entry.credits for entry in it.entries] == [-1, -6]
    assert (it.balance, it.remaining()) == (Balance(0, 0), {"first": (0, 0), "second": (0, 0)})


def test_what_is_refunded_to_several_expired_grants_is_gone_in_one_entry() -> None:
    it = two_that_expire()
    reservation = it.do(charge(7)).reservation
    it.now += 2 * HOUR
    it.do(refund(reservation))
    assert [entry.credits for entry in it.entries] == [-7, 7, -7]
    assert (it.balance, it.remaining()) == (Balance(0, 0), {"first": (0, 0), "second": (0, 0)})


def test_expired_grants_pay_for_nothing() -> None:
    _, changed = allocate([grant(5, "gone", expire_time=START), grant(5, "good")], 5, START)
    assert [each.grant_id for each in changed] == ["good"]
    with pytest.raises(InvariantError):
        allocate([grant(5, "gone", expire_time=START)], 1, START)


def test_books_that_contradict_themselves_stop_everything() -> None:
    it = world(grant(10))
    it.book.account = replace(it.account, ledger_credits=11)
    with pytest.raises(InvariantError, match="11 credits"):
        it.reserve(1)


def test_the_last_free_credit_of_a_grant_expires_too() -> None:
    it = world(grant(3, expire_time=START + HOUR))
    it.reserve(2, ttl=2 * HOUR)
    it.now = START + HOUR
    assert it.look() == Balance(2, 2)
