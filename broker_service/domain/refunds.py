"""Refund: captured credits go back to the grants they came from."""

from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of, reservation_of
from broker_service.domain.commands import Refund
from broker_service.domain.entries import EntryDraft, taken_back_drafts, write_entries
from broker_service.domain.errors import RefundExceedsCapture
from broker_service.domain.grants import give_back
from broker_service.domain.outcomes import ReservationResult, recorded, replay_of
from broker_service.domain.records import Counterpart, EntryKind, Reservation


def decide_refund(book: Book, command: Refund, now: datetime) -> tuple[Changes, ReservationResult]:
    """Gives captured credits back, whatever has become of the reservation since, and of the account.

    What comes back to a grant that has expired meanwhile goes on to `expired` in the same step, and to
    `refunded_purchase` if its purchase was charged back. A refund takes nothing from anybody's account, so no
    suspension stops it.
    """
    reservation = reservation_of(book, command)
    replay = replay_of(book, command, reservation)
    if replay is not None:
        return Changes(), replay
    refunded_credits = _refundable_credits(reservation, command)
    given_back = give_back(reservation, book.grants, now, refunded_credits=refunded_credits)
    account, entries = write_entries(  # Refuses a balance beyond 64 bits.
        account_of(book),
        now,
        EntryDraft(
            EntryKind.REFUND,
            refunded_credits,
            Counterpart.REDEEMED,
            reservation_id=reservation.reservation_id,
            description=command.reason,
        ),
        EntryDraft(
            EntryKind.EXPIRY,
            -given_back.expired_credits,
            Counterpart.EXPIRED,
            reservation_id=reservation.reservation_id,
            description="refunded after the grant had expired",
        ),
        *taken_back_drafts(given_back.taken_back, reservation, "refunded after the purchase was charged back"),
    )
    # Nothing can be refused from here on.
    refunded = replace(
        reservation,
        refunded_credits=reservation.refunded_credits + refunded_credits,
        allocations=given_back.allocations,
    )
    changes = Changes(account=account, grants=given_back.grants, reservations=(refunded,), entries=entries)
    return recorded(changes, command, now, reservation)


def _refundable_credits(reservation: Reservation, command: Refund) -> int:
    """Returns how many credits to give back. Raises RefundExceedsCapture, also if all is asked for and none is left."""
    refundable_credits = reservation.captured_credits - reservation.refunded_credits
    if command.credits is None and refundable_credits > 0:
        return refundable_credits
    required_credits = command.credits or 1
    if required_credits > refundable_credits:
        raise RefundExceedsCapture(
            reservation_id=reservation.reservation_id, captured=refundable_credits, required=required_credits
        )
    return required_credits
