"""What is told of what has happened: one function for each type of event.

An event is written with its cause. Its id follows from that, so it is there once. Amounts of money are in minor units,
with their currency beside them. docs/events.md lists the data of each.
"""

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.identities import event_id_for
from broker_service.domain.records import Account, Event, EventType, Payout, Purchase, PurchaseRefund, Reservation

# Beyond it a JSON number, and a number of a protobuf Struct, may be read as another one (RFC 8259, section 6).
_LARGEST_EXACT_NUMBER = 2**53


def purchase_paid(account: Account, purchase: Purchase, now: datetime) -> Event:
    """Tells that a purchase is paid and its credits are on the account."""
    data = {
        "purchase_id": purchase.purchase_id,
        "pack_id": purchase.pack_id,
        "origin": purchase.origin.value,
        "credits": purchase.credits,
        "currency": purchase.currency,
        "price_minor_units": purchase.price_minor_units,
        "commission_minor_units": purchase.commission_minor_units,
        "provider_share_minor_units": purchase.provider_share_minor_units,
        "ledger_credits": account.ledger_credits,
    }
    return _of_account(EventType.PURCHASE_PAID, purchase.purchase_id, account, data, now)


def purchase_refunded(
    account: Account, purchase: Purchase, refund: PurchaseRefund, now: datetime, *, reserved_credits: int = 0
) -> Event:
    """Tells that money of a purchase goes back, by a refund or a chargeback, and which credits went for it.

    `reserved_credits` are those of the purchase that reservations still hold, `used_credits` those gone otherwise.
    """
    left_credits = purchase.credits - purchase.refunded_credits
    data = {
        "purchase_id": purchase.purchase_id,
        "refund_id": refund.refund_id,
        "kind": refund.kind.value,
        "purchase_state": purchase.state.value,
        "credits": refund.credits,
        "reserved_credits": reserved_credits,
        "used_credits": left_credits - reserved_credits,
        "currency": refund.currency,
        "amount_minor_units": refund.amount_minor_units,
        "commission_minor_units": refund.commission_minor_units,
        "provider_share_minor_units": refund.share_minor_units,
        "ledger_credits": account.ledger_credits,
    }
    return _of_account(EventType.PURCHASE_REFUNDED, refund.refund_id, account, data, now)


def account_suspended(account: Account, cause_id: str, now: datetime) -> Event:
    """Tells that an account takes nothing new, and why. `cause_id` is what suspended it this time."""
    data = {"service": account.service, "reason": account.state_reason}
    return _of_account(EventType.ACCOUNT_SUSPENDED, cause_id, account, data, now)


def payout_created(payout: Payout) -> Event:
    """Tells a provider that its money is under way."""
    return Event(
        event_id=event_id_for(EventType.PAYOUT_CREATED, payout.payout_id),
        type=EventType.PAYOUT_CREATED,
        provider_id=payout.provider_id,
        customer_id="",
        account_id="",
        data={
            "payout_id": payout.payout_id,
            "currency": payout.currency,
            "amount_minor_units": payout.amount_minor_units,
        },
        time=payout.create_time,
    )


def reservation_expired(account: Account, reservation: Reservation, released_credits: int) -> Event:
    """Tells that a reservation's time ran out, at its `expire_time`, whenever that was written down."""
    data: Mapping[str, str | int] = {
        "reservation_id": reservation.reservation_id,
        "service": reservation.service,
        "released_credits": released_credits,
    }
    cause_id, time = reservation.reservation_id, reservation.expire_time
    return _of_account(EventType.RESERVATION_EXPIRED, cause_id, account, data, time)


def with_low_balance(before: Account, changes: Changes) -> Changes:
    """Adds balance.low to changes that take an account's ledger credits from its threshold or above to below it.

    A threshold of 0 is never crossed.
    """
    after = changes.account
    if after is None or not after.ledger_credits < before.low_balance_credits <= before.ledger_credits:
        return changes
    data: Mapping[str, str | int] = {
        "service": after.service,
        "ledger_credits": after.ledger_credits,
        "threshold_credits": before.low_balance_credits,
    }
    last = changes.entries[-1]
    cause_id = f"{after.account_id} {last.sequence}"
    return replace(
        changes, events=(*changes.events, _of_account(EventType.BALANCE_LOW, cause_id, after, data, last.time))
    )


def exact_data(event: Event) -> dict[str, str | int]:
    """Returns an event's data with whole numbers that readers might round as decimal text."""
    return {
        name: str(value) if isinstance(value, int) and abs(value) > _LARGEST_EXACT_NUMBER else value
        for name, value in event.data.items()
    }


def _of_account(
    event_type: EventType, cause_id: str, account: Account, data: Mapping[str, str | int], now: datetime
) -> Event:
    return Event(
        event_id=event_id_for(event_type, cause_id),
        type=event_type,
        provider_id=account.provider_id,
        customer_id=account.customer_id,
        account_id=account.account_id,
        data=data,
        time=now,
        entry_count=account.entry_count,
    )
