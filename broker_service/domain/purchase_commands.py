"""What can be asked of an account about its purchases; see commands.py for the others."""

from datetime import timedelta

from msgspec import Struct

from broker_service.domain.computed_once import computed_once
from broker_service.domain.fingerprints import fingerprint
from broker_service.domain.identities import (
    grant_id_for,
    notice_id_for,
    operation_id_for,
    purchase_id_for,
    purchase_refund_id_for,
)
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.records import PaymentNoticeKind, PurchaseOrigin

CHECKOUT_LIFETIME = timedelta(hours=24)


class PackTerms(Struct, frozen=True, dict=True):
    """What a pack offers and whether it can be bought now. Money in minor units of `currency`."""

    pack_id: str
    service: str
    provider_id: str
    title: str
    credits: int
    validity: timedelta | None
    currency: str
    price_minor_units: int
    commission_basis_points: int
    archived: bool
    service_retired: bool
    provider_suspended: bool


class StartPurchase(Struct, frozen=True, dict=True):
    """Starts the purchase of a pack for an account.

    `gateway` is the name of the one that takes the pack's currency, None if there is none.
    """

    request_id: str
    account_id: str
    pack: PackTerms
    return_url: str
    gateway: str | None = "sandbox"
    checkout_lifetime: timedelta = CHECKOUT_LIFETIME
    origin: PurchaseOrigin = PurchaseOrigin.CUSTOMER
    token: KnownToken | None = None
    saves_method: bool = False

    @computed_once
    def purchase_id(self) -> str:
        """The purchase it makes."""
        return purchase_id_for(self.account_id, self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters; the pack's terms and what the broker adds to them are frozen at the first try."""
        asked = (self.pack.pack_id, self.return_url)
        return fingerprint(*asked, self.saves_method) if self.saves_method else fingerprint(*asked)


class AttachCheckout(Struct, frozen=True, dict=True):
    """Keeps where a pending purchase is paid. Needs no id: the first checkout stays."""

    account_id: str
    purchase_id: str
    checkout_url: str
    gateway_reference: str


class CompleteSandboxPayment(Struct, frozen=True, dict=True):
    """Plays the payer's part at the sandbox: pays, or fails to.

    `delayed`: the sandbox only takes note, and its notice will tell.
    """

    request_id: str
    account_id: str
    purchase_id: str
    succeeded: bool
    delayed: bool = False

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "CompleteSandboxPayment", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.purchase_id, self.succeeded)

    @computed_once
    def notice(self) -> "TakePaymentNotice":
        """What the sandbox tells of it. A payer at the sandbox has a payment method that can be used again."""
        return TakePaymentNotice(
            account_id=self.account_id,
            gateway=SANDBOX,
            gateway_event_id=self.operation_id,
            kind=PaymentNoticeKind.SUCCEEDED if self.succeeded else PaymentNoticeKind.FAILED,
            purchase_id=self.purchase_id,
            gateway_reference=self.operation_id,
            customer_reference=f"{SANDBOX}:{self.account_id}" if self.succeeded else "",
            method_reference=SANDBOX if self.succeeded else "",
        )


class TakePaymentNotice(Struct, frozen=True, dict=True):
    """Takes what a gateway tells of a payment or of a refund, in the words of payments/gateway.py.

    `customer_reference` and `method_reference` are "" where it names no payment method.
    """

    account_id: str
    gateway: str
    gateway_event_id: str
    kind: PaymentNoticeKind
    purchase_id: str
    refund_id: str = ""
    currency: str | None = None
    amount_minor_units: int | None = None
    gateway_reference: str = ""
    customer_reference: str = ""
    method_reference: str = ""
    detail: str = ""

    @computed_once
    def notice_id(self) -> str:
        """Its record."""
        return notice_id_for(self.gateway, self.gateway_event_id, self.kind, self.purchase_id, self.refund_id)

    @computed_once
    def grant_id(self) -> str:
        """The grant of its purchase."""
        return grant_id_for(self.purchase_id)


class RefundPurchase(Struct, frozen=True, dict=True):
    """Gives the price of a purchase's unspent credits back, in whole steps that the purchase's gateway can pay."""

    request_id: str
    account_id: str
    purchase_id: str
    reason: str
    step_minor_units: int = 1

    @computed_once
    def refund_id(self) -> str:
        """The refund it makes, which is its record."""
        return purchase_refund_id_for(self.account_id, "RefundPurchase", self.request_id)

    @computed_once
    def grant_id(self) -> str:
        """The grant of its purchase."""
        return grant_id_for(self.purchase_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters; the step is the gateway's."""
        return fingerprint(self.purchase_id, self.reason)


class SettleRefund(Struct, frozen=True, dict=True):
    """Takes the operator's word that the customer has got the money of a refund by another way than the gateway."""

    request_id: str
    account_id: str
    purchase_id: str
    refund_id: str
    reference: str

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "MarkRefundPaid", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.refund_id, self.reference)

    @computed_once
    def notice(self) -> TakePaymentNotice:
        """How it is kept, among what gateways have told."""
        return TakePaymentNotice(
            account_id=self.account_id,
            gateway=OPERATOR,
            gateway_event_id=self.operation_id,
            kind=PaymentNoticeKind.REFUND_SUCCEEDED,
            purchase_id=self.purchase_id,
            refund_id=self.refund_id,
            detail=self.reference,
        )


SANDBOX = "sandbox"
# Who has paid a refund that a gateway would not.
OPERATOR = "operator"
PurchaseCommand = (
    StartPurchase | AttachCheckout | CompleteSandboxPayment | TakePaymentNotice | RefundPurchase | SettleRefund
)
