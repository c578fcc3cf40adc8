"""Finding what time has ended and nobody has written down yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, func, literal_column, select

from broker_service.domain.records import ReservationState
from broker_service.storage import tables


@dataclass(frozen=True, slots=True)
class DueAccount:
    """An account with something overdue: since when, and how many rows are to be written."""

    account_id: str
    since: datetime
    rows: int


def accounts_due(connection: Connection, shard_id: int, now: datetime, limit: int) -> list[DueAccount]:
    """Returns accounts of a shard with overdue reservations or with free credits of expired grants.

    Those overdue for longest come first. They are all there are, if they are fewer than `limit`.
    """
    named = {"shard_id": shard_id, "now": now, "most": limit}
    found = [DueAccount(*row) for statement in (OVERDUE, EXPIRED) for row in connection.execute(statement, named)]
    return sorted(_together(found), key=lambda due: (due.since, due.account_id))[:limit]


def _together(found: Iterable[DueAccount]) -> Iterable[DueAccount]:
    """Returns each account once."""
    merged: dict[str, DueAccount] = {}
    for due in found:
        other = merged.get(due.account_id, due)
        rows = due.rows if other is due else due.rows + other.rows
        merged[due.account_id] = DueAccount(due.account_id, min(due.since, other.since), rows)
    return merged.values()


def _due_accounts(table: Table, *conditions: ColumnElement[bool]) -> Select[str, datetime, int]:
    # No index holds the expression, so that none is taken for its order; the one for this leaves little to sort.
    account_id = table.c.account_id.concat(literal_column("''"))
    since = func.min(table.c.expire_time, type_=tables.Instant)
    return (
        select(account_id, since, func.count())
        .where(table.c.shard_id == bindparam("shard_id"), table.c.expire_time <= bindparam("now"), *conditions)
        .group_by(account_id)
        .order_by(since)
        .limit(bindparam("most"))
    )


OVERDUE: Final = _due_accounts(
    tables.reservations,
    # A literal, for a partial index serves a statement only if the plan can see that it does.
    tables.reservations.c.state == literal_column(f"'{ReservationState.ACTIVE.value}'"),
)
EXPIRED: Final = _due_accounts(
    tables.grants,
    tables.grants.c.spent.is_(False),
    # What reservations hold goes when they give it back; until then there is nothing to write.
    tables.grants.c.remaining_credits > tables.grants.c.reserved_credits,
)
