"""What a command on a reservation comes to, and how the same command is answered again."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.commands import Capture, Charge, Extend, Refund, Release, Reserve
from broker_service.domain.errors import InvariantError, RequestIdReused
from broker_service.domain.records import Account, Balance, Operation, Reservation


class ReservationResult(Struct, frozen=True):
    """A reservation and its account's balance, as they stand after the command.

    The amounts are what the command moved, or on a replay what the first try moved.
    """

    reservation: Reservation
    balance: Balance
    captured_credits: int = 0
    released_credits: int = 0
    refunded_credits: int = 0
    replayed: bool = False


def replay_of_making(book: Book, account: Account, command: Reserve | Charge) -> ReservationResult | None:
    """Returns the answer to a command that has made its reservation before; None if it has not.

    Raises RequestIdReused if it was made with other parameters.
    """
    first = book.reservations.get(command.reservation_id)
    if first is None:
        return None
    if first.fingerprint != command.fingerprint:
        raise RequestIdReused(request_id=command.request_id, rpc=type(command).__name__)
    return ReservationResult(first, account.balance, replayed=True)


def replay_of(
    book: Book, command: Capture | Release | Extend | Refund, reservation: Reservation
) -> ReservationResult | None:
    """Returns the answer to a command that was carried out before; None if it was not.

    Raises RequestIdReused if it was carried out with other parameters.
    """
    operation = book.operations.get(command.operation_id)
    if operation is None:
        return None
    if operation.fingerprint != command.fingerprint:
        raise RequestIdReused(request_id=command.request_id, rpc=operation.kind)
    return ReservationResult(
        reservation,
        account_of(book).balance,
        captured_credits=operation.captured_credits,
        released_credits=operation.released_credits,
        refunded_credits=operation.refunded_credits,
        replayed=True,
    )


def recorded(
    changes: Changes, command: Capture | Release | Extend | Refund, now: datetime, before: Reservation
) -> tuple[Changes, ReservationResult]:
    """Adds the record that a replay is answered from to the changes of a reservation and its account."""
    account, (after,) = changes.account, changes.reservations
    if account is None:
        raise InvariantError(f"reservation {after.reservation_id} changes and its account does not")
    operation = Operation(
        account_id=command.account_id,
        operation_id=command.operation_id,
        kind=type(command).__name__,
        fingerprint=command.fingerprint,
        time=now,
        captured_credits=after.captured_credits - before.captured_credits,
        released_credits=after.released_credits - before.released_credits,
        refunded_credits=after.refunded_credits - before.refunded_credits,
    )
    return (
        replace(changes, operations=(operation,)),
        ReservationResult(
            after,
            account.balance,
            captured_credits=operation.captured_credits,
            released_credits=operation.released_credits,
            refunded_credits=operation.refunded_credits,
        ),
    )
