"""Reserve, Capture and Release.

Each rule checks in the contract's order (existence, replay, suspension, state, amounts, credits) and raises a
Refusal; behind its last check nothing can fail, and it returns what changes.
"""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.commands import Capture, Release, Reserve
from broker_service.domain.errors import (
    AccountNotFound,
    AccountSuspended,
    CaptureExceedsReservation,
    InsufficientCredits,
    InvalidField,
    ProviderSuspended,
    RequestIdReused,
    ReservationCaptured,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)
from broker_service.domain.grants import allocate
from broker_service.domain.records import (
    Account,
    AccountState,
    Balance,
    Operation,
    Reservation,
    ReservationState,
)
from broker_service.domain.resolution import resolve


class ReservationResult(Struct, frozen=True):
    """A reservation and its account's balance, as they stand after the command.

    `captured_credits` and `released_credits` are what the command moved, or on a replay what the first try moved.
    """

    reservation: Reservation
    balance: Balance
    captured_credits: int = 0
    released_credits: int = 0
    replayed: bool = False


def decide_reserve(book: Book, command: Reserve, now: datetime) -> tuple[Changes, ReservationResult]:
    """Sets credits aside. A replay gets the reservation and the balance as they now stand."""
    account = _account_of(book)
    first = book.reservations.get(command.reservation_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="Reserve")
        return Changes(), ReservationResult(first, account.balance, replayed=True)
    # A field rule, but one that may change between tries; so a replay comes first.
    ttl = command.ttl or command.default_ttl
    if ttl > command.max_ttl:
        raise InvalidField(field="ttl", description=f"must be at most the service's max_ttl, {command.max_ttl}")
    if command.provider_suspended:
        raise ProviderSuspended(provider_id=command.provider_id)
    if account.state is AccountState.SUSPENDED:
        raise AccountSuspended(account_id=account.account_id)
    if command.credits > account.balance.available_credits:
        raise InsufficientCredits(
            service=account.service,
            available=account.balance.available_credits,
            required=command.credits,
        )
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
    reservation = _reservation_of(book, command)
    replay = _replay(book, command, "Capture", reservation)
    if replay is not None:
        return Changes(), replay
    _refuse_unless_active(reservation)
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
    return _recorded(changes, command, now, reservation)


def decide_release(book: Book, command: Release, now: datetime) -> tuple[Changes, ReservationResult]:
    """Gives all that is still reserved back to the grants it came from."""
    reservation = _reservation_of(book, command)
    replay = _replay(book, command, "Release", reservation)
    if replay is not None:
        return Changes(), replay
    _refuse_unless_active(reservation)
    # Nothing can be refused from here on.
    changes = resolve(
        book,
        reservation,
        now,
        captured_credits=0,
        final_state=ReservationState.RELEASED,
        resolve_time=now,
    )
    return _recorded(changes, command, now, reservation)


def _account_of(book: Book) -> Account:
    if book.account is None:
        raise AccountNotFound(account_id=book.account_id)
    return book.account


def _reservation_of(book: Book, command: Capture | Release) -> Reservation:
    reservation = book.reservations.get(command.reservation_id)
    if reservation is None or reservation.provider_id != command.provider_id:
        raise ReservationNotFound(reservation_id=command.reservation_id)
    return reservation


def _replay(book: Book, command: Capture | Release, rpc: str, reservation: Reservation) -> ReservationResult | None:
    operation = book.operations.get(command.operation_id)
    if operation is None:
        return None
    if operation.fingerprint != command.fingerprint:
        raise RequestIdReused(request_id=command.request_id, rpc=rpc)
    return ReservationResult(
        reservation,
        _account_of(book).balance,
        captured_credits=operation.captured_credits,
        released_credits=operation.released_credits,
        replayed=True,
    )


def _refuse_unless_active(reservation: Reservation) -> None:
    match reservation.state:
        case ReservationState.CAPTURED:
            raise ReservationCaptured(reservation_id=reservation.reservation_id)
        case ReservationState.RELEASED:
            raise ReservationReleased(reservation_id=reservation.reservation_id)
        case ReservationState.EXPIRED:
            raise ReservationExpired(
                reservation_id=reservation.reservation_id,
                expire_time=reservation.expire_time.isoformat().replace("+00:00", "Z"),
            )
        case ReservationState.ACTIVE:
            return


def _recorded(
    changes: Changes, command: Capture | Release, now: datetime, before: Reservation
) -> tuple[Changes, ReservationResult]:
    """Adds the record that a replay is answered from."""
    (after,) = changes.reservations
    operation = Operation(
        account_id=command.account_id,
        operation_id=command.operation_id,
        kind=type(command).__name__,
        fingerprint=command.fingerprint,
        captured_credits=after.captured_credits - before.captured_credits,
        released_credits=after.released_credits - before.released_credits,
        time=now,
    )
    account = changes.account
    if account is None:
        raise AccountNotFound(account_id=command.account_id)
    return (
        replace(changes, operations=(operation,)),
        ReservationResult(
            after,
            account.balance,
            captured_credits=operation.captured_credits,
            released_credits=operation.released_credits,
        ),
    )
