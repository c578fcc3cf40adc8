"""The ledger's rows: loaded for a batch in a few set-based reads, written in a few set-based writes.

Every statement on a hot table names exactly one shard. Accounts are locked in the order of their ids, so that
batches of different processes wait for each other and never deadlock.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, tuple_, update

from broker_service.domain.book import Book, Changes
from broker_service.domain.records import ReservationState
from broker_service.domain.references import References
from broker_service.storage import tables
from broker_service.storage.ledger_rows import (
    Values,
    account_values,
    entry_values,
    grant_values,
    operation_values,
    purchase_values,
    reservation_values,
    to_account,
    to_grant,
    to_operation,
    to_purchase,
    to_reservation,
    to_trial_claim,
)

Pair = tuple[str, str]


class LoadedRows:
    """Which rows a batch has loaded, so that new ones are inserted and others updated."""

    def __init__(self) -> None:
        self.accounts: set[str] = set()
        self.grants: set[Pair] = set()
        self.reservations: set[Pair] = set()
        self.purchases: set[Pair] = set()


def load_books(
    connection: Connection, shard_id: int, references: References, now: datetime
) -> tuple[dict[str, Book], LoadedRows]:
    """Returns a book for every account named, and what was loaded into them; the accounts' rows are locked.

    `now` only decides which overdue reservations are looked for: those of a later instant are loaded as well when
    they are named.
    """
    books = {account_id: Book(account_id) for account_id in references.accounts}
    loaded = LoadedRows()
    account_ids = sorted(references.accounts)
    for row in _rows_of_accounts(connection, tables.accounts, shard_id, account_ids, locked=True):
        books[row.account_id].account = to_account(row)
        loaded.accounts.add(row.account_id)
    now = max([now, *(book.account.update_time for book in books.values() if book.account is not None)])
    for row in _rows_of_accounts(
        connection, tables.grants, shard_id, account_ids, tables.grants.c.remaining_credits > 0
    ):
        books[row.account_id].grants[row.grant_id] = to_grant(row)
        loaded.grants.add((row.account_id, row.grant_id))
    named = _rows_by_pair(
        connection, tables.reservations, tables.reservations.c.reservation_id, shard_id, references.reservations
    )
    overdue = _rows_of_accounts(
        connection,
        tables.reservations,
        shard_id,
        account_ids,
        tables.reservations.c.state == ReservationState.ACTIVE.value,
        tables.reservations.c.expire_time <= now,
    )
    for row in [*named, *overdue]:
        books[row.account_id].reservations[row.reservation_id] = to_reservation(row)
        loaded.reservations.add((row.account_id, row.reservation_id))
    _load_records(connection, shard_id, references, books, loaded)
    return books, loaded


def _load_records(
    connection: Connection, shard_id: int, references: References, books: Mapping[str, Book], loaded: LoadedRows
) -> None:
    for row in _rows_by_pair(
        connection, tables.operations, tables.operations.c.operation_id, shard_id, references.operations
    ):
        books[row.account_id].operations[row.operation_id] = to_operation(row)
    for row in _rows_by_pair(
        connection, tables.purchases, tables.purchases.c.purchase_id, shard_id, references.purchases
    ):
        books[row.account_id].purchases[row.purchase_id] = to_purchase(row)
        loaded.purchases.add((row.account_id, row.purchase_id))
    if references.trial_claims:
        claims = tables.trial_claims
        statement = select(claims).where(
            tuple_(claims.c.customer_id, claims.c.service).in_(sorted(references.trial_claims))
        )
        for row in connection.execute(statement):
            for book in books.values():
                book.trial_claims[row.customer_id, row.service] = to_trial_claim(row)


def _rows_of_accounts(
    connection: Connection,
    table: Table,
    shard_id: int,
    account_ids: Iterable[str],
    *conditions: ColumnElement[bool],
    locked: bool = False,
) -> Iterable[Any]:
    statement = (
        select(table)
        .where(table.c.shard_id == shard_id, table.c.account_id.in_(account_ids), *conditions)
        .order_by(table.c.account_id)
    )
    return connection.execute(statement.with_for_update() if locked else statement).all()


def _rows_by_pair(
    connection: Connection, table: Table, key: ColumnElement[str], shard_id: int, pairs: set[Pair]
) -> Iterable[Any]:
    if not pairs:
        return []
    statement = select(table).where(table.c.shard_id == shard_id, tuple_(table.c.account_id, key).in_(sorted(pairs)))
    return connection.execute(statement).all()


def write_changes(connection: Connection, shard_id: int, changes: Iterable[Changes], loaded: LoadedRows) -> None:
    """Writes what a batch has changed: the last version of each row, new rows inserted, loaded ones updated."""
    accounts: dict[str, Values] = {}
    grants: dict[Pair, Values] = {}
    reservations: dict[Pair, Values] = {}
    purchases: dict[Pair, Values] = {}
    appended: dict[Table, list[Values]] = {}
    for change in changes:
        if change.account is not None:
            accounts[change.account.account_id] = account_values(shard_id, change.account)
        for grant in change.grants:
            grants[grant.account_id, grant.grant_id] = grant_values(shard_id, grant)
        for reservation in change.reservations:
            key = reservation.account_id, reservation.reservation_id
            reservations[key] = reservation_values(shard_id, reservation)
        for purchase in change.purchases:
            purchases[purchase.account_id, purchase.purchase_id] = purchase_values(shard_id, purchase)
        _append(appended, shard_id, change)
    _write(connection, tables.accounts, accounts, loaded.accounts, _UPDATE_ACCOUNT)
    _write(connection, tables.grants, grants, loaded.grants, _UPDATE_GRANT)
    _write(connection, tables.reservations, reservations, loaded.reservations, _UPDATE_RESERVATION)
    _write(connection, tables.purchases, purchases, loaded.purchases, _UPDATE_PURCHASE)
    for table, rows in appended.items():
        connection.execute(insert(table), rows)


def _append(appended: dict[Table, list[Values]], shard_id: int, change: Changes) -> None:
    """Collects the rows that are only ever inserted."""

    def add(table: Table, rows: Iterable[Values]) -> None:
        for row in rows:
            appended.setdefault(table, []).append(row)

    add(tables.entries, (entry_values(shard_id, entry) for entry in change.entries))
    add(tables.operations, (operation_values(shard_id, operation) for operation in change.operations))
    for entry in change.journal_entries:
        add(
            tables.journal_entries,
            [
                {
                    "journal_entry_id": entry.journal_entry_id,
                    "kind": entry.kind,
                    "purchase_id": entry.purchase_id,
                    "time": entry.time,
                }
            ],
        )
        add(
            tables.journal_postings,
            (
                {
                    "journal_entry_id": entry.journal_entry_id,
                    "line": line,
                    "money_account": posting.money_account,
                    "currency": posting.currency,
                    "amount_minor_units": posting.amount_minor_units,
                }
                for line, posting in enumerate(entry.postings, start=1)
            ),
        )
    add(tables.trial_claims, (_fields(claim) for claim in change.trial_claims))
    add(tables.account_tokens, (_fields(token) for token in change.account_tokens))


def _fields(record: Any) -> Values:
    return {name: getattr(record, name) for name in record.__slots__}


def _write(
    connection: Connection,
    table: Table,
    rows: Mapping[Any, Values],
    loaded: set[Any],
    statement: tuple[Any, Callable[[Values], Values]],
) -> None:
    inserted = [values for key, values in rows.items() if key not in loaded]
    updated = [values for key, values in rows.items() if key in loaded]
    if inserted:
        connection.execute(insert(table), inserted)
    if updated:
        update_row, parameters = statement
        connection.execute(update_row, [parameters(values) for values in updated])


def _update_of(table: Table, *changing: str) -> tuple[Any, Callable[[Values], Values]]:
    """Returns an UPDATE of one row by its primary key, and what turns a row's values into its parameters."""
    keys = tuple(column.name for column in table.primary_key)
    statement = (
        update(table)
        .where(*(table.c[name] == bindparam(f"key_{name}") for name in keys))
        .values({name: bindparam(f"new_{name}") for name in changing})
    )

    def parameters(values: Values) -> Values:
        return {f"key_{name}": values[name] for name in keys} | {f"new_{name}": values[name] for name in changing}

    return statement, parameters


_UPDATE_ACCOUNT = _update_of(
    tables.accounts, "state", "ledger_credits", "reserved_credits", "entry_count", "update_time"
)
_UPDATE_GRANT = _update_of(tables.grants, "remaining_credits", "reserved_credits")
_UPDATE_RESERVATION = _update_of(
    tables.reservations,
    "state",
    "reserved_credits",
    "captured_credits",
    "released_credits",
    "refunded_credits",
    "allocations",
    "expire_time",
    "resolve_time",
)
_UPDATE_PURCHASE = _update_of(tables.purchases, "state", "pay_time")
