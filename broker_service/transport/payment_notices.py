"""AdminService's view of what payment gateways have told, and of what they have left to the operator."""

from iap.broker.v1 import admin_pb2, admin_pb2_grpc

from broker_service.domain.directory import Role
from broker_service.domain.records import (
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    PurchaseRefund,
    PurchaseRefundState,
)
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.storage.purchase_queries import NoticeSelection
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.money import to_money
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.times import instant_of, microseconds_of, to_timestamp

_KINDS = {
    PaymentNoticeKind.SUCCEEDED: admin_pb2.PAYMENT_NOTICE_KIND_SUCCEEDED,
    PaymentNoticeKind.FAILED: admin_pb2.PAYMENT_NOTICE_KIND_FAILED,
    PaymentNoticeKind.REFUND_SUCCEEDED: admin_pb2.PAYMENT_NOTICE_KIND_REFUND_SUCCEEDED,
    PaymentNoticeKind.REFUND_FAILED: admin_pb2.PAYMENT_NOTICE_KIND_REFUND_FAILED,
    PaymentNoticeKind.CHARGED_BACK: admin_pb2.PAYMENT_NOTICE_KIND_CHARGED_BACK,
}
_OUTCOMES = {
    PaymentNoticeOutcome.APPLIED: admin_pb2.PAYMENT_NOTICE_OUTCOME_APPLIED,
    PaymentNoticeOutcome.IGNORED: admin_pb2.PAYMENT_NOTICE_OUTCOME_IGNORED,
    PaymentNoticeOutcome.UNKNOWN_PURCHASE: admin_pb2.PAYMENT_NOTICE_OUTCOME_UNKNOWN_PURCHASE,
    PaymentNoticeOutcome.WRONG_AMOUNT: admin_pb2.PAYMENT_NOTICE_OUTCOME_WRONG_AMOUNT,
}
_ASKED_OUTCOMES = {number: outcome for outcome, number in _OUTCOMES.items()}


_REFUND_STATES = {
    PurchaseRefundState.REQUESTED: admin_pb2.PURCHASE_REFUND_STATE_REQUESTED,
    PurchaseRefundState.PAID: admin_pb2.PURCHASE_REFUND_STATE_PAID,
    PurchaseRefundState.FAILED: admin_pb2.PURCHASE_REFUND_STATE_FAILED,
}


class PaymentNoticeServicer(admin_pb2_grpc.AdminServiceServicer):
    """The RPCs of AdminService about payment notices and owed refunds."""

    def __init__(self, gate: Gate, desk: PaymentDesk) -> None:
        self.gate = gate
        self._desk = desk

    @rpc(Role.OPERATOR)
    async def ListPaymentNotices(
        self, request: admin_pb2.ListPaymentNoticesRequest, _caller: Caller
    ) -> admin_pb2.ListPaymentNoticesResponse:
        """See the contract."""
        scope = ("ListPaymentNotices", request.outcome, request.purchase_id)
        cursor = cursor_of(request.page_token, (int, str), *scope)
        limit = page_size(request.page_size)
        selection = NoticeSelection(
            outcome=_ASKED_OUTCOMES.get(request.outcome),
            purchase_id=request.purchase_id,
            before=None if cursor is None else (instant_of(cursor[0]), cursor[1]),
            limit=limit + 1,
        )
        found = await self._desk.notices(selection)
        shown = found[:limit]
        next_page_token = ""
        if len(found) > limit:
            last = shown[-1]
            next_page_token = page_token([microseconds_of(last.receive_time), last.notice_id], *scope)
        return admin_pb2.ListPaymentNoticesResponse(
            notices=[render_notice(notice) for notice in shown], next_page_token=next_page_token
        )

    @rpc(Role.OPERATOR)
    async def ListOwedRefunds(
        self, request: admin_pb2.ListOwedRefundsRequest, _caller: Caller
    ) -> admin_pb2.ListOwedRefundsResponse:
        """See the contract."""
        scope = ("ListOwedRefunds",)
        cursor = cursor_of(request.page_token, (int, str), *scope)
        limit = page_size(request.page_size)
        after = None if cursor is None else (instant_of(cursor[0]), cursor[1])
        found = await self._desk.owed_refunds(after, limit + 1)
        shown = found[:limit]
        next_page_token = ""
        if len(found) > limit:
            next_page_token = page_token([microseconds_of(shown[-1].create_time), shown[-1].refund_id], *scope)
        return admin_pb2.ListOwedRefundsResponse(
            refunds=[render_refund(refund) for refund in shown], next_page_token=next_page_token
        )

    @rpc(Role.OPERATOR)
    async def MarkRefundPaid(
        self, request: admin_pb2.MarkRefundPaidRequest, _caller: Caller
    ) -> admin_pb2.MarkRefundPaidResponse:
        """See the contract."""
        result = await self._desk.settle_refund(
            request_id=request.request_id.lower(), refund_id=request.refund_id, reference=request.reference
        )
        return admin_pb2.MarkRefundPaidResponse(refund=render_refund(result.refund), replayed=result.replayed)


def render_refund(refund: PurchaseRefund) -> admin_pb2.PurchaseRefund:
    """Renders a refund of a purchase."""
    return admin_pb2.PurchaseRefund(
        refund_id=refund.refund_id,
        purchase_id=refund.purchase_id,
        account_id=refund.account_id,
        state=_REFUND_STATES[refund.state],
        amount=to_money(refund.currency, refund.amount_minor_units),
        credits=refund.credits,
        reason=refund.reason,
        gateway_reference=refund.gateway_reference,
        create_time=to_timestamp(refund.create_time),
        resolve_time=None if refund.resolve_time is None else to_timestamp(refund.resolve_time),
    )


def render_notice(notice: PaymentNotice) -> admin_pb2.PaymentNotice:
    """Renders a notice; an amount without a currency cannot be told."""
    amount = None
    if notice.currency is not None and notice.amount_minor_units is not None:
        amount = to_money(notice.currency, notice.amount_minor_units)
    return admin_pb2.PaymentNotice(
        notice_id=notice.notice_id,
        gateway=notice.gateway,
        gateway_event_id=notice.gateway_event_id,
        kind=_KINDS[notice.kind],
        purchase_id=notice.purchase_id,
        amount=amount,
        outcome=_OUTCOMES[notice.outcome],
        detail=notice.detail,
        times_received=notice.times_received,
        receive_time=to_timestamp(notice.receive_time),
    )
