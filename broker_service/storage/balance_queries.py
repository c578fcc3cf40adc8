"""Finding the accounts whose balance or tokens have changed, for many at once."""

from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from sqlalchemy import ColumnElement, Connection, Table, literal_column, select

from broker_service.domain.records import Account, ReservationState
from broker_service.storage import tables

# In one statement; far below what any database takes.
_MAX_ACCOUNTS = 500


def changed_accounts(
    connection: Connection, shard_id: int, seen: Mapping[str, Account], since: datetime, now: datetime
) -> set[str]:
    """Returns those whose stored balance or tokens are not what was seen, or from which time took something since.

    What ended before `since` must have been seen. An account may be among them that is the same after all.
    """
    changed = _due_between(connection, shard_id, since, now) & seen.keys()
    accounts = tables.accounts
    account_ids = iter(seen)
    while some := list(islice(account_ids, _MAX_ACCOUNTS)):
        statement = select(
            accounts.c.account_id, accounts.c.ledger_credits, accounts.c.reserved_credits, accounts.c.token_epoch
        ).where(accounts.c.shard_id == shard_id, accounts.c.account_id.in_(some))
        for account_id, *stored in connection.execute(statement):
            account = seen[account_id]
            if stored != [account.ledger_credits, account.reserved_credits, account.token_epoch]:
                changed.add(account_id)
    return changed


def _due_between(connection: Connection, shard_id: int, since: datetime, now: datetime) -> set[str]:
    """Returns the accounts of which a reservation or a grant has expired in (since, now] and is not written down."""
    reservations, grants = tables.reservations, tables.grants
    # A literal, for a partial index serves a statement only if the plan can see that it does.
    is_active = reservations.c.state == literal_column(f"'{ReservationState.ACTIVE.value}'")
    is_unspent = grants.c.spent.is_(False)
    sources: tuple[tuple[Table, ColumnElement[bool]], ...] = ((reservations, is_active), (grants, is_unspent))
    due: set[str] = set()
    for table, open_still in sources:
        statement = select(table.c.account_id).where(
            table.c.shard_id == shard_id, open_still, table.c.expire_time > since, table.c.expire_time <= now
        )
        due.update(connection.execute(statement).scalars())
    return due
