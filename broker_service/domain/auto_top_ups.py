"""Automatic top-ups: when an account that runs low buys a pack by itself, and when it stops doing so.

One payment at a time: an attempt is written down before the gateway hears of it, under an id that follows from its
number, so that a crash in between leaves something to go on with and nothing is paid twice.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.identities import purchase_id_for

# How long to wait after the first, second … failed payment in a row; after one more it is paused.
WAITS_AFTER_FAILURE = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=3))


class AutoTopUpState(StrEnum):
    """Whether an account is topped up by itself."""

    OFF = "OFF"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


class AutoTopUp(Struct, frozen=True):
    """What a customer has agreed to for an account, and how it goes.

    `attempts` counts payments ever tried, `failed_payments` those failed in a row. `pending_purchase_id` is the payment
    under way. What a month has cost is no part of it: that is the sum of the purchases themselves.
    """

    account_id: str
    state: AutoTopUpState
    pack_id: str
    threshold_credits: int
    currency: str
    monthly_cap_minor_units: int
    consent: str
    consent_time: datetime
    failed_payments: int = 0
    next_attempt_time: datetime | None = None
    pending_purchase_id: str | None = None
    attempts: int = 0

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
    now: datetime,
) -> AutoTopUp:
    """Returns a top-up as the customer has agreed to it now.

    Failures so far are forgiven, a payment under way goes on.
    """
    return AutoTopUp(
        account_id=account_id,
        state=AutoTopUpState.ACTIVE,
        pack_id=pack_id,
        threshold_credits=threshold_credits,
        currency=currency,
        monthly_cap_minor_units=monthly_cap_minor_units,
        consent=consent,
        consent_time=now,
        pending_purchase_id=None if before is None else before.pending_purchase_id,
        attempts=0 if before is None else before.attempts,
    )


def turned_off(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up that buys no more; what was agreed to stays on record."""
    return replace(top_up, state=AutoTopUpState.OFF, next_attempt_time=None)


def paused(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up that waits for the customer to set it again, with no payment under way."""
    return replace(top_up, state=AutoTopUpState.PAUSED, next_attempt_time=None, pending_purchase_id=None)


def may_buy(top_up: AutoTopUp, *, price_minor_units: int, spent_minor_units: int, now: datetime) -> bool:
    """Tells whether an account below its threshold may buy now.

    `spent_minor_units` is what this month's top-ups have cost, those being paid included.
    """
    return (
        top_up.state is AutoTopUpState.ACTIVE
        and top_up.pending_purchase_id is None
        and (top_up.next_attempt_time is None or top_up.next_attempt_time <= now)
        and spent_minor_units + price_minor_units <= top_up.monthly_cap_minor_units
    )


def begun(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up with another payment under way."""
    top_up = replace(top_up, attempts=top_up.attempts + 1)
    return replace(top_up, pending_purchase_id=purchase_id_for(top_up.account_id, top_up.request_id))


def paid(top_up: AutoTopUp) -> AutoTopUp:
    """Returns a top-up whose payment under way came."""
    return replace(top_up, failed_payments=0, next_attempt_time=None, pending_purchase_id=None)


def failed(top_up: AutoTopUp, now: datetime) -> AutoTopUp:
    """Returns a top-up whose payment under way failed: it waits, longer each time, and in the end is paused."""
    failures = top_up.failed_payments + 1
    after = replace(top_up, failed_payments=failures, pending_purchase_id=None)
    if top_up.state is not AutoTopUpState.ACTIVE:
        return after
    if failures > len(WAITS_AFTER_FAILURE):
        return paused(after)
    return replace(after, next_attempt_time=now + WAITS_AFTER_FAILURE[failures - 1])


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """Returns the first instants of a calendar month in UTC and of the one after."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)
