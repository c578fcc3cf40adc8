"""Reading the ledger without changing it.

What is read is brought to `now` by the same rules that commands go by, so that nobody sees an expired reservation as
active because nobody has written it down yet.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, and_, literal_column, or_, select

from broker_service.domain.book import Book, latest_time
from broker_service.domain.errors import AccountNotFound, ReservationNotFound
from broker_service.domain.expiry import expire
from broker_service.domain.records import Account, Entry, Reservation, ReservationState
from broker_service.storage import tables
from broker_service.storage.ledger_rows import ACCOUNTS, ENTRIES, GRANTS, RESERVATIONS


@dataclass(frozen=True, slots=True)
class EntrySelection:
    """Which lines of a statement to read: after a sequence, in [start_time, end_time)."""

    after_sequence: int
    start_time: datetime | None
    end_time: datetime | None
    limit: int


@dataclass(frozen=True, slots=True)
class ReservationSelection:
    """Which reservations to read: in a state (None is any), older than the one named by `before`."""

    state: ReservationState | None
    before: tuple[datetime, str] | None
    limit: int


def book_of(connection: Connection, shard_id: int, account_id: str, now: datetime) -> Book:
    """Returns an account's book as of now. Raises AccountNotFound, InvariantError."""
    book = _load_book(connection, shard_id, account_id, now)
    book.check()
    expire(book, latest_time([book], now))
    return book


def has_unwritten_expiry(connection: Connection, shard_id: int, account_id: str, now: datetime) -> bool:
    """Tells whether time has taken credits off an account since its last entry. Raises AccountNotFound."""
    book = _load_book(connection, shard_id, account_id, now)
    return any(changes.entries for changes in expire(book, latest_time([book], now)))


def _load_book(connection: Connection, shard_id: int, account_id: str, now: datetime) -> Book:
    """Returns an account with its unspent grants and its overdue reservations. Raises AccountNotFound."""
    book = Book(account_id, account=stored_account(connection, shard_id, account_id))
    grants, reservations = tables.grants, tables.reservations
    unspent = select(grants).where(
        grants.c.shard_id == shard_id, grants.c.account_id == account_id, grants.c.spent.is_(False)
    )
    for row in connection.execute(unspent):
        book.grants[row.grant_id] = GRANTS.record_of_core(row)
    overdue = select(reservations).where(
        reservations.c.shard_id == shard_id,
        reservations.c.account_id == account_id,
        # A literal, for a partial index serves a statement only if the plan can see that it does.
        reservations.c.state == literal_column(f"'{ReservationState.ACTIVE.value}'"),
        reservations.c.expire_time <= latest_time([book], now),
    )
    for row in connection.execute(overdue):
        book.reservations[row.reservation_id] = RESERVATIONS.record_of_core(row)
    return book


def stored_account(connection: Connection, shard_id: int, account_id: str) -> Account:
    """Returns an account as it is stored: its balance may hold what has expired since. Raises AccountNotFound."""
    account = account_by_id(connection, shard_id, account_id)
    if account is None:
        raise AccountNotFound(account_id=account_id)
    return account


def accounts_by_ids(connection: Connection, shard_id: int, account_ids: Collection[str]) -> list[Account]:
    """Returns accounts of a shard as they are stored; their balances may hold what has expired since."""
    accounts = tables.accounts
    statement = select(accounts).where(accounts.c.shard_id == shard_id, accounts.c.account_id.in_(account_ids))
    return [ACCOUNTS.record_of_core(row) for row in connection.execute(statement)]


def account_by_id(connection: Connection, shard_id: int, account_id: str) -> Account | None:
    """Returns an account as it is stored; its balance may hold what has expired since."""
    accounts = tables.accounts
    row = connection.execute(
        select(accounts).where(accounts.c.shard_id == shard_id, accounts.c.account_id == account_id)
    ).one_or_none()
    return None if row is None else ACCOUNTS.record_of_core(row)


def reservation_by_id(
    connection: Connection, shard_id: int, account_id: str, reservation_id: str, now: datetime
) -> Reservation:
    """Returns a reservation as of now. Raises ReservationNotFound."""
    reservations = tables.reservations
    row = connection.execute(
        select(reservations).where(
            reservations.c.shard_id == shard_id,
            reservations.c.account_id == account_id,
            reservations.c.reservation_id == reservation_id,
        )
    ).one_or_none()
    if row is None:
        raise ReservationNotFound(reservation_id=reservation_id)
    return _as_of(RESERVATIONS.record_of_core(row), now)


def reservations_of(
    connection: Connection, shard_id: int, account_id: str, selection: ReservationSelection, now: datetime
) -> list[Reservation]:
    """Returns an account's reservations as of now, newest first."""
    reservations = tables.reservations
    conditions: list[ColumnElement[bool]] = []
    if selection.state is not None:
        conditions.append(_in_state(selection.state, now))
    if selection.before is not None:
        before_time, before_id = selection.before
        conditions.append(
            or_(
                reservations.c.create_time < before_time,
                and_(reservations.c.create_time == before_time, reservations.c.reservation_id < before_id),
            )
        )
    statement = (
        select(reservations)
        .where(reservations.c.shard_id == shard_id, reservations.c.account_id == account_id, *conditions)
        .order_by(reservations.c.create_time.desc(), reservations.c.reservation_id.desc())
        .limit(selection.limit)
    )
    return [_as_of(RESERVATIONS.record_of_core(row), now) for row in connection.execute(statement)]


def entries_of(connection: Connection, shard_id: int, account_id: str, selection: EntrySelection) -> list[Entry]:
    """Returns lines of an account's statement, oldest first."""
    entries = tables.entries
    conditions = [entries.c.sequence > selection.after_sequence]
    if selection.start_time is not None:
        conditions.append(entries.c.time >= selection.start_time)
    if selection.end_time is not None:
        conditions.append(entries.c.time < selection.end_time)
    statement = (
        select(entries)
        .where(entries.c.shard_id == shard_id, entries.c.account_id == account_id, *conditions)
        .order_by(entries.c.sequence)
        .limit(selection.limit)
    )
    return [ENTRIES.record_of_core(row) for row in connection.execute(statement)]


def _in_state(state: ReservationState, now: datetime) -> ColumnElement[bool]:
    stored, expire_time = tables.reservations.c.state, tables.reservations.c.expire_time
    overdue = and_(stored == ReservationState.ACTIVE.value, expire_time <= now)
    match state:
        case ReservationState.ACTIVE:
            return and_(stored == ReservationState.ACTIVE.value, expire_time > now)
        case ReservationState.EXPIRED:
            return or_(stored == ReservationState.EXPIRED.value, overdue)
        case _:
            return stored == state.value


def _as_of(reservation: Reservation, now: datetime) -> Reservation:
    """Returns a reservation as expiry has left it."""
    if not reservation.is_overdue(now):
        return reservation
    return replace(
        reservation,
        state=ReservationState.EXPIRED,
        released_credits=reservation.released_credits + reservation.open_credits,
        resolve_time=reservation.expire_time,
    )
