"""What several rules refuse, each check in one place.

A rule calls them in the contract's order: existence, replay, suspension, state, amounts, credits.
"""

from datetime import datetime, timedelta

from broker_service.domain.book import Book
from broker_service.domain.commands import Capture, Charge, Extend, Refund, Release, Reserve
from broker_service.domain.errors import (
    AccountNotFound,
    AccountSuspended,
    InsufficientCredits,
    InvalidField,
    ProviderSuspended,
    ReservationCaptured,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)
from broker_service.domain.purchase_commands import StartPurchase
from broker_service.domain.records import Account, AccountState, Reservation, ReservationState


def account_of(book: Book) -> Account:
    """Returns the book's account. Raises AccountNotFound."""
    if book.account is None:
        raise AccountNotFound(account_id=book.account_id)
    return book.account


def account_opened(book: Book, command: Reserve | Charge | StartPurchase, now: datetime) -> Account:
    """Returns the book's account, which the command's token, if it has one, must open now.

    Raises AccountNotFound, TokenOutdated.
    """
    account = account_of(book)
    if command.token is not None:
        command.token.check(account, now)
    return account


def reservation_of(book: Book, command: Capture | Release | Extend | Refund) -> Reservation:
    """Returns the reservation that a command names. Raises ReservationNotFound, also for another provider's."""
    reservation = book.reservations.get(command.reservation_id)
    if reservation is None or reservation.provider_id != command.provider_id:
        raise ReservationNotFound(reservation_id=command.reservation_id)
    return reservation


def refuse_longer_ttl(ttl: timedelta, max_ttl: timedelta) -> None:
    """Refuses a life longer than the service allows.

    A field rule, but one that may change between tries; so replays are answered before it.
    """
    if ttl > max_ttl:
        raise InvalidField(field="ttl", description=f"must be at most the service's max_ttl, {max_ttl}")


def refuse_if_suspended(account: Account, command: Reserve | Charge | Extend) -> None:
    """Refuses to set credits aside where the operator has stopped that."""
    if command.provider_suspended:
        raise ProviderSuspended(provider_id=command.provider_id)
    if account.state is AccountState.SUSPENDED:
        raise AccountSuspended(account_id=account.account_id)


def refuse_unless_active(reservation: Reservation) -> None:
    """Refuses what only an active reservation allows, and says what has become of it."""
    match reservation.state:
        case ReservationState.ACTIVE:
            return
        case ReservationState.CAPTURED:
            raise ReservationCaptured(reservation_id=reservation.reservation_id)
        case ReservationState.RELEASED:
            raise ReservationReleased(reservation_id=reservation.reservation_id)
        case ReservationState.EXPIRED:
            raise ReservationExpired(
                reservation_id=reservation.reservation_id,
                expire_time=reservation.expire_time.isoformat().replace("+00:00", "Z"),
            )


def refuse_unless_available(account: Account, required_credits: int) -> None:
    """Refuses more credits than the account has free."""
    available_credits = account.ledger_credits - account.reserved_credits
    if required_credits > available_credits:
        raise InsufficientCredits(service=account.service, available=available_credits, required=required_credits)
