"""Automatic top-ups: when an account that runs low buys a pack by itself, and when it stops doing so.

One payment at a time: an attempt is written down before the gateway hears of it, under an id that follows from its
number, so that a crash in between leaves something to go on with and nothing is paid twice.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.identities import purchase_id_for
from broker_service.domain.records import Account, AccountState, Purchase

# How long to wait after the first, second … failed payment in a row; after one more it is paused.
WAITS_AFTER_FAILURE = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=3))

# How long a broker that works on a payment keeps it, and how often a gateway is asked again what became of it.
CLAIM = timedelta(minutes=1)


class AutoTopUpState(StrEnum):
    """Whether an account is topped up by itself."""

    OFF = "OFF"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


class AutoTopUp(Struct, frozen=True):
    """What a customer has agreed to for an account, and how it goes.

    It pays at `gateway` by the method that the customer had kept there then. `agreements` counts what the customer has
    agreed to, `attempts` payments ever tried, `failed_payments` those failed in a row. `pending_purchase_id` is the
    payment under way; from when it is `asked` for, the gateway alone knows what became of it. Before
    `next_attempt_time` nothing is done. What a month has cost is no part of it: that is the sum of the purchases.
    """

    account_id: str
    state: AutoTopUpState
    pack_id: str
    threshold_credits: int
    currency: str
    monthly_cap_minor_units: int
    consent: str
    consent_time: datetime
    gateway: str
    customer_reference: str
    method_reference: str
    failed_payments: int = 0
    next_attempt_time: datetime | None = None
    pending_purchase_id: str | None = None
    asked: bool = False
    attempts: int = 0
    agreements: int = 1

    @property
    def request_id(self) -> str:
        """The request_id of the latest attempt's purchase; no caller can have chosen it, for it is no UUID."""
        return f"auto-top-up {self.attempts}"


def agreed(
    before: AutoTopUp | None,
    *,
    account_id: str,
    pack_id: str,
    threshold_credits: int,
    currency: str,
    monthly_cap_minor_units: int,
    consent: str,
    gateway: str,
    customer_reference: str,
    method_reference: str,
    now: datetime,
) -> AutoTopUp:
    """Returns a top-up as the customer has agreed to it now.

    Failures so far are forgiven. A payment under way that the gateway was asked for goes on, by the method it was asked
    with: by another one it could be paid twice.
    """
    if before is not None and before.asked:
        gateway, customer_reference = before.gateway, before.customer_reference
        method_reference = before.method_reference
    return AutoTopUp(
        account_id=account_id,
        state=AutoTopUpState.ACTIVE,
        pack_id=pack_id,
        threshold_credits=threshold_credits,
        currency=currency,
        monthly_cap_minor_units=monthly_cap_minor_units,
        consent=consent,
        consent_time=now,
        gateway=gateway,
        customer_reference=customer_reference,
        method_reference=method_reference,
        pending_purchase_id=None if before is None else before.pending_purchase_id,
        asked=before is not None and before.asked,
        attempts=0 if before is None else before.attempts,
        agreements=1 if before is None else before.agreements + 1,
    )


def turned_off(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up that buys no more; what was agreed to stays on record."""
    return replace(top_up, state=AutoTopUpState.OFF)


def paused(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up that waits for the customer to set it again, with no payment under way; OFF stays OFF."""
    state = AutoTopUpState.PAUSED if top_up.state is AutoTopUpState.ACTIVE else top_up.state
    return replace(withdrawn(top_up), state=state, next_attempt_time=None)


def withdrawn(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up without the payment under way, which nobody has been asked for; that is no failure."""
    return replace(top_up, pending_purchase_id=None, asked=False)


def is_wanted(top_up: AutoTopUp, purchase: Purchase, account: Account, *, spent_minor_units: int) -> bool:
    """Tells whether the payment under way is what the customer still agrees to, for an account that is still low.

    `spent_minor_units` is what the top-ups of the purchase's month have cost, itself included.
    """
    return (
        top_up.state is AutoTopUpState.ACTIVE
        and account.state is AccountState.ACTIVE
        and account.balance.available_credits < top_up.threshold_credits
        and purchase.pack_id == top_up.pack_id
        and purchase.gateway == top_up.gateway
        and spent_minor_units <= top_up.monthly_cap_minor_units
    )


def may_buy(top_up: AutoTopUp, *, price_minor_units: int, spent_minor_units: int, now: datetime) -> bool:
    """Tells whether an account below its threshold may buy now.

    `spent_minor_units` is what this month's top-ups have cost, those being paid included.
    """
    return (
        top_up.state is AutoTopUpState.ACTIVE
        and top_up.pending_purchase_id is None
        and is_due(top_up, now)
        and spent_minor_units + price_minor_units <= top_up.monthly_cap_minor_units
    )


def is_due(top_up: AutoTopUp, now: datetime) -> bool:
    """Tells whether anything may be done for it now."""
    return top_up.next_attempt_time is None or top_up.next_attempt_time <= now


def begun(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up with another payment under way."""
    top_up = replace(top_up, attempts=top_up.attempts + 1, asked=False)
    return replace(top_up, pending_purchase_id=purchase_id_for(top_up.account_id, top_up.request_id))


def claimed(top_up: AutoTopUp, now: datetime) -> AutoTopUp:
    """Returns a top-up that one broker works on, and is left alone by others and for a while by it, too."""
    return replace(top_up, next_attempt_time=now + CLAIM)


def paid(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up whose payment under way came."""
    return replace(withdrawn(top_up), failed_payments=0, next_attempt_time=None)


def failed(top_up: AutoTopUp, now: datetime) -> AutoTopUp:
    """Returns a top-up whose payment under way failed: it waits, longer each time, and in the end is paused."""
    failures = top_up.failed_payments + 1
    after = replace(withdrawn(top_up), failed_payments=failures, next_attempt_time=None)
    if top_up.state is not AutoTopUpState.ACTIVE:
        return after
    if failures > len(WAITS_AFTER_FAILURE):
        return paused(after)
    return replace(after, next_attempt_time=now + WAITS_AFTER_FAILURE[failures - 1])


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """Returns the first instants of a calendar month in UTC and of the one after."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)
