"""The rows of the ledger, as immutable values.

Credits are whole and money is in minor units. A rule never changes a record: it returns a new version.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

MAX_CREDITS = 10**12
MAX_BALANCE = 2**63 - 1
DEFAULT_TTL = timedelta(minutes=15)
MAX_TTL = timedelta(days=30)
DEFAULT_PRIORITY = 100


class AccountState(StrEnum):
    """Whether an account can be used."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class GrantKind(StrEnum):
    """Where granted credits came from."""

    PAID = "PAID"
    TRIAL = "TRIAL"
    PROMOTIONAL = "PROMOTIONAL"


class ReservationState(StrEnum):
    """What a reservation is doing."""

    ACTIVE = "ACTIVE"
    CAPTURED = "CAPTURED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


class EntryKind(StrEnum):
    """What moved ledger credits."""

    PURCHASE = "PURCHASE"
    TRIAL = "TRIAL"
    PROMOTIONAL = "PROMOTIONAL"
    CAPTURE = "CAPTURE"
    REFUND = "REFUND"
    EXPIRY = "EXPIRY"
    PURCHASE_REFUND = "PURCHASE_REFUND"


class Counterpart(StrEnum):
    """The other side of every entry: where an account's credits come from and go to."""

    ISSUED = "issued"
    REDEEMED = "redeemed"
    EXPIRED = "expired"
    REFUNDED_PURCHASE = "refunded_purchase"


class PurchaseState(StrEnum):
    """How far a purchase has come."""

    PENDING = "PENDING"
    PAID = "PAID"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    CHARGED_BACK = "CHARGED_BACK"


class PurchaseOrigin(StrEnum):
    """Who started a purchase."""

    CUSTOMER = "CUSTOMER"
    AUTO_TOP_UP = "AUTO_TOP_UP"


class Balance(Struct, frozen=True):
    """An account's credits at one instant."""

    ledger_credits: int
    reserved_credits: int

    @property
    def available_credits(self) -> int:
        """Credits free to be reserved."""
        return self.ledger_credits - self.reserved_credits


class Account(Struct, frozen=True):
    """One customer's credits for one service.

    `update_time` is the instant of its last change; `state_reason` is why the operator has put it into its state.
    Below `low_balance_credits` its customer is told; 0 is never.
    `token_epoch` grows whenever its tokens change: so whoever knows one from before can tell.
    """

    account_id: str
    customer_id: str
    provider_id: str
    service: str
    state: AccountState
    ledger_credits: int
    reserved_credits: int
    entry_count: int
    create_time: datetime
    update_time: datetime
    state_reason: str = ""
    low_balance_credits: int = 0
    token_epoch: int = 0

    @property
    def balance(self) -> Balance:
        """Its credits now."""
        return Balance(self.ledger_credits, self.reserved_credits)


class Grant(Struct, frozen=True):
    """Credits put on an account at one time, under one set of terms.

    Once its purchase is charged back it is `revoked`: credits that come back to it are taken off the account at once.
    """

    account_id: str
    grant_id: str
    kind: GrantKind
    priority: int
    credits: int
    remaining_credits: int
    reserved_credits: int
    expire_time: datetime | None
    purchase_id: str | None
    create_time: datetime
    revoked: bool = False

    @property
    def free_credits(self) -> int:
        """Remaining credits that no reservation has set aside."""
        return self.remaining_credits - self.reserved_credits

    def is_expired(self, now: datetime) -> bool:
        """Whether its free credits are gone."""
        return self.expire_time is not None and now >= self.expire_time


class Allocation(Struct, frozen=True, array_like=True):
    """A reservation's part of one grant, in the order of use; `captured_credits` include those refunded since."""

    grant_id: str
    reserved_credits: int
    captured_credits: int = 0
    refunded_credits: int = 0

    @property
    def uncaptured_credits(self) -> int:
        """What of it was not captured."""
        return self.reserved_credits - self.captured_credits

    @property
    def refundable_credits(self) -> int:
        """What of it was captured and not refunded since."""
        return self.captured_credits - self.refunded_credits


class Reservation(Struct, frozen=True):
    """Credits set aside on an account for one piece of work."""

    account_id: str
    reservation_id: str
    provider_id: str
    service: str
    state: ReservationState
    reserved_credits: int
    captured_credits: int
    released_credits: int
    refunded_credits: int
    allocations: tuple[Allocation, ...]
    fingerprint: str
    create_time: datetime
    expire_time: datetime
    resolve_time: datetime | None
    description: str
    metadata: Mapping[str, str]

    @property
    def open_credits(self) -> int:
        """What is still set aside; 0 once it is resolved."""
        return self.reserved_credits - self.captured_credits - self.released_credits

    def is_overdue(self, now: datetime) -> bool:
        """Whether it has expired, written down or not."""
        return self.state is ReservationState.ACTIVE and now >= self.expire_time


class Entry(Struct, frozen=True):
    """One immutable line of an account's ledger. `sequence` counts from 1 without gaps."""

    account_id: str
    sequence: int
    kind: EntryKind
    credits: int
    counterpart: Counterpart
    ledger_credits_after: int
    time: datetime
    reservation_id: str | None
    purchase_id: str | None
    description: str


class Operation(Struct, frozen=True):
    """The record of an answered request, so that a replay gets the amounts of the first outcome.

    `kind` is the RPC it came by.
    """

    account_id: str
    operation_id: str
    kind: str
    fingerprint: str
    time: datetime
    captured_credits: int = 0
    released_credits: int = 0
    refunded_credits: int = 0


class Purchase(Struct, frozen=True):
    """The sale of one pack to one account; the terms are the pack's and the rate's when it was started.

    `saves_method` is whether the gateway keeps how it is paid.
    `gateway_reference` is how the gateway names its payment, "" until the gateway has said so. What was refunded,
    chargebacks included, counts up to the credits, the price and the commission. `chargeback_told` while a chargeback
    waits for the payment that it takes back.
    """

    account_id: str
    purchase_id: str
    provider_id: str
    service: str
    pack_id: str
    pack_title: str
    credits: int
    validity: timedelta | None
    currency: str
    price_minor_units: int
    commission_minor_units: int
    state: PurchaseState
    fingerprint: str
    create_time: datetime
    pay_time: datetime | None
    origin: PurchaseOrigin
    gateway: str
    gateway_reference: str
    checkout_url: str
    return_url: str
    checkout_expire_time: datetime
    refunded_credits: int = 0
    refunded_minor_units: int = 0
    refunded_commission_minor_units: int = 0
    saves_method: bool = False
    chargeback_told: bool = False

    @property
    def provider_share_minor_units(self) -> int:
        """What the broker owes the provider for it."""
        return self.price_minor_units - self.commission_minor_units


class PurchaseRefundKind(StrEnum):
    """Why money of a purchase goes back."""

    REFUND = "REFUND"
    CHARGEBACK = "CHARGEBACK"


class PurchaseRefundState(StrEnum):
    """How far the money has come on its way back."""

    REQUESTED = "REQUESTED"
    PAID = "PAID"
    FAILED = "FAILED"


class PurchaseRefund(Struct, frozen=True):
    """One return of money for a purchase, with the credits taken back for it.

    A refund is REQUESTED until the gateway has paid the customer back; a chargeback is PAID from the start.
    `times_returned` is how often its money was paid and came back, as from an account that is closed.
    """

    account_id: str
    refund_id: str
    purchase_id: str
    kind: PurchaseRefundKind
    state: PurchaseRefundState
    credits: int
    currency: str
    amount_minor_units: int
    commission_minor_units: int
    reason: str
    fingerprint: str
    gateway_reference: str
    create_time: datetime
    resolve_time: datetime | None
    times_returned: int = 0

    @property
    def share_minor_units(self) -> int:
        """The provider's part of it."""
        return self.amount_minor_units - self.commission_minor_units


class PaymentNoticeKind(StrEnum):
    """What a payment gateway tells."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REFUND_SUCCEEDED = "REFUND_SUCCEEDED"
    REFUND_FAILED = "REFUND_FAILED"
    CHARGED_BACK = "CHARGED_BACK"


class PaymentNoticeOutcome(StrEnum):
    """What came of a payment notice."""

    APPLIED = "APPLIED"
    IGNORED = "IGNORED"
    UNKNOWN_PURCHASE = "UNKNOWN_PURCHASE"
    WRONG_AMOUNT = "WRONG_AMOUNT"


class PaymentNotice(Struct, frozen=True):
    """What a gateway has told, and what came of it.

    `notice_id` follows from the gateway and its own id of the notice. `account_id` is "" where the purchase is unknown;
    currency and amount are None where it names none.
    """

    account_id: str
    notice_id: str
    gateway: str
    gateway_event_id: str
    kind: PaymentNoticeKind
    purchase_id: str
    currency: str | None
    amount_minor_units: int | None
    outcome: PaymentNoticeOutcome
    detail: str
    times_received: int
    receive_time: datetime


class SavedPaymentMethod(Struct, frozen=True):
    """How a customer has paid for an account before, in the gateway's words, for payments without the customer."""

    account_id: str
    gateway: str
    customer_reference: str
    method_reference: str
    create_time: datetime

    @property
    def method_id(self) -> str:
        """What tells it from others: an account has one at each gateway."""
        return f"{self.account_id} {self.gateway}"


class JournalKind(StrEnum):
    """What moves money."""

    SALE = "SALE"
    REFUND = "REFUND"
    REFUND_PAID = "REFUND_PAID"
    REFUND_RETURNED = "REFUND_RETURNED"
    CHARGEBACK = "CHARGEBACK"
    PAYOUT = "PAYOUT"
    PAYOUT_PAID = "PAYOUT_PAID"
    PAYOUT_FAILED = "PAYOUT_FAILED"


class Posting(Struct, frozen=True):
    """One side of a money movement: minor units onto (positive) or off (negative) a money account."""

    money_account: str
    currency: str
    amount_minor_units: int


class JournalEntry(Struct, frozen=True):
    """One movement of money in double entry; the postings sum to zero in each currency.

    It belongs to a purchase or to a payout, and to the provider of either.
    """

    journal_entry_id: str
    kind: JournalKind
    provider_id: str
    purchase_id: str | None
    payout_id: str | None
    time: datetime
    postings: tuple[Posting, ...]


class PayoutState(StrEnum):
    """How far a payout has come."""

    IN_TRANSIT = "IN_TRANSIT"
    PAID = "PAID"
    FAILED = "FAILED"


class Payout(Struct, frozen=True):
    """One transfer from the broker to a provider.

    `reference` is the bank's, or why it failed. `resolution_id` is that of the request that resolved it, and
    `resolution_fingerprint` tells that request's parameters from others.
    """

    payout_id: str
    provider_id: str
    currency: str
    amount_minor_units: int
    state: PayoutState
    reference: str
    fingerprint: str
    resolution_id: str | None
    resolution_fingerprint: str | None
    create_time: datetime
    resolve_time: datetime | None


class TrialClaim(Struct, frozen=True):
    """The fact that a customer has had a service's trial credits."""

    customer_id: str
    service: str
    account_id: str
    time: datetime


class AccountToken(Struct, frozen=True):
    """An account's secret, as the hash that is all the broker keeps of it."""

    token_hash: str
    account_id: str
    create_time: datetime
    expire_time: datetime | None


class EventType(StrEnum):
    """What can happen that others want to hear of."""

    PURCHASE_PAID = "purchase.paid"
    PURCHASE_REFUNDED = "purchase.refunded"
    BALANCE_LOW = "balance.low"
    RESERVATION_EXPIRED = "reservation.expired"
    PAYOUT_CREATED = "payout.created"
    ACCOUNT_SUSPENDED = "account.suspended"


class Event(Struct, frozen=True):
    """One thing that happened, for those it concerns; `data` is what there is to know of it, by type.

    Its id follows from its cause, so that it is written once. A payout has neither customer nor account ("").
    What of one account happened at one instant comes by `entry_count`, which is how many entries the account had then,
    and after that by `ordinal`, its number in its batch.
    """

    event_id: str
    type: EventType
    provider_id: str
    customer_id: str
    account_id: str
    data: Mapping[str, str | int]
    time: datetime
    entry_count: int = 0
    ordinal: int = 0
