"""Stripe's objects, in answers and events alike, as far as the broker reads them."""

from typing import Any

import msgspec
import stripe
from msgspec import Struct

from broker_service.payments.gateway import GatewayError

# An id, or the whole thing where Stripe has been asked to put it there.
Reference = str | dict[str, Any] | None


class StripeThing(Struct):
    """A Checkout Session, PaymentIntent, Refund, Charge or Dispute; a field is None where it has none or says none."""

    id: str
    metadata: dict[str, str] | None = None
    currency: str | None = None
    amount: int | None = None
    amount_total: int | None = None
    amount_received: int | None = None
    payment_status: str | None = None
    status: str | None = None
    failure_reason: str | None = None
    cancellation_reason: str | None = None
    last_payment_error: dict[str, Any] | None = None
    reason: str | None = None
    url: str | None = None
    charge: Reference = None
    payment_intent: Reference = None
    customer: Reference = None
    payment_method: Reference = None

    def noted(self, key: str) -> str:
        """Returns what its metadata says under a key, "" if nothing."""
        return (self.metadata or {}).get(key, "")

    @property
    def decline_reason(self) -> str:
        """Why a payment was declined, in Stripe's code; "" if it was not."""
        error = self.last_payment_error or {}
        return str(error.get("decline_code") or error.get("code") or "")


def read_answer(answer: stripe.StripeObject) -> StripeThing:
    """Returns what Stripe has answered. Raises GatewayError."""
    try:
        return msgspec.convert(answer.to_dict(), StripeThing)
    except msgspec.ValidationError:
        raise GatewayError("Stripe: its answer cannot be understood") from None


def id_of(reference: Reference) -> str:
    """Returns the id of what is referred to, "" of nothing."""
    return str(reference.get("id", "")) if isinstance(reference, dict) else reference or ""
