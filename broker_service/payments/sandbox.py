"""The sandbox gateway: payments that move no money, completed by whoever plays the payer.

It keeps nothing: what it answers follows from the ids it is asked about, so that asking again after a crash gets the
same. A notice that it still owes is lost with its process, as with a gateway that never got round to telling.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

from broker_service.domain.purchase_commands import SANDBOX
from broker_service.domain.records import PaymentNoticeKind, Purchase, PurchaseRefund
from broker_service.payments.gateway import Checkout, GatewayNotice, PaymentMethod
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

Deliver = Callable[[GatewayNotice], Awaitable[object]]


class SandboxBehavior(StrEnum):
    """What it is like to do business with.

    SUCCEED: it does what it is asked and says so at once. INSTANT: as well, and purchases are paid when they are
    started, by nobody. FAIL: it refuses refunds and charges. DELAY: payments, refunds and charges succeed, and are told
    of later. TWICE: it tells of each twice.
    """

    SUCCEED = "succeed"
    INSTANT = "instant"
    FAIL = "fail"
    DELAY = "delay"
    TWICE = "twice"


class SandboxGateway:
    """See PaymentGateway. `currencies` None: it takes all. `public_address` is where the broker's pages are, if any."""

    name = SANDBOX

    def __init__(
        self,
        *,
        behavior: SandboxBehavior = SandboxBehavior.SUCCEED,
        delay_seconds: float = 0.0,
        public_address: str = "",
        currencies: frozenset[str] | None = None,
    ) -> None:
        self._behavior = behavior
        self._delay_seconds = delay_seconds
        self._public_address = public_address.rstrip("/")
        self._currencies = currencies
        self._deliver: Deliver | None = None
        self._owed: set[asyncio.Task[None]] = set()

    def deliver_to(self, deliver: Deliver) -> None:
        """Says who is told of what does not come as an answer."""
        self._deliver = deliver

    @property
    def delays(self) -> bool:
        """Whether a payment is told of later."""
        return self._behavior is SandboxBehavior.DELAY

    def takes(self, currency: str) -> bool:
        """See PaymentGateway."""
        return self._currencies is None or currency in self._currencies

    def refund_step_minor_units(self, currency: str) -> int:
        """See PaymentGateway."""
        return 1

    async def create_checkout(self, purchase: Purchase) -> Checkout:
        """See PaymentGateway. Without pages, the URL says to call CompleteSandboxPayment."""
        place = f"{self._public_address}/checkout/" if self._public_address else f"{SANDBOX}:"
        payment = _payment_of(purchase) if self._behavior is SandboxBehavior.INSTANT else None
        return Checkout(f"{place}{purchase.purchase_id}", gateway_reference="", notice=payment)

    def payment_completed(self, notice: GatewayNotice) -> None:
        """Tells of a payment that the broker was told of when the payer made it, as often and as late as it does."""
        if self._behavior in (SandboxBehavior.DELAY, SandboxBehavior.TWICE):
            self._tell_later(notice)

    async def refund(self, purchase: Purchase, refund: PurchaseRefund) -> GatewayNotice | None:
        """See PaymentGateway."""
        refuses = self._behavior is SandboxBehavior.FAIL
        return self._answer(
            GatewayNotice(
                gateway_event_id=f"refund:{refund.refund_id}",
                kind=PaymentNoticeKind.REFUND_FAILED if refuses else PaymentNoticeKind.REFUND_SUCCEEDED,
                purchase_id=purchase.purchase_id,
                refund_id=refund.refund_id,
                currency=refund.currency,
                amount_minor_units=refund.amount_minor_units,
                gateway_reference=f"{SANDBOX}:{refund.refund_id}",
                detail="the sandbox refuses" if refuses else "",
            )
        )

    async def charge(self, purchase: Purchase, method: PaymentMethod) -> GatewayNotice | None:
        """See PaymentGateway."""
        refuses = self._behavior is SandboxBehavior.FAIL
        return self._answer(
            GatewayNotice(
                gateway_event_id=f"charge:{purchase.purchase_id}",
                kind=PaymentNoticeKind.FAILED if refuses else PaymentNoticeKind.SUCCEEDED,
                purchase_id=purchase.purchase_id,
                currency=purchase.currency,
                amount_minor_units=purchase.price_minor_units,
                gateway_reference=f"{SANDBOX}:{purchase.purchase_id}",
                method=None if refuses else method,
                detail="the sandbox refuses" if refuses else "",
            )
        )

    async def was_charged(self, purchase: Purchase, method: PaymentMethod) -> bool:
        """See PaymentGateway. What it was asked for it has answered, and it keeps nothing."""
        return False

    async def notices(self, headers: Mapping[str, str], body: bytes) -> list[GatewayNotice]:
        """See PaymentGateway. The sandbox sends none over HTTP."""
        return []

    async def close(self) -> None:
        """Forgets the notices it still owes."""
        for task in list(self._owed):
            task.cancel()
        if self._owed:
            await asyncio.wait(self._owed)

    def _answer(self, notice: GatewayNotice) -> GatewayNotice | None:
        if self._behavior is SandboxBehavior.DELAY:
            self._tell_later(notice)
            return None
        if self._behavior is SandboxBehavior.TWICE:
            self._tell_later(notice)
        return notice

    def _tell_later(self, notice: GatewayNotice) -> None:
        task = asyncio.create_task(self._tell(notice), name="sandbox-notice")
        self._owed.add(task)
        task.add_done_callback(self._owed.discard)

    async def _tell(self, notice: GatewayNotice) -> None:
        await asyncio.sleep(self._delay_seconds)
        try:
            if self._deliver is not None:
                await self._deliver(notice)
        except Exception as error:  # noqa: BLE001 - whatever has happened: nobody waits for it, and it is not repeated
            logger.warning("sandbox.notice_lost", kind=notice.kind.value, cause=str(error))


def _payment_of(purchase: Purchase) -> GatewayNotice:
    return GatewayNotice(
        gateway_event_id=f"instant:{purchase.purchase_id}",
        kind=PaymentNoticeKind.SUCCEEDED,
        purchase_id=purchase.purchase_id,
        currency=purchase.currency,
        amount_minor_units=purchase.price_minor_units,
        gateway_reference=f"{SANDBOX}:{purchase.purchase_id}",
        method=PaymentMethod(f"{SANDBOX}:{purchase.account_id}", SANDBOX),
    )
