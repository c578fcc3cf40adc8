"""What contradicts itself stops everything, before it is written."""

import pytest
from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.errors import InvariantError
from broker_service.domain.grants import allocate, give_back
from broker_service.domain.journal import sale_of
from broker_service.domain.outcomes import recorded
from broker_service.domain.purchase_commands import PackTerms, StartPurchase
from broker_service.domain.records import Allocation, Counterpart, EntryKind, JournalEntry, JournalKind, Posting
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    START,
    capture,
    charge,
    grant,
    new_id,
    refund,
    release,
    world,
)


@pytest.mark.parametrize(
    "change",
    [
        {"reserved_credits": 5},
        {"captured_credits": 3},
        {"released_credits": 3},
        {"released_credits": -1},
        {"allocations": (Allocation("g", 5, 2),)},
        {"allocations": (Allocation("g", 1, 2), Allocation("h", 3, 0))},
        {"allocations": (Allocation("g", 1, 1), Allocation("g", 3, 1))},
        {"allocations": (Allocation("g", 4, 2, 1),)},
        {"refunded_credits": 1},
        {"refunded_credits": 3, "allocations": (Allocation("g", 4, 2, 3),)},
        {"refunded_credits": -1, "allocations": (Allocation("g", 4, 2, -1),)},
        {"resolve_time": START},
    ],
)
def test_a_reservation_that_does_not_add_up_is_never_taken_over(change: dict[str, object]) -> None:
    it = world(grant(10))
    reservation = it.reserve(4)
    open_one = it.do(capture(reservation, 2, keep_open=True)).reservation
    with pytest.raises(InvariantError, match="add up"):
        it.book.apply(Changes(reservations=(replace(open_one, **change),)))


@pytest.mark.parametrize(
    "change",
    [{"reserved_credits": -1}, {"reserved_credits": 11}, {"remaining_credits": 11}],
)
def test_a_grant_out_of_range_is_never_taken_over(change: dict[str, int]) -> None:
    it = world(grant(10))
    with pytest.raises(InvariantError, match="out of range"):
        it.book.apply(Changes(grants=(replace(it.book.grants["g"], **change),)))


def test_money_that_does_not_sum_to_zero_in_each_currency_is_never_taken_over() -> None:
    it = world()
    balanced = JournalEntry(
        "j", JournalKind.SALE, "prv", "pur", None, START, (Posting("a", "EUR", 5), Posting("b", "EUR", -5))
    )
    it.book.apply(Changes(journal_entries=(balanced,)))
    for postings in (
        (Posting("a", "EUR", 5), Posting("b", "EUR", -4)),
        (Posting("a", "EUR", 5), Posting("b", "USD", -5)),
    ):
        with pytest.raises(InvariantError, match="sum to zero"):
            it.book.apply(Changes(journal_entries=(replace(balanced, postings=postings),)))


def test_the_same_money_in_two_currencies_sums_to_zero_in_each() -> None:
    it = world()
    both = (Posting("a", "EUR", 5), Posting("a", "USD", 7), Posting("b", "USD", -7), Posting("b", "EUR", -5))
    it.book.apply(Changes(journal_entries=(JournalEntry("j", JournalKind.SALE, "prv", "pur", None, START, both),)))
    half = (Posting("a", "EUR", 5), Posting("b", "EUR", 5))
    with pytest.raises(InvariantError, match=r"j does not sum to zero: {'EUR': 10}"):
        it.book.apply(Changes(journal_entries=(JournalEntry("j", JournalKind.SALE, "prv", "pur", None, START, half),)))


def test_an_account_never_holds_less_than_nothing() -> None:
    it = world(grant(10))
    with pytest.raises(InvariantError, match=f"account {ACCOUNT} would hold -1 credits"):
        write_entries(it.account, START, EntryDraft(EntryKind.CAPTURE, -11, Counterpart.REDEEMED))
    account, _ = write_entries(it.account, START, EntryDraft(EntryKind.CAPTURE, -10, Counterpart.REDEEMED))
    assert account.ledger_credits == 0


def test_a_sale_without_a_time_is_none() -> None:
    pack = PackTerms("pck_1", "sms", "prv_p", "", 1, None, "EUR", 1, 0, False, False, False)
    it = world()
    it.result(StartPurchase(new_id(), ACCOUNT, pack, ""))
    (purchase,) = it.book.purchases.values()
    with pytest.raises(InvariantError, match=f"purchase {purchase.purchase_id} is paid without a time"):
        sale_of(purchase)


def test_a_reservation_without_its_account_stops_everything() -> None:
    it = world(grant(10))
    reservation = it.reserve(4)
    it.book.account = None
    for command in (capture(reservation, 1), release(reservation)):
        with pytest.raises(InvariantError, match=f"reservation {reservation.reservation_id} belongs to no account"):
            it.decide(command)


def test_a_reservation_whose_grant_is_lost_stops_everything() -> None:
    it = world(grant(10))
    reservation = it.reserve(4)
    del it.book.grants["g"]
    with pytest.raises(InvariantError, match=f"reservation {reservation.reservation_id} names grant g, which is empty"):
        it.decide(release(reservation))


def test_a_refund_whose_grant_is_lost_stops_everything() -> None:
    it = world(grant(10))
    reservation = it.do(charge(4)).reservation
    del it.book.grants["g"]
    with pytest.raises(InvariantError, match=f"reservation {reservation.reservation_id} names grant g, which is gone"):
        it.decide(refund(reservation))


def test_grants_that_fall_short_of_what_the_account_has_stop_everything() -> None:
    with pytest.raises(InvariantError, match="grants fall short of available credits by 3"):
        allocate([grant(4), grant(3, "h")], 10, START)


def test_parts_that_fall_short_of_what_was_captured_stop_everything() -> None:
    it = world(grant(10))
    reservation = it.do(charge(4)).reservation
    wrong = replace(reservation, captured_credits=6)
    with pytest.raises(InvariantError, match=f"parts of reservation {reservation.reservation_id} fall short by 2"):
        give_back(wrong, it.book.grants, START, refunded_credits=6)


def test_changes_of_a_reservation_without_its_account_stop_everything() -> None:
    it = world(grant(10))
    reservation = it.reserve(4)
    with pytest.raises(InvariantError, match=f"reservation {reservation.reservation_id} changes and its account does"):
        recorded(Changes(reservations=(reservation,)), release(reservation), START, reservation)


def test_an_account_that_differs_from_its_grants_is_named_with_both_sums() -> None:
    it = world(grant(10), grant(5, "h"))
    it.reserve(12)
    for changes in ({"ledger_credits": 14}, {"reserved_credits": 11}):
        wrong = replace(it.account, **changes)
        with pytest.raises(
            InvariantError,
            match=f"account {ACCOUNT} holds {wrong.ledger_credits} credits, {wrong.reserved_credits} of them reserved, "
            "but its grants hold 15 and 12",
        ):
            it.book.apply(Changes(account=wrong))
