"""Reserve, Capture and Release.

Each rule checks in the contract's order (existence, replay, suspension, state, amounts, credits) and raises a
Refusal; behind its last check nothing can fail, and it returns what changes. Charge, Extend and Refund, which go by
the same order, have modules of their own.
"""

from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import (
    account_opened,
    refuse_if_suspended,
    refuse_longer_ttl,
    refuse_unless_active,
    refuse_unless_available,
    reservation_of,
)
from broker_service.domain.commands import Capture, Release, Reserve
from broker_service.domain.errors import CaptureExceedsReservation
from broker_service.domain.grants import allocate
from broker_service.domain.outcomes import ReservationResult, recorded, replay_of, replay_of_making
from broker_service.domain.records import Reservation, ReservationState
from broker_service.domain.resolution import resolve


def decide_reserve(book: Book, command: Reserve, now: datetime) -> tuple[Changes, ReservationResult]:
    """Sets credits aside. A replay gets the reservation and the balance as they now stand."""
    account = account_opened(book, command, now)
    replay = replay_of_making(book, account, command)
    if replay is not None:
        return Changes(), replay
    ttl = command.ttl or command.default_ttl
    refuse_longer_ttl(ttl, command.max_ttl)
    refuse_if_suspended(account, command)
    refuse_unless_available(account, command.credits)
    # Nothing can be refused from here on.
    allocations, grants = allocate(book.grants.values(), command.credits, now)
    reservation = Reservation(
        account_id=account.account_id,
        reservation_id=command.reservation_id,
        provider_id=command.provider_id,
        service=account.service,
        state=ReservationState.ACTIVE,
        reserved_credits=command.credits,
        captured_credits=0,
        released_credits=0,
        refunded_credits=0,
        allocations=allocations,
        fingerprint=command.fingerprint,
        create_time=now,
        expire_time=now + ttl,
        resolve_time=None,
        description=command.description,
        metadata=command.metadata,
    )
    account = replace(account, reserved_credits=account.reserved_credits + command.credits, update_time=now)
    return (
        Changes(account=account, grants=grants, reservations=(reservation,)),
        ReservationResult(reservation, account.balance),
    )


def decide_capture(book: Book, command: Capture, now: datetime) -> tuple[Changes, ReservationResult]:
    """Takes reserved credits for good, and gives back the rest unless it is kept open."""
    reservation = reservation_of(book, command)
    replay = replay_of(book, command, reservation)
    if replay is not None:
        return Changes(), replay
    refuse_unless_active(reservation)
    captured_credits = reservation.open_credits if command.credits is None else command.credits
    if captured_credits > reservation.open_credits:
        raise CaptureExceedsReservation(
            reservation_id=reservation.reservation_id,
            reserved=reservation.open_credits,
            required=captured_credits,
        )
    # Nothing can be refused from here on.
    changes = resolve(
        book,
        reservation,
        now,
        captured_credits=captured_credits,
        final_state=ReservationState.ACTIVE if command.keep_open else ReservationState.CAPTURED,
        resolve_time=now,
    )
    return recorded(changes, command, now, reservation)


def decide_release(book: Book, command: Release, now: datetime) -> tuple[Changes, ReservationResult]:
    """Gives all that is still reserved back to the grants it came from."""
    reservation = reservation_of(book, command)
    replay = replay_of(book, command, reservation)
    if replay is not None:
        return Changes(), replay
    refuse_unless_active(reservation)
    # Nothing can be refused from here on.
    changes = resolve(
        book,
        reservation,
        now,
        captured_credits=0,
        final_state=ReservationState.RELEASED,
        resolve_time=now,
    )
    return recorded(changes, command, now, reservation)
