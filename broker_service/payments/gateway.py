"""What the broker asks of a payment gateway.

A gateway talks to the outside, so nothing here is called within a transaction. Every call may be repeated with the same
ids after a crash or a lost answer, and must then have the same effect once: the purchase's and the refund's ids are
the idempotency keys.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from broker_service.domain.records import PaymentNoticeKind, Purchase, PurchaseRefund


class GatewayError(Exception):
    """The gateway does not answer, or not in a way that tells what became of the request; it may be repeated."""


class PaymentDeclinedError(Exception):
    """The gateway has refused, for good. The message is for people, and free of secrets."""


class NoticeInvalidError(Exception):
    """What came is no notice of this gateway: badly signed, too old, or not to be understood."""


class Checkout(Struct, frozen=True):
    """Where a purchase is paid, and how the gateway names its payment.

    `notice` is what has become of the payment already, where nobody has to go there.
    """

    url: str
    gateway_reference: str
    notice: "GatewayNotice | None" = None


class PaymentMethod(Struct, frozen=True):
    """How a customer has paid before, in the gateway's words."""

    customer_reference: str
    method_reference: str


class GatewayNotice(Struct, frozen=True):
    """What a gateway tells of a payment or a refund, checked for its origin and not for its truth.

    `refund_id` is set for notices of refunds; currency and amount (minor units) are None where the gateway names none.
    `gateway_reference` and `method` are kept with what they belong to, for refunds and automatic top-ups later on.
    """

    gateway_event_id: str
    kind: PaymentNoticeKind
    purchase_id: str
    refund_id: str = ""
    currency: str | None = None
    amount_minor_units: int | None = None
    gateway_reference: str = ""
    method: PaymentMethod | None = None
    detail: str = ""


class PaymentGateway(Protocol):
    """Takes customers' money and gives it back. `name` is what purchases are stored with."""

    name: str

    def takes(self, currency: str) -> bool:
        """Tells whether payments in a currency (ISO 4217) are possible."""
        ...

    def refund_step_minor_units(self, currency: str) -> int:
        """Returns what parts of a payment that are paid back have to be multiples of, in minor units of a currency."""
        ...

    async def create_checkout(self, purchase: Purchase) -> Checkout:
        """Opens the place where a purchase is paid. Raises GatewayError, PaymentDeclinedError."""
        ...

    async def refund(self, purchase: Purchase, refund: PurchaseRefund) -> GatewayNotice | None:
        """Pays a customer back; returns what came of it, or None if a notice will tell. Raises GatewayError."""
        ...

    async def charge(self, purchase: Purchase, method: PaymentMethod) -> GatewayNotice | None:
        """Takes a purchase's price without the customer; returns as `refund` does. Raises GatewayError."""
        ...

    async def was_charged(self, purchase: Purchase, method: PaymentMethod) -> bool:
        """Tells whether a purchase was charged or is being, so that `charge` would make nothing new.

        Raises GatewayError.
        """
        ...

    async def notices(self, headers: Mapping[str, str], body: bytes) -> list[GatewayNotice]:
        """Returns what an HTTP request to this gateway's notice address tells; empty: nothing of interest.

        `headers` are by their lower-case names. Raises NoticeInvalidError.
        """
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...
