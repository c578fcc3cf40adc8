"""What time alone has done to an account.

Expiry is a predicate, true from the instant on whether or not anybody has written it down. Every look at an account
starts here, so that all rules behind it see credits as they are.
"""

from collections.abc import Iterator
from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.events import reservation_expired, with_low_balance
from broker_service.domain.grants import without_free_credits
from broker_service.domain.records import Counterpart, EntryKind, Grant, Reservation, ReservationState
from broker_service.domain.resolution import resolve


def expire(book: Book, now: datetime) -> list[Changes]:
    """Brings a book to `now`, and returns what that changed, in order: overdue reservations, then spent grants."""
    written = []
    for expired in _expiries(book, now):
        changes = expired if book.account is None else with_low_balance(book.account, expired)
        book.apply(changes)
        written.append(changes)
    return written


def _expiries(book: Book, now: datetime) -> Iterator[Changes]:
    overdue = [row for row in book.reservations.values() if row.is_overdue(now)]
    for reservation in sorted(overdue, key=lambda row: (row.expire_time, row.reservation_id)):
        yield _expire_reservation(book, reservation, now)
    for grant in list(book.grants.values()):
        if grant.free_credits > 0 and grant.is_expired(now):
            yield _expire_grant(book, grant, now)


def _expire_reservation(book: Book, reservation: Reservation, now: datetime) -> Changes:
    changes = resolve(
        book,
        reservation,
        now,
        captured_credits=0,
        final_state=ReservationState.EXPIRED,
        resolve_time=reservation.expire_time,
    )
    if changes.account is None:
        return changes
    event = reservation_expired(changes.account, reservation, released_credits=reservation.open_credits)
    return replace(changes, events=(event,))


def _expire_grant(book: Book, grant: Grant, now: datetime) -> Changes:
    if book.account is None:
        return Changes()
    account, entries = write_entries(
        book.account,
        now,
        EntryDraft(
            EntryKind.EXPIRY,
            -grant.free_credits,
            Counterpart.EXPIRED,
            purchase_id=grant.purchase_id,
            description="credits expired",
        ),
    )
    return Changes(account=account, grants=(without_free_credits(grant),), entries=entries)
