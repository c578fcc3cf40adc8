"""Payouts: what is decided of what is owed."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.book import check_journal_entry
from broker_service.domain.directory import Provider, ProviderState
from broker_service.domain.errors import (
    PayoutBelowMinimum,
    PayoutNotFound,
    PayoutResolved,
    ProviderSuspended,
    RequestIdReused,
)
from broker_service.domain.events import payout_created
from broker_service.domain.payouts import (
    CreatePayout,
    PayoutChanges,
    PayoutResult,
    ResolvePayout,
    decide_create_payout,
    decide_resolve_payout,
    movements_of,
)
from broker_service.domain.records import Event, EventType, JournalEntry, JournalKind, Payout, PayoutState, Posting

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
PROVIDER = Provider("prv_1", "Provider", ProviderState.ACTIVE, None, "f" * 32, NOW)
SUSPENDED = Provider("prv_1", "Provider", ProviderState.SUSPENDED, None, "f" * 32, NOW)
CREATE = CreatePayout("one", "prv_1", "EUR", 1_000)
PAYOUT = Payout(
    payout_id="pay_a9c4aa8c8fe71018e798573a",
    provider_id="prv_1",
    currency="EUR",
    amount_minor_units=1_000,
    state=PayoutState.IN_TRANSIT,
    reference="",
    fingerprint=CREATE.fingerprint,
    resolution_id=None,
    resolution_fingerprint=None,
    create_time=NOW,
    resolve_time=None,
)


def resolve(state: PayoutState = PayoutState.PAID, request_id: str = "two", reference: str = "17") -> ResolvePayout:
    return ResolvePayout(request_id, PAYOUT.payout_id, state, reference)


def resolved(state: PayoutState) -> Payout:
    _, result = decide_resolve_payout(PAYOUT, resolve(state), LATER)
    return result.payout


def movement(kind: JournalKind, time: datetime, onto: str, off: str) -> JournalEntry:
    return JournalEntry(
        journal_entry_id=f"{kind.value.lower()}:{PAYOUT.payout_id}",
        kind=kind,
        provider_id="prv_1",
        purchase_id=None,
        payout_id=PAYOUT.payout_id,
        time=time,
        postings=(Posting(onto, "EUR", 1_000), Posting(off, "EUR", -1_000)),
    )


MADE = movement(JournalKind.PAYOUT, NOW, "provider_payable:prv_1", "payouts_in_transit")
ARRIVED = movement(JournalKind.PAYOUT_PAID, LATER, "payouts_in_transit", "gateway_clearing")
FAILED = movement(JournalKind.PAYOUT_FAILED, LATER, "payouts_in_transit", "provider_payable:prv_1")


def test_all_that_is_payable_is_paid_out() -> None:
    changes, result = decide_create_payout(PROVIDER, 1_000, None, CREATE, NOW)
    assert result == PayoutResult(PAYOUT)
    assert changes == PayoutChanges(PAYOUT, (MADE,), (payout_created(PAYOUT),))


def test_the_event_tells_what_is_under_way() -> None:
    assert payout_created(PAYOUT) == Event(
        event_id="evt_8dcc850889103d5a7aa984de",
        type=EventType.PAYOUT_CREATED,
        provider_id="prv_1",
        customer_id="",
        account_id="",
        data={"payout_id": PAYOUT.payout_id, "currency": "EUR", "amount_minor_units": 1_000},
        time=NOW,
    )


def test_an_id_follows_from_the_provider_and_the_request() -> None:
    assert CREATE.payout_id == PAYOUT.payout_id
    others = {CreatePayout("two", "prv_1", "EUR").payout_id, CreatePayout("one", "prv_2", "EUR").payout_id}
    assert len(others | {CREATE.payout_id}) == 3
    assert CreatePayout("one", "prv_1", "JPY", 1).payout_id == CREATE.payout_id


@pytest.mark.parametrize(
    ("payable", "minimum", "wanted"),
    [(999, 1_000, 1_000), (0, 1, 1), (0, 0, 1), (-1, 1, 1), (-5, -10, 1), (0, -10, 1), (1, 2, 2)],
)
def test_less_than_the_minimum_stays_payable(payable: int, minimum: int, wanted: int) -> None:
    with pytest.raises(PayoutBelowMinimum) as raised:
        decide_create_payout(PROVIDER, payable, None, replace(CREATE, minimum_minor_units=minimum), NOW)
    facts = {"provider_id": "prv_1", "currency": "EUR", "payable": payable, "minimum": wanted}
    assert raised.value.facts == facts


@pytest.mark.parametrize(("payable", "minimum"), [(1_000, 1_000), (1_001, 1_000), (1, 1), (1, 0), (2, 1)])
def test_the_minimum_is_enough(payable: int, minimum: int) -> None:
    command = replace(CREATE, minimum_minor_units=minimum)
    _, result = decide_create_payout(PROVIDER, payable, None, command, NOW)
    assert result.payout.amount_minor_units == payable


def test_without_a_minimum_one_minor_unit_is_enough() -> None:
    command = CreatePayout("one", "prv_1", "EUR")
    assert decide_create_payout(PROVIDER, 1, None, command, NOW)[1].payout.amount_minor_units == 1
    with pytest.raises(PayoutBelowMinimum):
        decide_create_payout(PROVIDER, 0, None, command, NOW)


def test_a_suspended_provider_is_not_paid() -> None:
    with pytest.raises(ProviderSuspended) as raised:
        decide_create_payout(SUSPENDED, 0, None, CREATE, NOW)
    assert raised.value.facts == {"provider_id": "prv_1"}


def test_a_replay_comes_before_suspension_and_amounts() -> None:
    changes, result = decide_create_payout(SUSPENDED, 0, resolved(PayoutState.PAID), CREATE, LATER)
    assert changes is None
    assert result == PayoutResult(resolved(PayoutState.PAID), replayed=True)


def test_another_currency_is_another_request() -> None:
    with pytest.raises(RequestIdReused) as raised:
        decide_create_payout(PROVIDER, 1_000, PAYOUT, replace(CREATE, currency="JPY"), NOW)
    assert raised.value.facts == {"request_id": "one", "rpc": "CreatePayout"}


def test_another_minimum_is_the_same_request() -> None:
    _, result = decide_create_payout(PROVIDER, 5_000, PAYOUT, replace(CREATE, minimum_minor_units=9_000), NOW)
    assert result.replayed


@pytest.mark.parametrize(("state", "entry"), [(PayoutState.PAID, ARRIVED), (PayoutState.FAILED, FAILED)])
def test_a_payout_ends_where_its_money_is(state: PayoutState, entry: JournalEntry) -> None:
    command = resolve(state)
    changes, result = decide_resolve_payout(PAYOUT, command, LATER)
    expected = replace(
        PAYOUT,
        state=state,
        reference="17",
        resolution_id=command.resolution_id,
        resolution_fingerprint=command.fingerprint,
        resolve_time=LATER,
    )
    assert result == PayoutResult(expected)
    assert changes == PayoutChanges(expected, (entry,))


def test_a_payout_is_not_resolved_before_it_is_made() -> None:
    _, result = decide_resolve_payout(PAYOUT, resolve(), NOW - timedelta(days=1))
    assert result.payout.resolve_time == NOW


def test_an_unknown_payout_is_not_found() -> None:
    with pytest.raises(PayoutNotFound) as raised:
        decide_resolve_payout(None, resolve(), NOW)
    assert raised.value.facts == {"payout_id": PAYOUT.payout_id}


@pytest.mark.parametrize("state", [PayoutState.PAID, PayoutState.FAILED])
def test_a_mark_again_is_a_replay(state: PayoutState) -> None:
    assert decide_resolve_payout(resolved(state), resolve(state), LATER) == (
        None,
        PayoutResult(resolved(state), replayed=True),
    )


@pytest.mark.parametrize(
    ("state", "rpc"), [(PayoutState.PAID, "MarkPayoutPaid"), (PayoutState.FAILED, "MarkPayoutFailed")]
)
def test_a_mark_with_another_reference_is_another_request(state: PayoutState, rpc: str) -> None:
    with pytest.raises(RequestIdReused) as raised:
        decide_resolve_payout(resolved(state), resolve(state, reference="18"), LATER)
    assert raised.value.facts == {"request_id": "two", "rpc": rpc}


@pytest.mark.parametrize("first", [PayoutState.PAID, PayoutState.FAILED])
@pytest.mark.parametrize("second", [PayoutState.PAID, PayoutState.FAILED])
def test_a_payout_is_resolved_by_one_request(first: PayoutState, second: PayoutState) -> None:
    again = resolve(second, request_id="two" if first is not second else "three")
    with pytest.raises(PayoutResolved) as raised:
        decide_resolve_payout(resolved(first), again, LATER)
    assert raised.value.facts == {"payout_id": PAYOUT.payout_id, "state": first}


def test_a_payout_has_made_the_movements_of_its_state() -> None:
    assert movements_of(PAYOUT) == (MADE,)
    assert movements_of(resolved(PayoutState.PAID)) == (MADE, ARRIVED)
    assert movements_of(resolved(PayoutState.FAILED)) == (MADE, FAILED)
    for entry in (MADE, ARRIVED, FAILED):
        check_journal_entry(entry)


def test_a_payout_that_contradicts_itself_has_ended_nowhere() -> None:
    assert movements_of(replace(PAYOUT, resolve_time=LATER)) == (MADE,)
    assert movements_of(replace(PAYOUT, state=PayoutState.PAID)) == (MADE,)
