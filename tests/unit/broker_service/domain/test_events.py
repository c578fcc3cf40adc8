"""A balance is low once for each time it falls: against a reckoning that is as plain as can be."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.commands import SetLowBalanceAlert
from broker_service.domain.errors import AccountNotFound
from broker_service.domain.events import exact_data
from broker_service.domain.low_balance_alerts import AlertResult
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.records import Event, EventType
from broker_service.domain.webhooks import GIVE_UP_AFTER, next_attempt
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    START,
    World,
    capture,
    charge,
    gift,
    grant,
    reserve,
    world,
)

HOUR = timedelta(hours=1)
URL = "https://example.com/hook"


def alert(threshold: int, url: str = "", secret: str = "first", customer_id: str = "cus_c") -> SetLowBalanceAlert:
    return SetLowBalanceAlert(ACCOUNT, customer_id, threshold, url, secret)


def told(it: World) -> list[Event]:
    return [event for changes in it.written for event in changes.events]


def low(it: World) -> list[int | str]:
    return [event.data["ledger_credits"] for event in told(it) if event.type is EventType.BALANCE_LOW]


steps = st.lists(
    st.tuples(
        st.sampled_from(["charge", "capture", "give", "expiring", "reserve", "wait", "alert"]), st.integers(1, 6)
    ),
    max_size=40,
)


@given(threshold=st.integers(0, 8), steps=steps)
def test_each_fall_below_the_threshold_is_told_once(threshold: int, steps: list[tuple[str, int]]) -> None:
    it = world(grant(10))
    it.result(alert(threshold))
    for what, amount in steps:
        match what:
            case "charge":
                it.decide(charge(amount))
            case "capture":
                (reserved,) = it.decide(reserve(amount))
                if isinstance(reserved, ReservationResult):
                    it.decide(capture(reserved.reservation))
            case "give":
                it.decide(gift(amount))
            case "expiring":
                it.decide(gift(amount, expire_time=it.now + HOUR))
            case "reserve":
                it.decide(reserve(amount))
            case "wait":
                it.now += timedelta(minutes=10 * amount)
                it.decide()
            case _:
                it.result(alert(amount))
    assert low(it) == crossings(it)
    ids = [event.event_id for event in told(it)]
    assert len(set(ids)) == len(ids)


def crossings(it: World) -> list[int]:
    """Adds the entries up, change by change, under the threshold that was set last."""
    found, balance, threshold = [], 10, 0
    for changes in it.written:
        before = balance
        balance += sum(entry.credits for entry in changes.entries)
        if balance < threshold <= before:
            found.append(balance)
        if changes.account is not None:
            threshold = changes.account.low_balance_credits
    return found


def test_it_tells_of_the_account_and_follows_from_its_entry() -> None:
    it, again = world(grant(10)), world(grant(10))
    for each in (it, again):
        each.result(alert(5))
        each.do(charge(6))
    (event,) = told(it)
    assert told(again) == [event]
    assert event.event_id.startswith("evt_")
    assert (event.provider_id, event.customer_id, event.account_id) == ("prv_p", "cus_c", ACCOUNT)
    assert event.data == {"service": "sms", "ledger_credits": 4, "threshold_credits": 5}
    assert event.time == START


def test_what_happens_at_one_instant_is_told_apart() -> None:
    it = world(grant(10))
    it.result(alert(9))
    it.do(charge(2))
    it.do(reserve(1, ttl=HOUR))
    it.result(gift(5, expire_time=START + HOUR))
    it.written.clear()
    it.now += HOUR
    it.decide(gift(6), charge(6))
    assert [(event.type.value, event.entry_count, event.ordinal) for event in told(it)] == [
        ("reservation.expired", 3, 0),
        ("balance.low", 4, 1),
        ("balance.low", 6, 2),
    ]


def test_an_alert_keeps_the_secret_of_a_url_that_stays() -> None:
    it = world(grant(10))
    first = it.result(alert(5, URL, "first"))
    assert first == AlertResult(ACCOUNT, 5, URL, "first")
    assert it.result(alert(6, URL, "second")) == AlertResult(ACCOUNT, 6, URL, "first")
    assert it.result(alert(6, f"{URL}/other", "third")) == AlertResult(ACCOUNT, 6, f"{URL}/other", "third")
    assert it.result(alert(0, URL, "fourth")) == AlertResult(ACCOUNT, 0, "", "")
    assert it.result(alert(6, URL, "fifth")) == AlertResult(ACCOUNT, 6, URL, "fifth")


def test_an_alert_that_is_set_again_writes_nothing() -> None:
    it = world(grant(10))
    for command in (alert(0), alert(5), alert(5, URL)):
        it.result(command)
        it.written.clear()
        it.result(command)
        assert it.written == [Changes()]


def test_another_customer_s_alert_is_not_found() -> None:
    with pytest.raises(AccountNotFound):
        world(grant(10)).result(alert(5, customer_id="cus_other"))


def test_numbers_that_a_reader_might_round_become_text() -> None:
    it = world(grant(2**53 + 2))
    it.result(alert(1))
    data = {"credits": 2**53, "more": 2**53 + 1, "less": -(2**53) - 1, "name": "x"}
    it.result(alert(2**53 + 2))
    it.do(charge(1))
    event = replace(told(it)[0], data=data)
    assert exact_data(event) == data | {"more": str(2**53 + 1), "less": str(-(2**53) - 1)}


@given(attempts=st.integers(1, 10**6), chance=st.floats(0, 1), hours=st.floats(0, 100))
def test_what_fails_is_tried_again_for_three_days(attempts: int, chance: float, hours: float) -> None:
    now = START + timedelta(hours=hours)
    after = next_attempt(START, attempts, now, chance)
    if now >= START + GIVE_UP_AFTER:
        assert after is None
        return
    assert after is not None
    assert now < after <= START + GIVE_UP_AFTER
    assert after - now <= 1.25 * HOUR
