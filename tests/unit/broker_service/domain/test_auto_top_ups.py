"""When an account may buy by itself, and when it stops."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.auto_top_ups import (
    CLAIM,
    WAITS_AFTER_FAILURE,
    AutoTopUp,
    AutoTopUpState,
    agreed,
    begun,
    claimed,
    failed,
    is_due,
    is_wanted,
    may_buy,
    month_of,
    paid,
    paused,
    turned_off,
)
from broker_service.domain.purchase_commands import PackTerms, StartPurchase
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.records import AccountState, Purchase, PurchaseOrigin
from tests.unit.broker_service.domain.ledger_world import ACCOUNT, PROVIDER, START, grant, world

TICK = timedelta(microseconds=1)


def top_up(before: AutoTopUp | None = None, method: str = "card") -> AutoTopUp:
    return agreed(
        before,
        account_id=ACCOUNT,
        pack_id="pck_1",
        threshold_credits=10,
        currency="EUR",
        monthly_cap_minor_units=1_000,
        consent="up to 10 EUR a month",
        gateway="sandbox",
        customer_reference="customer",
        method_reference=method,
        now=START,
    )


def buys(it: AutoTopUp, *, price: int = 400, spent: int = 0, now: datetime = START) -> bool:
    return may_buy(it, price_minor_units=price, spent_minor_units=spent, now=now)


def test_the_month_s_cap_is_kept_to_the_minor_unit() -> None:
    assert buys(top_up(), spent=600)
    assert not buys(top_up(), spent=601)
    assert not buys(top_up(), price=1_001)


def test_one_payment_at_a_time_each_with_an_id_of_its_own() -> None:
    first = begun(top_up())
    assert not buys(first)
    second = begun(paid(first))
    assert buys(paid(first))
    assert first.pending_purchase_id != second.pending_purchase_id
    assert first.request_id != second.request_id
    assert (second.attempts, paid(second).pending_purchase_id) == (2, None)


def test_after_each_failure_it_waits_longer_and_in_the_end_is_paused() -> None:
    it = top_up()
    for number, wait in enumerate(WAITS_AFTER_FAILURE, start=1):
        it = failed(begun(it), START)
        assert (it.state, it.failed_payments, it.next_attempt_time) == (AutoTopUpState.ACTIVE, number, START + wait)
        assert not buys(it, now=START + wait - TICK)
        assert buys(it, now=START + wait)
    it = failed(begun(it), START)
    assert (it.state, it.pending_purchase_id) == (AutoTopUpState.PAUSED, None)
    assert not buys(it, now=START + timedelta(days=365))
    assert list(WAITS_AFTER_FAILURE) == sorted(WAITS_AFTER_FAILURE)


def test_a_payment_that_comes_ends_the_waiting() -> None:
    it = paid(begun(failed(begun(top_up()), START)))
    assert (it.failed_payments, it.next_attempt_time) == (0, None)
    assert buys(it)


def test_turned_off_it_buys_no_more_and_a_failure_does_not_turn_it_on() -> None:
    it = turned_off(begun(top_up()))
    assert it.pending_purchase_id is not None
    after = failed(it, START)
    assert (after.state, after.pending_purchase_id) == (AutoTopUpState.OFF, None)
    assert not buys(after)
    assert it.consent == "up to 10 EUR a month"


def test_set_again_it_starts_afresh_but_goes_on_with_a_payment_under_way() -> None:
    it = replace(begun(failed(begun(top_up()), START)), state=AutoTopUpState.PAUSED)
    again = top_up(it)
    assert (again.state, again.failed_payments, again.next_attempt_time) == (AutoTopUpState.ACTIVE, 0, None)
    assert (again.pending_purchase_id, again.attempts, again.agreements) == (it.pending_purchase_id, 2, 2)


def test_a_payment_that_was_asked_for_keeps_its_method() -> None:
    assert top_up(begun(top_up()), method="other card").method_reference == "other card"
    assert top_up(replace(begun(top_up()), asked=True), method="other card").method_reference == "card"


def wanted(it: AutoTopUp, purchase: Purchase, *, available: int = 9, spent: int = 1_000) -> bool:
    return is_wanted(it, purchase, world(grant(available)).account, spent_minor_units=spent)


def test_a_payment_is_wanted_as_long_as_it_is_what_was_agreed_to() -> None:
    it, purchase = begun(top_up()), bought()
    assert wanted(it, purchase)
    assert not wanted(turned_off(it), purchase)
    assert not wanted(paused(it), purchase)
    assert not wanted(it, replace(purchase, pack_id="pck_2"))
    assert not wanted(it, replace(purchase, gateway="stripe"))
    assert not is_wanted(it, purchase, world(grant(9), state=AccountState.SUSPENDED).account, spent_minor_units=0)


def test_a_payment_is_wanted_within_the_cap_and_below_the_threshold_alone() -> None:
    it, purchase = begun(top_up()), bought()
    assert not wanted(it, purchase, spent=1_001)
    assert not wanted(it, purchase, available=10)
    reserving = world(grant(10))
    reserving.reserve(1)
    assert is_wanted(it, purchase, reserving.account, spent_minor_units=0)


def bought() -> Purchase:
    terms = PackTerms("pck_1", "sms", PROVIDER, "a pack", 100, None, "EUR", 400, 2_500, False, False, False)
    result = world().result(StartPurchase("req_1", ACCOUNT, terms, "", origin=PurchaseOrigin.AUTO_TOP_UP))
    assert isinstance(result, PurchaseResult)
    return result.purchase


def test_who_has_claimed_it_has_it_for_a_while() -> None:
    it = claimed(begun(top_up()), START)
    assert not is_due(it, START + CLAIM - TICK)
    assert is_due(it, START + CLAIM)


def test_off_is_never_turned_into_paused() -> None:
    assert paused(turned_off(top_up())).state is AutoTopUpState.OFF
    assert paused(top_up()).state is AutoTopUpState.PAUSED


@pytest.mark.parametrize(
    ("now", "first", "next_first"),
    [
        ("2026-01-01T00:00:00+00:00", "2026-01-01", "2026-02-01"),
        ("2026-12-31T23:59:59.999999+00:00", "2026-12-01", "2027-01-01"),
        ("2028-02-29T12:00:00+00:00", "2028-02-01", "2028-03-01"),
        # Already February where the clock stands, still January in UTC.
        ("2026-02-01T00:30:00+01:00", "2026-01-01", "2026-02-01"),
    ],
)
def test_months_are_those_of_the_calendar_in_utc(now: str, first: str, next_first: str) -> None:
    expected = tuple(datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (first, next_first))
    assert month_of(datetime.fromisoformat(now)) == expected
