"""What contradicts itself stops everything, before it is written."""

import pytest
from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.errors import InvariantError
from broker_service.domain.records import Allocation, JournalEntry, Posting
from tests.unit.broker_service.domain.ledger_world import START, capture, grant, world


@pytest.mark.parametrize(
    "change",
    [
        {"reserved_credits": 5},
        {"captured_credits": 3},
        {"released_credits": 3},
        {"released_credits": -1},
        {"allocations": (Allocation("g", 5, 2),)},
        {"allocations": (Allocation("g", 1, 2), Allocation("h", 3, 0))},
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
    balanced = JournalEntry("j", "SALE", "pur", START, (Posting("a", "EUR", 5), Posting("b", "EUR", -5)))
    it.book.apply(Changes(journal_entries=(balanced,)))
    for postings in (
        (Posting("a", "EUR", 5), Posting("b", "EUR", -4)),
        (Posting("a", "EUR", 5), Posting("b", "USD", -5)),
    ):
        with pytest.raises(InvariantError, match="sum to zero"):
            it.book.apply(Changes(journal_entries=(replace(balanced, postings=postings),)))
