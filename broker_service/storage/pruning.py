"""Removing what is only kept for replays: resolved reservations, and the records of requests on reservations.

A table is walked by its primary key, in windows: what may go of a window is found by reading, then removed in a short
transaction of its own. So a broker serves meanwhile, and a pruning that was broken off is simply started again. What
may go once may go for good, except a reservation that is refunded in between: it is looked at again, its account
locked.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from broker_service.domain.records import MAX_TTL, EntryKind, ReservationState
from broker_service.storage import tables

# A request is answered alike for at least as long as a reservation may live without being extended.
MIN_REPLAY_WINDOW: Final = MAX_TTL
WINDOW_ROWS: Final = 1_000

_HORIZON: Final = "pruned_before"
# Requests on reservations. GrantCredits, RotateAccountToken and payments are few, and must not happen again however
# late they are repeated.
_PRUNED_KINDS: Final = ("Capture", "Release", "Extend", "Refund")


@dataclass(frozen=True, slots=True)
class Window:
    """Some neighbouring rows: those after an id, up to another. `rows_of` says how many may go of which account."""

    after_id: str
    until_id: str
    rows_of: Mapping[str, int]

    @property
    def is_last(self) -> bool:
        """Whether it reaches to the end of the table."""
        return self.until_id == _BEYOND_ALL_IDS


@dataclass(frozen=True, slots=True)
class Subject:
    """A table that is pruned, with the statements for it."""

    window_end: Select[Any]
    find: Select[Any]
    remove: Delete


def accounts_in_use(connection: Connection, shard_id: int, before: datetime) -> frozenset[str]:
    """Returns the accounts with a reservation that is older than the horizon and yet active.

    It was extended again and again. Requests on it must go on being recognised, lest a Capture takes credits twice.
    """
    return frozenset(connection.execute(_ACCOUNTS_IN_USE, {"shard_id": shard_id, "before": before}).scalars())


def find_prunable(
    connection: Connection,
    subject: Subject,
    shard_id: int,
    before: datetime,
    *,
    after_id: str,
    keep_accounts: Collection[str] = (),
) -> Window:
    """Looks through the rows that follow an id."""
    named = {"shard_id": shard_id, "after_id": after_id}
    until_id = connection.execute(subject.window_end, named).scalar_one_or_none() or _BEYOND_ALL_IDS
    found = connection.execute(subject.find, named | {"before": before, "until_id": until_id})
    rows_of = {row.account_id: row.prunable for row in found if row.account_id not in keep_accounts}
    return Window(after_id, until_id, rows_of)


def remove(connection: Connection, subject: Subject, shard_id: int, before: datetime, window: Window) -> int:
    """Removes what may go of a window and notes the horizon; returns how many rows went. Locks their accounts."""
    _raise_horizon(connection, before)
    # No refund is under way on an account that is locked here.
    accounts = {"shard_id": shard_id, "account_ids": list(window.rows_of)}
    connection.execute(_LOCK_ACCOUNTS, accounts).all()
    reach = {"after_id": window.after_id, "until_id": window.until_id, "before": before}
    return connection.execute(subject.remove, accounts | reach).rowcount


def pruned_before(connection: Connection) -> datetime | None:
    """Returns the horizon: reservations resolved before it may be gone, while their entries stay. None: none are."""
    found = connection.execute(_HORIZON_VALUE).scalar_one_or_none()
    return None if found is None else datetime.fromisoformat(found)


def _raise_horizon(connection: Connection, before: datetime) -> None:
    """Moves the horizon forward, never back. Its row is locked, so that two prunings take turns."""
    found = connection.execute(_HORIZON_VALUE.with_for_update()).scalar_one_or_none()
    properties, value = tables.properties, before.isoformat()
    if found is None:
        connection.execute(insert(properties), {"name": _HORIZON, "value": value})
    elif datetime.fromisoformat(found) < before:
        connection.execute(update(properties).where(properties.c.name == _HORIZON).values(value=value))


def _in_shard(table: Table) -> ColumnElement[bool]:
    return table.c.shard_id == bindparam("shard_id")


def _reservation_is_prunable() -> ColumnElement[bool]:
    """It was resolved before the horizon, and not refunded since: a refund may be repeated for as long."""
    reservations, entries = tables.reservations, tables.entries
    refunded_since = exists().where(
        _in_shard(entries),
        entries.c.account_id == reservations.c.account_id,
        entries.c.reservation_id == reservations.c.reservation_id,
        entries.c.kind == EntryKind.REFUND.value,
        entries.c.time >= bindparam("before"),
    )
    return and_(
        reservations.c.state != ReservationState.ACTIVE.value,
        reservations.c.resolve_time < bindparam("before"),
        or_(reservations.c.refunded_credits == 0, ~refunded_since),
    )


def _operation_is_prunable() -> ColumnElement[bool]:
    operations = tables.operations
    return and_(operations.c.kind.in_(_PRUNED_KINDS), operations.c.time < bindparam("before"))


def _subject(table: Table, key: str, prunable: ColumnElement[bool]) -> Subject:
    row_id, account_id = table.c[key], table.c.account_id
    following = [_in_shard(table), row_id > bindparam("after_id")]
    in_window = [*following, row_id <= bindparam("until_id"), prunable]
    return Subject(
        window_end=select(row_id).where(*following).order_by(row_id).offset(WINDOW_ROWS - 1).limit(1),
        find=select(account_id, func.count().label("prunable")).where(*in_window).group_by(account_id),
        remove=delete(table).where(*in_window, account_id.in_(bindparam("account_ids", expanding=True))),
    )


RESERVATIONS: Final = _subject(tables.reservations, "reservation_id", _reservation_is_prunable())
OPERATIONS: Final = _subject(tables.operations, "operation_id", _operation_is_prunable())

# Ids are lower-case letters, digits and underscores.
_BEYOND_ALL_IDS: Final = "~"
_ACCOUNTS_IN_USE: Final = select(tables.reservations.c.account_id).where(
    _in_shard(tables.reservations),
    # A literal, for a partial index serves a statement only if the plan can see that it does.
    tables.reservations.c.state == literal_column(f"'{ReservationState.ACTIVE.value}'"),
    tables.reservations.c.create_time < bindparam("before"),
)
_LOCK_ACCOUNTS: Final = (
    select(tables.accounts.c.account_id)
    .where(_in_shard(tables.accounts), tables.accounts.c.account_id.in_(bindparam("account_ids", expanding=True)))
    # The order in which the ledger locks them.
    .order_by(tables.accounts.c.account_id)
    .with_for_update()
)
_HORIZON_VALUE: Final = select(tables.properties.c.value).where(tables.properties.c.name == _HORIZON)
