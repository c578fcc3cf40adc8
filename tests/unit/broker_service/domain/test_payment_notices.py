"""What comes of a gateway's notices in every state of a purchase; nothing that a gateway says breaks a book."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.errors import BalanceOverflow, CheckoutExpired, PurchaseNotFound, PurchaseOfOtherGateway
from broker_service.domain.payment_notices import NoticeResult
from broker_service.domain.purchase_commands import (
    AttachCheckout,
    CompleteSandboxPayment,
    PackTerms,
    RefundPurchase,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.purchase_refunds import PurchaseRefundResult
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.records import (
    MAX_BALANCE,
    AccountState,
    Balance,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Purchase,
    PurchaseRefundState,
    PurchaseState,
    SavedPaymentMethod,
)
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    PROVIDER,
    START,
    World,
    charge,
    grant,
    new_id,
    reserve,
    world,
)

SUCCEEDED, FAILED = PaymentNoticeKind.SUCCEEDED, PaymentNoticeKind.FAILED
REFUND_SUCCEEDED, REFUND_FAILED = PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED
CHARGED_BACK = PaymentNoticeKind.CHARGED_BACK
TERMS = PackTerms("pck_1", "sms", PROVIDER, "a pack", 100, None, "EUR", 1_000, 2_500, False, False, False)
DAY = timedelta(hours=24)
MONEY_ACCOUNTS = ("gateway_clearing", "refunds_in_transit", f"provider_payable:{PROVIDER}", "commission")


def started(*held: Any, saves_method: bool = False) -> tuple[World, str]:
    """An account, and the id of a purchase it has to pay."""
    it = world(*held)
    command = StartPurchase(new_id(), ACCOUNT, TERMS, "", gateway="stripe", saves_method=saves_method)
    it.result(command)
    it.written.clear()
    return it, command.purchase_id


def told(purchase_id: str, kind: PaymentNoticeKind, **fields: Any) -> TakePaymentNotice:
    values: dict[str, Any] = {"gateway": "stripe", "gateway_event_id": new_id(), "kind": kind}
    return TakePaymentNotice(account_id=ACCOUNT, purchase_id=purchase_id, **values | fields)


def take(it: World, command: TakePaymentNotice) -> NoticeResult:
    result = it.result(command)
    assert isinstance(result, NoticeResult)
    return result


def outcome(it: World, command: TakePaymentNotice) -> tuple[str, PurchaseState]:
    result = take(it, command)
    return f"{result.notice.outcome}: {result.notice.detail}", result.purchase.state


def refund(it: World, purchase_id: str) -> PurchaseRefundResult:
    result = it.result(RefundPurchase(new_id(), ACCOUNT, purchase_id, ""))
    assert isinstance(result, PurchaseRefundResult)
    return result


def money(it: World) -> dict[str, int]:
    """What all that was written comes to on each money account."""
    sums = dict.fromkeys(MONEY_ACCOUNTS, 0)
    for changes in it.written:
        for entry in changes.journal_entries:
            for posting in entry.postings:
                sums[posting.money_account] += posting.amount_minor_units
    return sums


def stored(it: World) -> Purchase:
    (purchase,) = it.book.purchases.values()
    return purchase


class TestPayments:
    @pytest.mark.parametrize(
        ("before", "kind", "expected", "state"),
        [
            ((), SUCCEEDED, "APPLIED: the purchase is paid", PurchaseState.PAID),
            ((), FAILED, "APPLIED: the payment failed", PurchaseState.FAILED),
            ((FAILED,), SUCCEEDED, "APPLIED: the purchase is paid, after it had failed", PurchaseState.PAID),
            ((FAILED,), FAILED, "IGNORED: the payment had failed before", PurchaseState.FAILED),
            ((SUCCEEDED,), FAILED, "IGNORED: the purchase is paid", PurchaseState.PAID),
            (
                (SUCCEEDED,),
                SUCCEEDED,
                "IGNORED: the purchase was paid before: the customer has paid twice",
                PurchaseState.PAID,
            ),
            ((), CHARGED_BACK, "APPLIED: the chargeback waits for its payment to be told", PurchaseState.PENDING),
            ((FAILED,), CHARGED_BACK, "APPLIED: the chargeback waits for its payment to be told", PurchaseState.FAILED),
            (
                (SUCCEEDED,),
                CHARGED_BACK,
                "APPLIED: 100 credits are taken back, 0 are reserved and 0 are used",
                PurchaseState.CHARGED_BACK,
            ),
            (
                (SUCCEEDED, CHARGED_BACK),
                CHARGED_BACK,
                "IGNORED: the purchase was charged back before",
                PurchaseState.CHARGED_BACK,
            ),
            ((SUCCEEDED, CHARGED_BACK), FAILED, "IGNORED: the purchase is paid", PurchaseState.CHARGED_BACK),
            ((SUCCEEDED,), REFUND_SUCCEEDED, "IGNORED: no such refund was asked for", PurchaseState.PAID),
            ((SUCCEEDED,), REFUND_FAILED, "IGNORED: no such refund was asked for", PurchaseState.PAID),
        ],
    )
    def test_each_notice_in_each_state(
        self, before: tuple[PaymentNoticeKind, ...], kind: PaymentNoticeKind, expected: str, state: PurchaseState
    ) -> None:
        it, purchase_id = started()
        for earlier in before:
            take(it, told(purchase_id, earlier))
        assert outcome(it, told(purchase_id, kind)) == (expected, state)

    def test_what_is_ignored_writes_the_notice_alone(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, SUCCEEDED))
        it.written.clear()
        result = take(it, told(purchase_id, FAILED))
        assert it.written == [Changes(payment_notices=(result.notice,))]

    def test_the_same_notice_again_is_counted(self) -> None:
        it, purchase_id = started()
        command = told(purchase_id, SUCCEEDED, detail="thanks")
        first = take(it, command)
        it.written.clear()
        again = take(it, command)
        assert again == NoticeResult(replace(first.notice, times_received=2), first.purchase, replayed=True)
        assert it.written == [Changes(payment_notices=(again.notice,))]
        it.book.payment_notices[command.notice_id] = replace(again.notice, times_received=2**31 - 1)
        assert take(it, command).notice.times_received == 2**31 - 1

    def test_a_payment_after_the_checkout_has_expired_pays(self) -> None:
        it, purchase_id = started()
        it.now = START + DAY
        assert outcome(it, told(purchase_id, SUCCEEDED))[1] is PurchaseState.PAID
        assert (stored(it).pay_time, it.balance) == (START + DAY, Balance(100, 0))

    def test_a_payment_keeps_how_the_gateway_names_it_and_how_the_customer_pays(self) -> None:
        it, purchase_id = started(saves_method=True)
        it.result(AttachCheckout(ACCOUNT, purchase_id, "https://pay", "session-1"))
        assert stored(it).gateway_reference == "session-1"
        fields = {"gateway_reference": "pay-1", "customer_reference": "cus-1", "method_reference": "card-1"}
        take(it, told(purchase_id, SUCCEEDED, **fields))
        assert stored(it).gateway_reference == "pay-1"
        (method,) = it.book.payment_methods.values()
        assert method == SavedPaymentMethod(ACCOUNT, "stripe", "cus-1", "card-1", START)

    def test_a_payment_without_a_reference_keeps_the_checkout_s(self) -> None:
        it, purchase_id = started()
        it.result(AttachCheckout(ACCOUNT, purchase_id, "https://pay", "session-1"))
        take(it, told(purchase_id, SUCCEEDED))
        assert (stored(it).gateway_reference, it.book.payment_methods) == ("session-1", {})

    @pytest.mark.parametrize(
        "wrong", [{"amount_minor_units": 999}, {"currency": "USD"}, {"currency": "USD", "amount_minor_units": 1_000}]
    )
    @pytest.mark.parametrize("kind", [SUCCEEDED, FAILED])
    def test_a_wrong_amount_or_currency_changes_nothing(self, kind: PaymentNoticeKind, wrong: dict[str, Any]) -> None:
        it, purchase_id = started()
        expected = "WRONG_AMOUNT: 1000 minor units of EUR were due", PurchaseState.PENDING
        assert outcome(it, told(purchase_id, kind, **wrong)) == expected

    def test_another_gateway_s_word_is_ignored(self) -> None:
        it, purchase_id = started()
        expected = "IGNORED: the purchase is paid through stripe", PurchaseState.PENDING
        assert outcome(it, told(purchase_id, SUCCEEDED, gateway="sandbox")) == expected

    def test_a_purchase_that_does_not_exist_is_refused(self) -> None:
        (refusal,) = world().decide(told("pur_x", SUCCEEDED))
        assert isinstance(refusal, PurchaseNotFound)

    def test_more_credits_than_fit_are_refused_and_nothing_is_kept(self) -> None:
        it, purchase_id = started(grant(MAX_BALANCE - 99))
        (refusal,) = it.decide(told(purchase_id, SUCCEEDED))
        assert isinstance(refusal, BalanceOverflow)
        assert it.written == []


class TestCheckouts:
    def test_the_first_checkout_stays(self) -> None:
        it, purchase_id = started()
        for url in ("https://one", "https://two"):
            result = it.result(AttachCheckout(ACCOUNT, purchase_id, url, "ref"))
            assert isinstance(result, PurchaseResult)
            assert result.purchase.checkout_url == "https://one"
        assert it.written[1] == Changes()

    def test_a_purchase_that_has_ended_gets_none(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, FAILED))
        it.result(AttachCheckout(ACCOUNT, purchase_id, "https://one", "ref"))
        assert stored(it).checkout_url == ""

    def test_the_sandbox_s_payer_pays_the_sandbox_s_purchases_in_time(self) -> None:
        it, purchase_id = started()
        payment = CompleteSandboxPayment("req_1", ACCOUNT, purchase_id, succeeded=True)
        (refusal,) = it.decide(payment)
        assert isinstance(refusal, PurchaseOfOtherGateway)
        assert refusal.facts == {"purchase_id": purchase_id, "gateway": "stripe"}
        it.book.purchases[purchase_id] = replace(stored(it), gateway="sandbox")
        it.now = START + DAY
        (refusal,) = it.decide(payment)
        assert isinstance(refusal, CheckoutExpired)
        assert refusal.facts == {"purchase_id": purchase_id, "expire_time": "2026-01-02T00:00:00Z"}
        it.now = START + DAY - timedelta(microseconds=1)
        it.result(payment)
        assert it.balance == Balance(100, 0)

    def test_a_delayed_payment_is_recorded_and_pays_by_its_notice(self) -> None:
        it, purchase_id = started()
        it.book.purchases[purchase_id] = replace(stored(it), gateway="sandbox")
        payment = CompleteSandboxPayment("req_1", ACCOUNT, purchase_id, succeeded=True, delayed=True)
        for replayed in (False, True):
            assert it.result(payment) == PurchaseResult(stored(it), replayed=replayed)
        assert it.balance == Balance(0, 0)
        assert outcome(it, payment.notice)[1] is PurchaseState.PAID


class TestRefunds:
    def test_a_refund_ends_once_unless_it_comes_back(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, SUCCEEDED))
        refund_id = refund(it, purchase_id).refund.refund_id
        fields = {"refund_id": refund_id, "currency": "EUR"}
        wrong = outcome(it, told(purchase_id, REFUND_SUCCEEDED, **fields, amount_minor_units=1))[0]
        assert wrong == "WRONG_AMOUNT: 1000 minor units of EUR were due"
        assert money(it)["refunds_in_transit"] == -1_000
        paid = told(purchase_id, REFUND_SUCCEEDED, **fields, amount_minor_units=1_000, gateway_reference="re-1")
        assert outcome(it, paid) == ("APPLIED: the refund is paid", PurchaseState.REFUNDED)
        kept = it.book.purchase_refunds[refund_id]
        assert (kept.state, kept.gateway_reference, kept.resolve_time) == (PurchaseRefundState.PAID, "re-1", START)
        assert set(money(it).values()) == {0}
        again = outcome(it, told(purchase_id, REFUND_SUCCEEDED, refund_id=refund_id))[0]
        assert again == "IGNORED: the refund was paid before"
        failed = outcome(it, told(purchase_id, REFUND_FAILED, refund_id=refund_id))[0]
        assert failed == "APPLIED: the refund had been paid, and the money came back: it is owed again"
        assert money(it)["refunds_in_transit"] == -1_000

    def test_a_refund_that_failed_stays_owed_until_it_is_paid_after_all(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, SUCCEEDED))
        refund_id = refund(it, purchase_id).refund.refund_id
        assert outcome(it, told(purchase_id, REFUND_FAILED, refund_id=refund_id))[0] == "APPLIED: the refund failed"
        assert it.book.purchase_refunds[refund_id].state is PurchaseRefundState.FAILED
        assert money(it)["refunds_in_transit"] == -1_000
        again = outcome(it, told(purchase_id, REFUND_FAILED, refund_id=refund_id))[0]
        assert again == "IGNORED: the refund had failed before"
        late = outcome(it, told(purchase_id, REFUND_SUCCEEDED, refund_id=refund_id))[0]
        assert late == "APPLIED: the refund is paid"
        assert set(money(it).values()) == {0}

    def test_another_purchase_s_refund_is_none(self) -> None:
        it, first = started()
        take(it, told(first, SUCCEEDED))
        second = StartPurchase(new_id(), ACCOUNT, TERMS, "", gateway="stripe")
        it.result(second)
        take(it, told(second.purchase_id, SUCCEEDED))
        refund_id = refund(it, first).refund.refund_id
        found = outcome(it, told(second.purchase_id, REFUND_SUCCEEDED, refund_id=refund_id))[0]
        assert found == "IGNORED: no such refund was asked for"

    def test_a_chargeback_is_no_refund_to_be_paid(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, SUCCEEDED))
        take(it, told(purchase_id, CHARGED_BACK))
        (chargeback,) = it.book.purchase_refunds
        found = outcome(it, told(purchase_id, REFUND_FAILED, refund_id=chargeback))[0]
        assert found == "IGNORED: no such refund was asked for"


class TestChargebacks:
    def test_all_that_no_refund_has_paid_goes_back(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, SUCCEEDED))
        it.do(charge(10))
        it.do(reserve(20))
        first = refund(it, purchase_id).refund
        it.now = START + timedelta(minutes=1)
        expected = "APPLIED: 0 credits are taken back, 20 are reserved and 10 are used", PurchaseState.CHARGED_BACK
        assert outcome(it, told(purchase_id, CHARGED_BACK, currency="EUR", amount_minor_units=1_000)) == expected
        assert set(money(it).values()) == {0}
        overtaken = it.book.purchase_refunds[first.refund_id]
        assert (overtaken.state, overtaken.gateway_reference) == (PurchaseRefundState.PAID, "chargeback")
        assert it.account.state is AccountState.SUSPENDED
        assert it.account.state_reason == f"purchase {purchase_id} was charged back"
        assert [event.type.value for event in it.written[-1].events] == ["purchase.refunded", "account.suspended"]
        twice = outcome(it, told(purchase_id, REFUND_SUCCEEDED, refund_id=first.refund_id))[0]
        assert twice == (
            "IGNORED: the refund was paid before, if not by the chargeback: then the customer has the money twice"
        )
        assert set(money(it).values()) == {0}

    def test_a_purchase_that_was_paid_back_already_is_left_alone(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, SUCCEEDED))
        refund_id = refund(it, purchase_id).refund.refund_id
        take(it, told(purchase_id, REFUND_SUCCEEDED, refund_id=refund_id))
        expected = "IGNORED: the purchase was refunded before: the customer has the money twice"
        assert outcome(it, told(purchase_id, CHARGED_BACK)) == (expected, PurchaseState.REFUNDED)
        assert it.account.state is AccountState.ACTIVE

    def test_a_lost_grant_stops_nothing_that_a_gateway_says(self) -> None:
        it, purchase_id = started()
        take(it, told(purchase_id, SUCCEEDED))
        it.book.grants.clear()
        it.book.account = replace(it.account, ledger_credits=0)
        expected = "APPLIED: 0 credits are taken back, 0 are reserved and 100 are used", PurchaseState.CHARGED_BACK
        assert outcome(it, told(purchase_id, CHARGED_BACK)) == expected


@settings(max_examples=300)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([*PaymentNoticeKind, "refund", "charge", "reserve", "again"]),
            st.sampled_from([None, None, None, 1_000, 500, 0, -1, MAX_BALANCE]),
            st.integers(0, 3),
        ),
        max_size=15,
    )
)
def test_whatever_a_gateway_says_no_book_breaks_and_no_money_is_lost(
    steps: list[tuple[Any, int | None, int]],
) -> None:
    """In the end what is at the gateway is what all others have a right to, and nobody has gained by a repetition."""
    it, purchase_id = started()
    asked: list[TakePaymentNotice] = []
    refund_ids = ["rfd_none"]
    for what, amount, number in steps:
        it.now += timedelta(hours=5)
        if what == "refund":
            (result,) = it.decide(RefundPurchase(new_id(), ACCOUNT, purchase_id, ""))
            if isinstance(result, PurchaseRefundResult):
                refund_ids.append(result.refund.refund_id)
        elif what in ("charge", "reserve"):
            it.decide((charge if what == "charge" else reserve)(7))
        elif what == "again":
            if asked:
                take(it, asked[number % len(asked)])
        else:
            refund_id = refund_ids[number % len(refund_ids)] if what in (REFUND_SUCCEEDED, REFUND_FAILED) else ""
            asked.append(told(purchase_id, what, refund_id=refund_id, amount_minor_units=amount))
            take(it, asked[-1])
        _assert_money_is_right(it)


def _assert_money_is_right(it: World) -> None:
    sums, purchase = money(it), stored(it)
    owed = sum(row.amount_minor_units for row in it.book.purchase_refunds.values() if row.state != "PAID")
    paid = 1_000 if purchase.pay_time is not None else 0
    commission = purchase.commission_minor_units - purchase.refunded_commission_minor_units if paid else 0
    left = paid - purchase.refunded_minor_units
    assert sums == {
        "gateway_clearing": left + owed,
        "refunds_in_transit": -owed,
        f"provider_payable:{PROVIDER}": -(left - commission),
        "commission": -commission,
    }
    assert sum(row.credits for row in it.book.purchase_refunds.values()) == purchase.refunded_credits
    outcomes = {notice.outcome for notice in it.book.payment_notices.values()}
    assert outcomes <= {
        PaymentNoticeOutcome.APPLIED,
        PaymentNoticeOutcome.IGNORED,
        PaymentNoticeOutcome.WRONG_AMOUNT,
    }
