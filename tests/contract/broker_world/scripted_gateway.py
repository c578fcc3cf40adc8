"""A payment gateway that does what a test says, as an outside service might."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from broker_service.domain.records import PaymentNoticeKind, Purchase, PurchaseRefund
from broker_service.payments.gateway import Checkout, GatewayError, GatewayNotice, PaymentDeclinedError, PaymentMethod


class ScriptedGateway:
    """See PaymentGateway. It knows each checkout and refund by its id, and pays a refund once.

    `down`: nothing is answered. `declines`: checkouts, refunds and charges are refused for good. `silent`: refunds and
    charges are paid, and told of by a notice, which is for the test to deliver. `loses_answers`: refunds are paid, and
    nobody hears of it.
    """

    name = "scripted"

    def __init__(self, *currencies: str) -> None:
        self._currencies = currencies or ("EUR",)
        self.down = self.declines = self.silent = self.loses_answers = False
        self.checkouts: list[str] = []
        self.asked: list[str] = []
        self.paid: dict[str, int] = {}
        self.charged: list[str] = []
        self.received: set[str] = set()
        self._held: tuple[asyncio.Future[str], asyncio.Event] | None = None

    def takes(self, currency: str) -> bool:
        return currency in self._currencies

    def refund_step_minor_units(self, currency: str) -> int:
        return 1

    async def create_checkout(self, purchase: Purchase) -> Checkout:
        self.checkouts.append(purchase.purchase_id)
        self._fail_if_down()
        if self.declines:
            raise PaymentDeclinedError("not this pack")
        return Checkout(f"https://pay.example/{purchase.purchase_id}", f"ref-{purchase.purchase_id}")

    @asynccontextmanager
    async def held(self) -> AsyncIterator[asyncio.Future[str]]:
        """Answers no refund meanwhile; yields what will be the first purchase that it is asked to refund."""
        asked, released = asyncio.get_running_loop().create_future(), asyncio.Event()
        self._held = asked, released
        try:
            yield asked
        finally:
            self._held = None
            released.set()

    async def refund(self, purchase: Purchase, refund: PurchaseRefund) -> GatewayNotice | None:
        self.asked.append(refund.refund_id)
        if self._held is not None:
            asked, released = self._held
            if not asked.done():
                asked.set_result(purchase.purchase_id)
            await released.wait()
        self._fail_if_down()
        if not self.declines:
            self.paid[refund.refund_id] = refund.amount_minor_units
        if self.loses_answers:
            raise GatewayError("the connection broke")
        return None if self.silent else self.end_of(purchase, refund)

    def end_of(self, purchase: Purchase, refund: PurchaseRefund) -> GatewayNotice:
        """Returns what the gateway tells of a refund."""
        return GatewayNotice(
            gateway_event_id=f"evt-{refund.refund_id}",
            kind=PaymentNoticeKind.REFUND_FAILED if self.declines else PaymentNoticeKind.REFUND_SUCCEEDED,
            purchase_id=purchase.purchase_id,
            refund_id=refund.refund_id,
            currency=refund.currency,
            amount_minor_units=refund.amount_minor_units,
            gateway_reference=f"re-{refund.refund_id}",
        )

    async def charge(self, purchase: Purchase, method: PaymentMethod) -> GatewayNotice | None:
        self.charged.append(purchase.purchase_id)
        self._fail_if_down()
        self.received.add(purchase.purchase_id)
        return None if self.silent else self.payment_of(purchase, method)

    async def was_charged(self, purchase: Purchase, method: PaymentMethod) -> bool:
        self._fail_if_down()
        return purchase.purchase_id in self.received

    def payment_of(self, purchase: Purchase, method: PaymentMethod) -> GatewayNotice:
        """Returns what the gateway tells of a payment."""
        return GatewayNotice(
            gateway_event_id=f"evt-{purchase.purchase_id}",
            kind=PaymentNoticeKind.FAILED if self.declines else PaymentNoticeKind.SUCCEEDED,
            purchase_id=purchase.purchase_id,
            currency=purchase.currency,
            amount_minor_units=purchase.price_minor_units,
            gateway_reference=f"ref-{purchase.purchase_id}",
            method=None if self.declines else method,
        )

    async def notices(self, headers: Mapping[str, str], body: bytes) -> list[GatewayNotice]:
        return []

    async def close(self) -> None:
        pass

    def _fail_if_down(self) -> None:
        if self.down:
            raise GatewayError("no answer")
