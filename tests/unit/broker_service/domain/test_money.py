"""Accounts, purchases and the broker's commission."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker_service.domain.book import Book
from broker_service.domain.commands import Command, OpenAccount
from broker_service.domain.commission import commission_minor_units
from broker_service.domain.decide import decide_batch
from broker_service.domain.errors import (
    AccountSuspended,
    BalanceOverflow,
    PackArchived,
    PackOfOtherService,
    ProviderSuspended,
    PurchaseFailed,
    PurchaseNotFound,
    PurchasePaid,
    Refusal,
    RequestIdReused,
    ServiceRetired,
)
from broker_service.domain.purchase_commands import CompleteSandboxPayment, PackTerms, StartPurchase
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.records import MAX_BALANCE, AccountState, Balance, PurchaseState, TrialClaim
from tests.unit.broker_service.domain.ledger_world import ACCOUNT, PROVIDER, START, World, grant, new_id, world

TERMS = PackTerms(
    pack_id="pck_1",
    service="sms",
    provider_id=PROVIDER,
    title="100 segments",
    credits=100,
    validity=None,
    currency="EUR",
    price_minor_units=501,
    commission_basis_points=2_500,
    archived=False,
    service_retired=False,
    provider_suspended=False,
)


def start(**changes: object) -> StartPurchase:
    return StartPurchase(new_id(), ACCOUNT, replace(TERMS, **changes), "")


def ask(it: World, command: Command) -> PurchaseResult:
    (outcome,) = it.decide(command)
    if isinstance(outcome, Refusal):
        raise outcome
    assert isinstance(outcome, PurchaseResult)
    return outcome


def pay(it: World, purchase_id: str, *, succeeded: bool = True) -> PurchaseResult:
    return ask(it, CompleteSandboxPayment(new_id(), ACCOUNT, purchase_id, succeeded))


@given(price=st.integers(1, 10**12), basis_points=st.integers(0, 10_000))
def test_commission_is_within_half_a_minor_unit_of_the_rate(price: int, basis_points: int) -> None:
    commission = commission_minor_units(price, basis_points)
    assert 0 <= commission <= price
    assert abs(commission * 10_000 - price * basis_points) <= 5_000


@pytest.mark.parametrize(
    ("price", "basis_points", "commission"),
    [(1, 0, 0), (1, 10_000, 1), (1, 2_500, 0), (2, 2_500, 1), (1, 5_000, 1), (501, 2_500, 125), (3, 3_333, 1)],
)
def test_commission_rounds_half_up(price: int, basis_points: int, commission: int) -> None:
    assert commission_minor_units(price, basis_points) == commission


def test_commission_on_a_price_beyond_what_floats_tell_apart_is_exact() -> None:
    price = 2**53 + 1
    assert commission_minor_units(price, 10_000) == price


def test_paying_grants_the_credits_and_moves_the_money_at_once() -> None:
    it = world()
    purchase = ask(it, start(validity=timedelta(days=1))).purchase
    assert (purchase.state, it.balance) == (PurchaseState.PENDING, Balance(0, 0))
    paid = pay(it, purchase.purchase_id).purchase
    assert (paid.state, paid.pay_time, it.balance) == (PurchaseState.PAID, START, Balance(100, 0))
    changes = it.written[-1]
    assert changes.grants[0].expire_time == START + timedelta(days=1)
    assert [entry.credits for entry in changes.entries] == [100]
    assert {posting.money_account: posting.amount_minor_units for posting in changes.journal_entries[0].postings} == {
        "gateway_clearing": 501,
        f"provider_payable:{PROVIDER}": -376,
        "commission": -125,
    }


def test_a_failed_payment_grants_nothing_and_is_final() -> None:
    it = world()
    purchase = ask(it, start()).purchase
    assert pay(it, purchase.purchase_id, succeeded=False).purchase.state is PurchaseState.FAILED
    assert it.balance == Balance(0, 0)
    with pytest.raises(PurchaseFailed):
        pay(it, purchase.purchase_id)


def test_a_purchase_is_not_paid_before_it_was_started_though_the_clock_steps_back() -> None:
    it = world()
    it.now += timedelta(days=1)
    purchase = ask(it, start()).purchase
    assert it.account.update_time == purchase.create_time == START + timedelta(days=1)
    it.now = START
    assert pay(it, purchase.purchase_id).purchase.pay_time == purchase.create_time


def test_nothing_happens_before_a_payment_failed_though_the_clock_steps_back() -> None:
    it = world()
    purchase = ask(it, start()).purchase
    it.now += timedelta(hours=1)
    pay(it, purchase.purchase_id, succeeded=False)
    assert it.account.update_time == START + timedelta(hours=1)
    it.now = START
    assert ask(it, start()).purchase.create_time == START + timedelta(hours=1)


def test_paying_twice_is_refused_and_a_replay_answers() -> None:
    it = world()
    purchase = ask(it, start()).purchase
    command = CompleteSandboxPayment(new_id(), ACCOUNT, purchase.purchase_id, succeeded=True)
    ask(it, command)
    assert ask(it, command).replayed
    with pytest.raises(PurchasePaid):
        pay(it, purchase.purchase_id)
    with pytest.raises(RequestIdReused):
        ask(it, replace(command, succeeded=False))
    assert it.balance == Balance(100, 0)


def test_starting_again_gets_the_first_purchase_with_its_terms() -> None:
    it = world()
    command = start()
    first = ask(it, command).purchase
    again = ask(it, replace(command, pack=replace(TERMS, archived=True, commission_basis_points=0)))
    assert (again.purchase, again.replayed) == (first, True)
    for other in (replace(command, pack=replace(TERMS, pack_id="pck_2")), replace(command, return_url="https://x")):
        with pytest.raises(RequestIdReused):
            ask(it, other)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"archived": True}, PackArchived),
        ({"service": "fax"}, PackOfOtherService),
        ({"service_retired": True}, ServiceRetired),
        ({"provider_suspended": True}, ProviderSuspended),
    ],
)
def test_what_is_not_on_sale_cannot_be_bought(change: dict[str, object], refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        ask(world(), start(**change))


def test_a_suspended_account_buys_nothing() -> None:
    with pytest.raises(AccountSuspended):
        ask(world(state=AccountState.SUSPENDED), start())


def test_an_unknown_purchase_cannot_be_paid() -> None:
    with pytest.raises(PurchaseNotFound):
        pay(world(), "pur_x")


def test_a_balance_beyond_64_bits_is_refused_and_changes_nothing() -> None:
    it = world(grant(MAX_BALANCE - 99))
    purchase = ask(it, start()).purchase
    with pytest.raises(BalanceOverflow):
        pay(it, purchase.purchase_id)
    assert it.balance == Balance(MAX_BALANCE - 99, 0)
    assert it.book.purchases[purchase.purchase_id].state is PurchaseState.PENDING


def test_a_balance_of_exactly_64_bits_is_taken() -> None:
    it = world(grant(MAX_BALANCE - 100))
    pay(it, ask(it, start()).purchase.purchase_id)
    assert it.balance == Balance(MAX_BALANCE, 0)


def open_account(account_id: str, **changes: object) -> OpenAccount:
    command = OpenAccount(
        request_id=new_id(),
        account_id=account_id,
        customer_id="cus_c",
        provider_id=PROVIDER,
        service="sms",
        service_retired=False,
        trial_credits=5,
        token_hash="h" + account_id,
    )
    return replace(command, **changes)


def test_trial_credits_are_given_once_per_customer_and_service_even_within_a_batch() -> None:
    claims: dict[tuple[str, str], TrialClaim] = {}
    books = {account_id: Book(account_id, trial_claims=claims) for account_id in ("acc_1", "acc_2", "acc_3")}
    decide_batch(
        books,
        [open_account("acc_1"), open_account("acc_2"), open_account("acc_3", customer_id="cus_other")],
        START,
    )
    assert [book.account and book.account.ledger_credits for book in books.values()] == [5, 0, 5]


def test_opening_again_gets_the_account_and_another_service_is_refused() -> None:
    books = {"acc_1": Book("acc_1")}
    command = open_account("acc_1")
    verdict = decide_batch(
        books, [command, replace(command, token_hash="other"), replace(command, service="fax")], START
    )
    first, again, reused = verdict.outcomes
    assert not isinstance(first, Refusal)
    assert not isinstance(again, Refusal)
    assert (first.replayed, again.replayed) == (False, True)
    assert isinstance(reused, RequestIdReused)
    assert [token.token_hash for changes in verdict.changes for token in changes.account_tokens] == ["hacc_1"]


def test_a_retired_service_opens_no_accounts() -> None:
    (outcome,) = decide_batch({"acc_1": Book("acc_1")}, [open_account("acc_1", service_retired=True)], START).outcomes
    assert isinstance(outcome, ServiceRetired)
