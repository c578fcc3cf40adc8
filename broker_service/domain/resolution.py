"""How credits leave a reservation: captured, released, expired."""

from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.entries import EntryDraft, taken_back_drafts, write_entries
from broker_service.domain.errors import InvariantError
from broker_service.domain.grants import take_and_return
from broker_service.domain.records import (
    Counterpart,
    EntryKind,
    Reservation,
    ReservationState,
)


def resolve(
    book: Book,
    reservation: Reservation,
    now: datetime,
    *,
    captured_credits: int,
    final_state: ReservationState,
    resolve_time: datetime,
) -> Changes:
    """Captures some of a reservation's open credits and returns the rest; with ACTIVE as the final state, keeps it.

    The caller has checked state and amounts: nothing is refused here.
    """
    account = book.account
    if account is None:
        raise InvariantError(f"reservation {reservation.reservation_id} belongs to no account")
    stays_open = final_state is ReservationState.ACTIVE
    resolution = take_and_return(
        reservation, book.grants, now, captured_credits=captured_credits, returns_rest=not stays_open
    )
    settled_reservation = replace(
        reservation,
        state=final_state,
        captured_credits=reservation.captured_credits + captured_credits,
        released_credits=reservation.released_credits + resolution.released_credits,
        allocations=resolution.allocations,
        resolve_time=None if stays_open else resolve_time,
    )
    account, entries = write_entries(
        replace(
            account,
            reserved_credits=account.reserved_credits - captured_credits - resolution.released_credits,
            update_time=now,
        ),
        now,
        EntryDraft(
            EntryKind.CAPTURE,
            -captured_credits,
            Counterpart.REDEEMED,
            reservation_id=reservation.reservation_id,
            description=reservation.description,
        ),
        EntryDraft(
            EntryKind.EXPIRY,
            -resolution.expired_credits,
            Counterpart.EXPIRED,
            reservation_id=reservation.reservation_id,
            description="released after the grant had expired",
        ),
        *taken_back_drafts(resolution.taken_back, reservation, "released after the purchase was charged back"),
    )
    return Changes(account=account, grants=resolution.grants, reservations=(settled_reservation,), entries=entries)
