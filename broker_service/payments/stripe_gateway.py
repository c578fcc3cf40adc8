"""Stripe as a payment gateway: Checkout Sessions, refunds, and charges without the customer.

The purchase's or refund's id is the idempotency key of each call (https://docs.stripe.com/api/idempotent_requests), so
every parameter follows from the purchase or the refund alone: a repetition must not differ. Stripe forgets the keys
after a day, and a broker may be down for longer; so what moves money is looked for first. The key stands against those
who ask at the same time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import stripe

from broker_service.domain.records import PaymentNoticeKind, Purchase, PurchaseRefund
from broker_service.payments import stripe_amounts
from broker_service.payments.gateway import (
    Checkout,
    GatewayError,
    GatewayNotice,
    NoticeInvalidError,
    PaymentDeclinedError,
    PaymentMethod,
)
from broker_service.payments.stripe_amounts import AmountNotPayableError
from broker_service.payments.stripe_calls import (
    DEFAULT_API_URL,
    answered,
    decline_reason,
    explaining_failures,
    new_client,
    new_http_client,
)
from broker_service.payments.stripe_notices import OFF_SESSION, PURCHASE_KEY, REFUND_KEY, NoticeReader, refund_kind
from broker_service.payments.stripe_objects import StripeThing, id_of, read_answer

__all__ = ["DEFAULT_API_URL", "StripeGateway"]

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

# How long a Checkout Session may live, by Stripe's rules; a little less, for clocks differ and calls take time.
_SHORTEST_SESSION: Final = timedelta(minutes=35)
_LONGEST_SESSION: Final = timedelta(hours=24) - timedelta(minutes=5)
_NOTICE_TOLERANCE_SECONDS: Final = 300
_MAX_NAME_LENGTH: Final = 250
_CLOCKS_DIFFER: Final = timedelta(hours=1)
# The most that Stripe lists at once; of one payment, or of one customer since a purchase was started, there are fewer.
_MOST_FOUND: Final = 100
_SESSION_PREFIX: Final = "cs_"


class StripeGateway:
    """See PaymentGateway. `own_url` is the broker's public HTTP address, for purchases without a return_url."""

    name = "stripe"

    def __init__(self, *, secret_key: str, webhook_secret: str, api_url: str, own_url: str) -> None:
        self._http = new_http_client()
        self._client = new_client(secret_key, api_url, self._http)
        self._webhook_secret = webhook_secret
        self._own_url = own_url
        self._reader = NoticeReader(self._client)

    def takes(self, currency: str) -> bool:
        """See PaymentGateway."""
        return stripe_amounts.is_taken(currency)

    def refund_step_minor_units(self, currency: str) -> int:
        """See PaymentGateway."""
        return stripe_amounts.step_minor_units(currency)

    async def create_checkout(self, purchase: Purchase) -> Checkout:
        """See PaymentGateway."""
        parameters = self._session(purchase)
        try:
            with explaining_failures():
                answer = await self._client.v1.checkout.sessions.create_async(
                    parameters, {"idempotency_key": purchase.purchase_id}
                )
        except stripe.CardError as error:
            raise PaymentDeclinedError(f"Stripe refuses the request: {decline_reason(error)}") from error
        session = read_answer(answer)
        if not session.url:
            raise GatewayError("Stripe gave no address to pay at")
        return Checkout(url=session.url, gateway_reference=session.id)

    async def refund(self, purchase: Purchase, refund: PurchaseRefund) -> GatewayNotice | None:
        """See PaymentGateway."""
        try:
            amount = stripe_amounts.to_stripe(refund.currency, refund.amount_minor_units)
            payment_id = await self._payment_of(purchase)
            made = await self._refund_made(payment_id, refund) or await self._make_refund(payment_id, refund, amount)
        except stripe.CardError as error:
            return _refund_refused(refund, decline_reason(error))
        except (PaymentDeclinedError, AmountNotPayableError) as error:
            return _refund_refused(refund, str(error))
        kind = refund_kind(made.status)
        return None if kind is None else _refund_notice(refund, kind, made.id, made.failure_reason or "")

    async def charge(self, purchase: Purchase, method: PaymentMethod) -> GatewayNotice | None:
        """See PaymentGateway."""
        try:
            amount = stripe_amounts.to_stripe(purchase.currency, purchase.price_minor_units)
            made = await self._payment_made(purchase, method)
            payment = made or await self._make_payment(purchase, method, amount)
        except stripe.CardError as error:
            return _charge_failed(purchase, decline_reason(error))
        except (PaymentDeclinedError, AmountNotPayableError) as error:
            return _charge_failed(purchase, str(error))
        match payment.status:
            case "succeeded":
                return _charge_succeeded(purchase, payment, method)
            case "processing":
                return None
            case _:
                # Declined, or the customer would have to come and confirm it, and nobody is there to ask.
                return _charge_failed(purchase, payment.decline_reason or payment.status or "", payment.id)

    async def was_charged(self, purchase: Purchase, method: PaymentMethod) -> bool:
        """See PaymentGateway."""
        return await self._payment_made(purchase, method) is not None

    async def notices(self, headers: Mapping[str, str], body: bytes) -> list[GatewayNotice]:
        """See PaymentGateway. Raises GatewayError, too: some events say only with Stripe's help what they are about."""
        try:
            # The library's own check; its event is not used, as it takes any JSON text for one.
            stripe.WebhookSignature.verify_header(
                body, headers.get("stripe-signature"), self._webhook_secret, _NOTICE_TOLERANCE_SECONDS
            )
        except stripe.SignatureVerificationError:
            raise NoticeInvalidError("its signature does not match, or is too old") from None
        except ValueError:
            raise NoticeInvalidError("it is no text") from None
        return await self._reader.read(body)

    async def close(self) -> None:
        """See PaymentGateway."""
        await self._http.close_async()  # type: ignore[no-untyped-call]  # as its base class declares it

    def _session(self, purchase: Purchase) -> "SessionCreateParams":
        try:
            amount = stripe_amounts.to_stripe(purchase.currency, purchase.price_minor_units)
        except AmountNotPayableError as error:
            raise PaymentDeclinedError(str(error)) from error
        back = purchase.return_url or f"{self._own_url}/checkout/{purchase.purchase_id}"
        names_purchase = {PURCHASE_KEY: purchase.purchase_id}
        session: SessionCreateParams = {
            "mode": "payment",
            "client_reference_id": purchase.purchase_id,
            "metadata": names_purchase,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": purchase.currency.lower(),
                        "unit_amount": amount,
                        "product_data": {
                            "name": purchase.pack_title[:_MAX_NAME_LENGTH],
                            "description": _description(purchase),
                        },
                    },
                }
            ],
            # What is charged has to be the price, in its own currency.
            "adaptive_pricing": {"enabled": False},
            "payment_intent_data": {"metadata": names_purchase},
            "success_url": back,
            "cancel_url": back,
            "expires_at": int(_session_expire_time(purchase).timestamp()),
        }
        if purchase.saves_method:
            session["customer_creation"] = "always"
            session["payment_intent_data"] = {"metadata": names_purchase, "setup_future_usage": "off_session"}
        return session

    async def _refund_made(self, payment_id: str, refund: PurchaseRefund) -> StripeThing | None:
        """Returns the refund if Stripe has it already."""
        found = await answered(self._client.v1.refunds.list_async({"payment_intent": payment_id, "limit": _MOST_FOUND}))
        return _noted(found.data, REFUND_KEY, refund.refund_id)

    async def _make_refund(self, payment_id: str, refund: PurchaseRefund, amount: int) -> StripeThing:
        with explaining_failures():
            answer = await self._client.v1.refunds.create_async(
                {
                    "payment_intent": payment_id,
                    "amount": amount,
                    "metadata": {PURCHASE_KEY: refund.purchase_id, REFUND_KEY: refund.refund_id},
                },
                {"idempotency_key": refund.refund_id},
            )
        return read_answer(answer)

    async def _payment_made(self, purchase: Purchase, method: PaymentMethod) -> StripeThing | None:
        """Returns the payment of a purchase if Stripe has it already."""
        since = int((purchase.create_time - _CLOCKS_DIFFER).timestamp())
        found = await answered(
            self._client.v1.payment_intents.list_async(
                {"customer": method.customer_reference, "created": {"gte": since}, "limit": _MOST_FOUND}
            )
        )
        return _noted(found.data, PURCHASE_KEY, purchase.purchase_id)

    async def _make_payment(self, purchase: Purchase, method: PaymentMethod, amount: int) -> StripeThing:
        with explaining_failures():
            answer = await self._client.v1.payment_intents.create_async(
                {
                    "amount": amount,
                    "currency": purchase.currency.lower(),
                    "customer": method.customer_reference,
                    "payment_method": method.method_reference,
                    "off_session": True,
                    "confirm": True,
                    "description": _description(purchase),
                    "metadata": {PURCHASE_KEY: purchase.purchase_id, OFF_SESSION: "true"},
                },
                {"idempotency_key": purchase.purchase_id},
            )
        return read_answer(answer)

    async def _payment_of(self, purchase: Purchase) -> str:
        """Returns the PaymentIntent of a paid purchase."""
        if not purchase.gateway_reference.startswith(_SESSION_PREFIX):
            return purchase.gateway_reference
        answer = await answered(self._client.v1.checkout.sessions.retrieve_async(purchase.gateway_reference))
        return id_of(read_answer(answer).payment_intent)


def _noted(found: Sequence[stripe.StripeObject], key: str, identity: str) -> StripeThing | None:
    return next((thing for thing in map(read_answer, found) if thing.noted(key) == identity), None)


def _session_expire_time(purchase: Purchase) -> datetime:
    created = purchase.create_time
    return min(max(purchase.checkout_expire_time, created + _SHORTEST_SESSION), created + _LONGEST_SESSION)


def _description(purchase: Purchase) -> str:
    return f"{purchase.credits} credits for {purchase.service}"


def _refund_refused(refund: PurchaseRefund, detail: str) -> GatewayNotice:
    return _refund_notice(refund, PaymentNoticeKind.REFUND_FAILED, "", detail)


def _refund_notice(refund: PurchaseRefund, kind: PaymentNoticeKind, reference: str, detail: str) -> GatewayNotice:
    return GatewayNotice(
        gateway_event_id=f"answer:{refund.refund_id}:{kind}",
        kind=kind,
        purchase_id=refund.purchase_id,
        refund_id=refund.refund_id,
        currency=refund.currency,
        amount_minor_units=refund.amount_minor_units,
        gateway_reference=reference,
        detail=detail,
    )


def _charge_failed(purchase: Purchase, detail: str, reference: str = "") -> GatewayNotice:
    return GatewayNotice(
        gateway_event_id=f"answer:{purchase.purchase_id}:failed",
        kind=PaymentNoticeKind.FAILED,
        purchase_id=purchase.purchase_id,
        gateway_reference=reference,
        detail=detail,
    )


def _charge_succeeded(purchase: Purchase, payment: StripeThing, method: PaymentMethod) -> GatewayNotice:
    return GatewayNotice(
        gateway_event_id=f"answer:{purchase.purchase_id}:succeeded",
        kind=PaymentNoticeKind.SUCCEEDED,
        purchase_id=purchase.purchase_id,
        currency=purchase.currency,
        amount_minor_units=stripe_amounts.from_stripe(purchase.currency, payment.amount_received or 0),
        gateway_reference=payment.id,
        method=method,
    )
