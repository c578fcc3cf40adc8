"""The ledger's rows: loaded for a batch in a few set-based reads, written in a few set-based writes.

Every statement on a hot table names exactly one shard. Accounts are locked in the order of their ids, so that
batches of different processes wait for each other and never deadlock.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)

from broker_service.domain.book import Book, Changes, latest_time
from broker_service.domain.records import ReservationState, TrialClaim
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
        self.reservations: set[str] = set()
        self.purchases: set[str] = set()


def _of_accounts(table: Table, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Returns what selects the rows of `account_ids` in one shard; built once, for building costs more than running."""
    return (
        select(table)
        .where(
            table.c.shard_id == bindparam("shard_id"),
            table.c.account_id.in_(bindparam("account_ids", expanding=True)),
            *conditions,
        )
        .order_by(table.c.account_id)
    )


def _by_id(table: Table, key: str) -> Select[Any]:
    """Returns what selects the rows of `ids` in one shard."""
    return select(table).where(
        table.c.shard_id == bindparam("shard_id"), table.c[key].in_(bindparam("ids", expanding=True))
    )


_ACCOUNTS = _of_accounts(tables.accounts).with_for_update()
# Literals, not parameters, for a partial index serves a statement only if the plan can see that it does.
_GRANTS = _of_accounts(tables.grants, tables.grants.c.remaining_credits > literal_column("0"))
_OVERDUE = _of_accounts(
    tables.reservations,
    tables.reservations.c.state == literal_column(f"'{ReservationState.ACTIVE.value}'"),
    tables.reservations.c.expire_time <= bindparam("now"),
)
_RESERVATIONS = _by_id(tables.reservations, "reservation_id")
_OPERATIONS = _by_id(tables.operations, "operation_id")
_PURCHASES = _by_id(tables.purchases, "purchase_id")
_TRIAL_CLAIMS = select(tables.trial_claims).where(
    tuple_(tables.trial_claims.c.customer_id, tables.trial_claims.c.service).in_(bindparam("pairs", expanding=True))
)


def load_books(
    connection: Connection, shard_id: int, references: References, now: datetime
) -> tuple[dict[str, Book], LoadedRows]:
    """Returns a book for every account named, and what was loaded into them; the accounts' rows are locked.

    `now` only decides which overdue reservations are looked for; the accounts' own times may be ahead of it.
    """
    loaded = LoadedRows()
    trial_claims: dict[Pair, TrialClaim] = {}
    if references.trial_claims:
        for row in connection.execute(_TRIAL_CLAIMS, {"pairs": sorted(references.trial_claims)}):
            trial_claims[row.customer_id, row.service] = to_trial_claim(row)
    books = {account_id: Book(account_id, trial_claims=trial_claims) for account_id in references.accounts}
    named = {"shard_id": shard_id, "account_ids": sorted(references.accounts)}
    for row in connection.execute(_ACCOUNTS, named):
        books[row.account_id].account = to_account(row)
        loaded.accounts.add(row.account_id)
    for row in connection.execute(_GRANTS, named):
        books[row.account_id].grants[row.grant_id] = to_grant(row)
        loaded.grants.add((row.account_id, row.grant_id))
    overdue = connection.execute(_OVERDUE, named | {"now": latest_time(list(books.values()), now)})
    for row in (*overdue, *_rows_of(connection, _RESERVATIONS, shard_id, references.reservations)):
        books[row.account_id].reservations[row.reservation_id] = to_reservation(row)
        loaded.reservations.add(row.reservation_id)
    for row in _rows_of(connection, _OPERATIONS, shard_id, references.operations):
        books[row.account_id].operations[row.operation_id] = to_operation(row)
    for row in _rows_of(connection, _PURCHASES, shard_id, references.purchases):
        books[row.account_id].purchases[row.purchase_id] = to_purchase(row)
        loaded.purchases.add(row.purchase_id)
    return books, loaded


def _rows_of(connection: Connection, statement: Select[Any], shard_id: int, ids: set[str]) -> Iterable[Row[Any]]:
    return connection.execute(statement, {"shard_id": shard_id, "ids": sorted(ids)}) if ids else ()


def write_changes(connection: Connection, shard_id: int, changes: Iterable[Changes], loaded: LoadedRows) -> None:
    """Writes what a batch has changed: the last version of each row, new rows inserted, loaded ones updated."""
    accounts: dict[str, Values] = {}
    grants: dict[Pair, Values] = {}
    reservations: dict[str, Values] = {}
    purchases: dict[str, Values] = {}
    appended: dict[Table, list[Values]] = {}
    for change in changes:
        if change.account is not None:
            accounts[change.account.account_id] = account_values(shard_id, change.account)
        for grant in change.grants:
            grants[grant.account_id, grant.grant_id] = grant_values(shard_id, grant)
        for reservation in change.reservations:
            reservations[reservation.reservation_id] = reservation_values(shard_id, reservation)
        for purchase in change.purchases:
            purchases[purchase.purchase_id] = purchase_values(shard_id, purchase)
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
    add(tables.trial_claims, (asdict(claim) for claim in change.trial_claims))
    add(tables.account_tokens, (asdict(token) for token in change.account_tokens))


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
