"""What Stripe's events (https://docs.stripe.com/api/events/types) tell of purchases and refunds.

Everything that the broker makes at Stripe carries the purchase's id in its metadata, refunds their own as well. What
does not is somebody else's: an account at Stripe may be used for other things, too.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import stripe
from msgspec import Struct, field
from msgspec.structs import replace

from broker_service.domain.records import PaymentNoticeKind
from broker_service.payments.gateway import (
    GatewayError,
    GatewayNotice,
    NoticeInvalidError,
    PaymentMethod,
)
from broker_service.payments.stripe_amounts import from_stripe
from broker_service.payments.stripe_calls import answered
from broker_service.payments.stripe_objects import StripeThing, id_of, read_answer
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

PURCHASE_KEY: Final = "purchase_id"
REFUND_KEY: Final = "refund_id"
# On payments that were made without the customer, and so have no Checkout Session to tell of them.
OFF_SESSION: Final = "off_session"

_MOST_REFUNDS: Final = 100


class _Data(Struct):
    object: StripeThing


class _Event(Struct):
    id: str
    type: str
    data: msgspec.Raw = field(default_factory=msgspec.Raw)


Notices = list[GatewayNotice]


class NoticeReader:
    """Reads events whose signature has been checked. Some need a question to Stripe."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client
        self._readers: dict[str, Callable[[_Event, StripeThing], Awaitable[Notices]]] = {
            "checkout.session.completed": self._session_completed,
            "checkout.session.async_payment_succeeded": self._session_paid,
            "checkout.session.async_payment_failed": self._session_failed,
            "checkout.session.expired": self._session_failed,
            "payment_intent.succeeded": self._payment_succeeded,
            "payment_intent.payment_failed": self._payment_failed,
            "payment_intent.canceled": self._payment_failed,
            "refund.created": self._refund_changed,
            "refund.updated": self._refund_changed,
            "refund.failed": self._refund_changed,
            "charge.refunded": self._charge_refunded,
            "charge.dispute.created": self._disputed,
            "charge.dispute.funds_withdrawn": self._disputed,
        }

    async def read(self, body: bytes) -> Notices:
        """Returns what an event tells; empty: nothing of interest. Raises NoticeInvalidError, GatewayError."""
        try:
            event = msgspec.json.decode(body, type=_Event)
            reader = self._readers.get(event.type)
            if reader is None:
                return []
            subject = msgspec.json.decode(event.data, type=_Data).object
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NoticeInvalidError("it is no event that can be understood") from None
        return await reader(event, subject)

    async def _session_completed(self, event: _Event, session: StripeThing) -> Notices:
        # Payments that take days are completed unpaid, and told of again when they are paid.
        return await self._session_paid(event, session) if session.payment_status == "paid" else []

    async def _session_paid(self, event: _Event, session: StripeThing) -> Notices:
        notice = _notice(event, PaymentNoticeKind.SUCCEEDED, session, session.amount_total)
        if not notice.purchase_id:
            return []
        payment_id = id_of(session.payment_intent)
        return [replace(notice, gateway_reference=payment_id, method=await self._method_of(payment_id))]

    async def _session_failed(self, event: _Event, session: StripeThing) -> Notices:
        detail = event.type.removeprefix("checkout.session.")
        return _if_ours(replace(_notice(event, PaymentNoticeKind.FAILED, session), detail=detail))

    async def _payment_succeeded(self, event: _Event, payment: StripeThing) -> Notices:
        if not _is_off_session(payment):
            return []
        notice = _notice(event, PaymentNoticeKind.SUCCEEDED, payment, payment.amount_received)
        method = PaymentMethod(id_of(payment.customer), id_of(payment.payment_method))
        return _if_ours(replace(notice, gateway_reference=payment.id, method=method))

    async def _payment_failed(self, event: _Event, payment: StripeThing) -> Notices:
        # On a checkout page the customer may try another card: the session tells how that ends.
        if not _is_off_session(payment):
            return []
        detail = payment.decline_reason or payment.cancellation_reason or ""
        notice = _notice(event, PaymentNoticeKind.FAILED, payment)
        return _if_ours(replace(notice, gateway_reference=payment.id, detail=detail))

    async def _refund_changed(self, event: _Event, refund: StripeThing) -> Notices:
        kind = refund_kind(refund.status)
        if kind is None or not refund.noted(REFUND_KEY):
            return []
        return _if_ours(_refund_notice(event, kind, refund))

    async def _charge_refunded(self, event: _Event, charge: StripeThing) -> Notices:
        """Tells of each refund of a payment, those included that were made at Stripe itself.

        Of those the ledger knows nothing. They are told of without a refund_id, so that the operator learns of them.
        """
        if not charge.noted(PURCHASE_KEY):
            return []
        notices = []
        for refund in await self._refunds_of(charge.id):
            kind = refund_kind(refund.status)
            if kind is None:
                continue
            notice = _refund_notice(event, kind, refund)
            if not notice.purchase_id:
                purchase_id = charge.noted(PURCHASE_KEY)
                notice = replace(notice, purchase_id=purchase_id, detail=f"{refund.id} was made at Stripe itself")
            # An event of several notices: each needs an id of its own that stays when the event comes again.
            notices.append(replace(notice, gateway_event_id=f"{event.id}:{refund.id}"))
        return notices

    async def _disputed(self, event: _Event, dispute: StripeThing) -> Notices:
        # A bank may ask before it takes the money; that is no chargeback yet.
        # https://docs.stripe.com/disputes/how-disputes-work
        if (dispute.status or "").startswith("warning_"):
            return []
        payment_id = id_of(dispute.payment_intent)
        if not payment_id:
            return []
        payment = await self._payment(payment_id)
        purchase_id = payment.noted(PURCHASE_KEY)
        notice = _notice(event, PaymentNoticeKind.CHARGED_BACK, dispute, dispute.amount)
        detail = f"{dispute.id} {dispute.reason or ''}".rstrip()
        return _if_ours(replace(notice, purchase_id=purchase_id, gateway_reference=payment_id, detail=detail))

    async def _method_of(self, payment_id: str) -> PaymentMethod | None:
        """Returns how a payment was made; None if Stripe does not say so now: the credits must not wait for it."""
        try:
            payment = await self._payment(payment_id)
        except (GatewayError, NoticeInvalidError) as error:
            logger.warning("stripe.method_unknown", cause=str(error))
            return None
        customer, method = id_of(payment.customer), id_of(payment.payment_method)
        return PaymentMethod(customer, method) if customer and method else None

    async def _payment(self, payment_id: str) -> StripeThing:
        found = await answered(self._client.v1.payment_intents.retrieve_async(payment_id))
        return read_answer(found)

    async def _refunds_of(self, charge_id: str) -> list[StripeThing]:
        found = await answered(self._client.v1.refunds.list_async({"charge": charge_id, "limit": _MOST_REFUNDS}))
        return [read_answer(refund) for refund in found.data]


def refund_kind(status: str | None) -> PaymentNoticeKind | None:
    """Returns what a refund's status tells; None: nothing yet."""
    match status:
        case "succeeded":
            return PaymentNoticeKind.REFUND_SUCCEEDED
        case "failed" | "canceled":
            return PaymentNoticeKind.REFUND_FAILED
        case _:
            return None


def _notice(event: _Event, kind: PaymentNoticeKind, subject: StripeThing, amount: int | None = None) -> GatewayNotice:
    """Returns a notice of what the subject is about; the currency is named with an amount only."""
    currency = (subject.currency or "").upper()
    named = amount is not None and currency != ""
    return GatewayNotice(
        gateway_event_id=event.id,
        kind=kind,
        purchase_id=subject.noted(PURCHASE_KEY),
        currency=currency if named else None,
        amount_minor_units=from_stripe(currency, amount) if named and amount is not None else None,
    )


def _refund_notice(event: _Event, kind: PaymentNoticeKind, refund: StripeThing) -> GatewayNotice:
    return replace(
        _notice(event, kind, refund, refund.amount),
        refund_id=refund.noted(REFUND_KEY),
        gateway_reference=refund.id,
        detail=refund.failure_reason or "",
    )


def _if_ours(notice: GatewayNotice) -> Notices:
    return [notice] if notice.purchase_id else []


def _is_off_session(payment: StripeThing) -> bool:
    return bool(payment.noted(OFF_SESSION))
