"""Refunds that a gateway would not pay, and that reach the customer by another way (docs/money.md)."""

from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.errors import RefundNotFound, RefundNotOwed, RequestIdReused
from broker_service.domain.journal import refund_paid_of
from broker_service.domain.payment_notices import notice_of
from broker_service.domain.purchase_commands import OPERATOR, SettleRefund
from broker_service.domain.purchase_refunds import PurchaseRefundResult, paid_back
from broker_service.domain.purchases import purchase_of
from broker_service.domain.records import (
    Operation,
    PaymentNoticeOutcome,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
)


def decide_settle_refund(book: Book, command: SettleRefund, now: datetime) -> tuple[Changes, PurchaseRefundResult]:
    """Takes the operator's word that the customer has got the money of an owed refund, for good.

    Its gateway has refused it, or what it had paid came back; one that it has yet to answer could be paid twice.
    """
    purchase, account = purchase_of(book, command), account_of(book)
    refund = _refund_of(book, command)
    first = book.operations.get(command.operation_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="MarkRefundPaid")
        return Changes(), PurchaseRefundResult(purchase, refund, replayed=True)
    if refund.state is not PurchaseRefundState.FAILED:
        raise RefundNotOwed(refund_id=refund.refund_id, state=refund.state)
    # Nothing can be refused from here on.
    refund = paid_back(refund, now, OPERATOR)
    notice = replace(
        notice_of(command.notice, PaymentNoticeOutcome.APPLIED, "the operator has paid the refund", now),
        currency=refund.currency,
        amount_minor_units=refund.amount_minor_units,
    )
    changes = Changes(
        account=replace(account, update_time=now),
        operations=(Operation(account.account_id, command.operation_id, "MarkRefundPaid", command.fingerprint, now),),
        purchase_refunds=(refund,),
        payment_notices=(notice,),
        journal_entries=(refund_paid_of(purchase.provider_id, refund),),
    )
    return changes, PurchaseRefundResult(purchase, refund)


def _refund_of(book: Book, command: SettleRefund) -> PurchaseRefund:
    refund = book.purchase_refunds.get(command.refund_id)
    if refund is None or refund.purchase_id != command.purchase_id or refund.kind is not PurchaseRefundKind.REFUND:
        raise RefundNotFound(refund_id=command.refund_id)
    return refund
