"""Refunds that no gateway pays, and what the operator's word on them writes."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.errors import PurchaseNotFound, RefundNotFound, RefundNotOwed, RequestIdReused
from broker_service.domain.purchase_commands import (
    PackTerms,
    RefundPurchase,
    SettleRefund,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.purchase_refunds import PurchaseRefundResult
from broker_service.domain.records import (
    JournalEntry,
    JournalKind,
    Operation,
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Posting,
    PurchaseRefundState,
)
from tests.unit.broker_service.domain.ledger_world import ACCOUNT, PROVIDER, START, World, new_id, world

SUCCEEDED, CHARGED_BACK = PaymentNoticeKind.SUCCEEDED, PaymentNoticeKind.CHARGED_BACK
REFUND_SUCCEEDED, REFUND_FAILED = PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED
LATER = START + timedelta(hours=1)
TERMS = PackTerms("pck_1", "sms", PROVIDER, "a pack", 100, None, "EUR", 1_000, 2_500, False, False, False)


def tell(it: World, kind: PaymentNoticeKind, purchase_id: str, refund_id: str = "") -> None:
    it.result(TakePaymentNotice(ACCOUNT, "stripe", new_id(), kind, purchase_id, refund_id))


def asked_for() -> tuple[World, SettleRefund]:
    """A purchase's refund that its gateway has not answered, and what pays it otherwise."""
    it = world()
    start = StartPurchase(new_id(), ACCOUNT, TERMS, "", gateway="stripe")
    it.result(start)
    tell(it, SUCCEEDED, start.purchase_id)
    refund = RefundPurchase(new_id(), ACCOUNT, start.purchase_id, "sorry")
    it.result(refund)
    it.written.clear()
    return it, SettleRefund("req_1", ACCOUNT, start.purchase_id, refund.refund_id, "SEPA 17")


def owed() -> tuple[World, SettleRefund]:
    """The same, once the gateway has refused it."""
    it, command = asked_for()
    tell(it, REFUND_FAILED, command.purchase_id, command.refund_id)
    it.written.clear()
    return it, command


def test_it_writes_the_money_the_refund_and_a_notice() -> None:
    it, command = owed()
    before, refund = it.account, it.book.purchase_refunds[command.refund_id]
    purchase = it.book.purchases[command.purchase_id]
    it.now = LATER
    paid = replace(refund, state=PurchaseRefundState.PAID, gateway_reference="operator", resolve_time=LATER)
    assert it.result(command) == PurchaseRefundResult(purchase, paid)
    notice = PaymentNotice(
        account_id=ACCOUNT,
        notice_id=command.notice.notice_id,
        gateway="operator",
        gateway_event_id=command.operation_id,
        kind=REFUND_SUCCEEDED,
        purchase_id=command.purchase_id,
        currency="EUR",
        amount_minor_units=1_000,
        outcome=PaymentNoticeOutcome.APPLIED,
        detail="the operator has paid the refund: SEPA 17",
        times_received=1,
        receive_time=LATER,
    )
    moved = JournalEntry(
        journal_entry_id=f"refund_paid:{refund.refund_id}",
        kind=JournalKind.REFUND_PAID,
        provider_id=PROVIDER,
        purchase_id=command.purchase_id,
        payout_id=None,
        time=LATER,
        postings=(Posting("refunds_in_transit", "EUR", 1_000), Posting("gateway_clearing", "EUR", -1_000)),
    )
    assert it.written == [
        Changes(
            account=replace(before, update_time=LATER),
            operations=(Operation(ACCOUNT, command.operation_id, "MarkRefundPaid", command.fingerprint, LATER),),
            purchase_refunds=(paid,),
            payment_notices=(notice,),
            journal_entries=(moved,),
        )
    ]


def test_a_replay_writes_nothing_and_another_request_is_refused() -> None:
    it, command = owed()
    first = it.result(command)
    it.written.clear()
    assert it.result(command) == replace(first, replayed=True)
    assert it.written == [Changes()]
    with pytest.raises(RequestIdReused) as reused:
        it.result(replace(command, reference="SEPA 18"))
    assert reused.value.facts == {"request_id": "req_1", "rpc": "MarkRefundPaid"}
    with pytest.raises(RefundNotOwed) as over:
        it.result(replace(command, request_id="req_2"))
    assert over.value.facts == {"refund_id": command.refund_id, "state": "PAID"}


def test_what_the_gateway_may_still_pay_is_not_owed() -> None:
    it, command = asked_for()
    with pytest.raises(RefundNotOwed) as raised:
        it.result(command)
    assert raised.value.facts == {"refund_id": command.refund_id, "state": "REQUESTED"}


def test_what_is_no_refund_of_the_purchase_is_not_found() -> None:
    it, command = owed()
    second = StartPurchase(new_id(), ACCOUNT, TERMS, "", gateway="stripe")
    it.result(second)
    tell(it, SUCCEEDED, second.purchase_id)
    tell(it, CHARGED_BACK, second.purchase_id)
    (chargeback,) = [it for it in it.book.purchase_refunds if it != command.refund_id]
    for wrong in (
        replace(command, refund_id="rfd_none"),
        replace(command, purchase_id=second.purchase_id),
        replace(command, purchase_id=second.purchase_id, refund_id=chargeback),
    ):
        with pytest.raises(RefundNotFound) as raised:
            it.result(wrong)
        assert raised.value.facts == {"refund_id": wrong.refund_id}
    with pytest.raises(PurchaseNotFound):
        it.result(replace(command, purchase_id="pur_none"))


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        (REFUND_SUCCEEDED, "the refund was paid by the operator: the customer has the money twice"),
        (REFUND_FAILED, "the refund was paid by the operator, and is not owed any more"),
    ],
)
def test_what_the_gateway_says_afterwards_is_kept_and_ignored(kind: PaymentNoticeKind, detail: str) -> None:
    it, command = owed()
    it.result(command)
    it.written.clear()
    tell(it, kind, command.purchase_id, command.refund_id)
    ((notice,),) = [changes.payment_notices for changes in it.written]
    assert (notice.outcome, notice.detail) == (PaymentNoticeOutcome.IGNORED, detail)
    assert it.written == [Changes(payment_notices=(notice,))]
