"""What others are told of: one function for each type of event.

An event's id follows from its cause, so that a cause that is written down again makes no second event. Its data are
flat: text and whole numbers, by names that the contract uses too (docs/events.md).
"""

from collections.abc import Mapping

from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.identities import derived_suffix
from broker_service.domain.records import Account, Event, EventType, Reservation

# Beyond it a JSON number, and a number of a protobuf Struct, may be read as another one (RFC 8259, section 6).
_LARGEST_EXACT_NUMBER = 2**53


def exact_data(event: Event) -> dict[str, str | int]:
    """Returns an event's data with whole numbers that readers might round as decimal text."""
    return {
        name: str(value) if isinstance(value, int) and abs(value) > _LARGEST_EXACT_NUMBER else value
        for name, value in event.data.items()
    }


def reservation_expired(account: Account, reservation: Reservation, released_credits: int) -> Event:
    """A reservation's time ran out, at `expire_time`, whenever that was written down."""
    data: Mapping[str, str | int] = {
        "reservation_id": reservation.reservation_id,
        "service": reservation.service,
        "released_credits": released_credits,
    }
    return Event(
        _event_id(EventType.RESERVATION_EXPIRED, reservation.reservation_id),
        EventType.RESERVATION_EXPIRED,
        reservation.provider_id,
        account.customer_id,
        account.account_id,
        data,
        reservation.expire_time,
    )


def with_low_balance(before: Account, changes: Changes) -> Changes:
    """Adds balance.low to changes that take an account's ledger credits from its threshold or above to below it.

    A threshold of 0 is never crossed.
    """
    after = changes.account
    if after is None or not after.ledger_credits < before.low_balance_credits <= before.ledger_credits:
        return changes
    last = changes.entries[-1]
    data: Mapping[str, str | int] = {
        "service": after.service,
        "ledger_credits": after.ledger_credits,
        "threshold_credits": before.low_balance_credits,
    }
    event = Event(
        _event_id(EventType.BALANCE_LOW, after.account_id, str(last.sequence)),
        EventType.BALANCE_LOW,
        after.provider_id,
        after.customer_id,
        after.account_id,
        data,
        last.time,
    )
    return replace(changes, events=(*changes.events, event))


def _event_id(event_type: EventType, *cause: str) -> str:
    return f"evt_{derived_suffix(event_type, *cause)}"
