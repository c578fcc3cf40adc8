"""Charge: Reserve and Capture in one step."""

from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_opened, refuse_if_suspended, refuse_unless_available
from broker_service.domain.commands import Charge
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.grants import spend
from broker_service.domain.outcomes import ReservationResult, replay_of_making
from broker_service.domain.records import Counterpart, EntryKind, Reservation, ReservationState


def decide_charge(book: Book, command: Charge, now: datetime) -> tuple[Changes, ReservationResult]:
    """Takes credits for good, by a reservation that is captured from the start; so it can be refunded like any other.

    A replay gets the reservation and the balance as they now stand, and what the first try took.
    """
    account = account_opened(book, command, now)
    replay = replay_of_making(book, account, command)
    if replay is not None:
        return Changes(), replace(replay, captured_credits=command.credits)
    refuse_if_suspended(account, command)
    refuse_unless_available(account, command.credits)
    # Nothing can be refused from here on.
    allocations, grants = spend(book.grants.values(), command.credits, now)
    reservation = Reservation(
        account_id=account.account_id,
        reservation_id=command.reservation_id,
        provider_id=command.provider_id,
        service=account.service,
        state=ReservationState.CAPTURED,
        reserved_credits=command.credits,
        captured_credits=command.credits,
        released_credits=0,
        refunded_credits=0,
        allocations=allocations,
        fingerprint=command.fingerprint,
        create_time=now,
        expire_time=now,
        resolve_time=now,
        description=command.description,
        metadata=command.metadata,
    )
    account, entries = write_entries(
        account,
        now,
        EntryDraft(
            EntryKind.CAPTURE,
            -command.credits,
            Counterpart.REDEEMED,
            reservation_id=reservation.reservation_id,
            description=command.description,
        ),
    )
    return (
        Changes(account=account, grants=grants, reservations=(reservation,), entries=entries),
        ReservationResult(reservation, account.balance, captured_credits=command.credits),
    )
