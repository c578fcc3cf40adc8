"""Extend: more time for a reservation, more credits, or both."""

from datetime import datetime

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import (
    account_of,
    refuse_if_suspended,
    refuse_longer_ttl,
    refuse_unless_active,
    refuse_unless_available,
    reservation_of,
)
from broker_service.domain.commands import Extend
from broker_service.domain.errors import InvalidField
from broker_service.domain.grants import allocate, merge
from broker_service.domain.outcomes import ReservationResult, recorded, replay_of
from broker_service.domain.records import MAX_CREDITS, Reservation


def decide_extend(book: Book, command: Extend, now: datetime) -> tuple[Changes, ReservationResult]:
    """Lets an active reservation live for `ttl` from now on, sets further credits aside for it, or both.

    A suspension stops only the credits: time for work that is under way spends nothing new.
    """
    reservation = reservation_of(book, command)
    replay = replay_of(book, command, reservation)
    if replay is not None:
        return Changes(), replay
    account = account_of(book)
    if command.ttl is not None:
        refuse_longer_ttl(command.ttl, command.max_ttl)
    if command.additional_credits > 0:
        refuse_if_suspended(account, command)
    refuse_unless_active(reservation)
    _refuse_above_the_largest_reservation(reservation, command.additional_credits)
    refuse_unless_available(account, command.additional_credits)
    # Nothing can be refused from here on.
    extended = reservation if command.ttl is None else replace(reservation, expire_time=now + command.ttl)
    changes = Changes(account=replace(account, update_time=now), reservations=(extended,))
    if command.additional_credits > 0:
        changes = _with_further_credits(book, changes, command.additional_credits, now)
    return recorded(changes, command, now, reservation)


def _refuse_above_the_largest_reservation(reservation: Reservation, additional_credits: int) -> None:
    """Keeps every amount of a reservation within what a Reserve, a Capture and a Refund can name."""
    if reservation.reserved_credits + additional_credits > MAX_CREDITS:
        raise InvalidField(
            field="additional_credits",
            description=f"must leave the reservation with at most {MAX_CREDITS} credits in all",
        )


def _with_further_credits(book: Book, changes: Changes, additional_credits: int, now: datetime) -> Changes:
    account, (reservation,) = account_of(book), changes.reservations
    added, grants = allocate(book.grants.values(), additional_credits, now)
    extended = replace(
        reservation,
        reserved_credits=reservation.reserved_credits + additional_credits,
        allocations=merge(reservation.allocations, added, book.grants),
    )
    account = replace(account, reserved_credits=account.reserved_credits + additional_credits, update_time=now)
    return Changes(account=account, grants=grants, reservations=(extended,))
