"""The ledger's statements in SQLite's dialect, each one call of the driver for any number of rows.

The driver lets go of the interpreter's lock at every step of a statement, and has to wait for it behind whatever else
the process does. So rows come out as one JSON text in one step, and go in with one statement for many of them.

A row that breaks a constraint rolls back the whole transaction (OR ROLLBACK), as every error does in the end. To be
able to undo a statement alone, SQLite would have to keep each page as it was before.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import ColumnElement
from sqlalchemy.dialects import sqlite

from broker_service.storage.errors import StorageConflictError
from broker_service.storage.ledger_rows import PlainRow
from broker_service.storage.ledger_statements import SHARD, Insert, Load, LoadStep, LoadSteps, Update, WriteSteps

_DIALECT = sqlite.dialect()
_ROWS = msgspec.json.Decoder(list[list[Any]])
_JSON = msgspec.json.Encoder()
# Far below SQLite's limit of 32 766 parameters.
_MAX_ROWS = 256


def run_steps(connection: sqlite3.Connection, shard_id: int, steps: LoadSteps | WriteSteps) -> list[Iterable[PlainRow]]:
    """Does steps of a batch; returns the rows of each load. Raises StorageConflictError, sqlite3.Error."""
    found = []
    for step in steps:
        if isinstance(step, LoadStep):
            found.append(_load(connection, shard_id, step))
        elif isinstance(step.write, Insert):
            _insert(connection, shard_id, step.write, step.rows)
        else:
            _update(connection, shard_id, step.write, step.rows)
    return found


def _load(connection: sqlite3.Connection, shard_id: int, step: LoadStep) -> Iterable[PlainRow]:
    parameters: list[Any] = [shard_id] if SHARD in step.load.rows.table.c else []
    parameters += [_JSON.encode(values).decode() for values in step.values]
    if step.load.due is not None:
        parameters.append(step.due_microseconds)
    ((found,),) = connection.execute(_load_text(step.load), parameters)
    return _ROWS.decode(found)


def _insert(connection: sqlite3.Connection, shard_id: int, insert: Insert, rows: Sequence[list[Any]]) -> None:
    for part in _parts(rows):
        values: Iterable[Any] = chain.from_iterable(part)
        if insert.is_sharded:
            values = chain.from_iterable((shard_id, *row) for row in part)
        connection.execute(_insert_text(insert, len(part)), tuple(values))


def _update(connection: sqlite3.Connection, shard_id: int, update: Update, rows: Sequence[list[Any]]) -> None:
    for part in _parts(rows):
        parameters = [*chain.from_iterable(part), *((shard_id,) if update.is_sharded else ())]
        changed = connection.execute(_update_text(update, len(part)), parameters).rowcount
        if changed != len(part):
            raise StorageConflictError(f"{len(part) - changed} rows of {update.table.name} are gone")


def _parts(rows: Sequence[list[Any]]) -> Iterable[Sequence[list[Any]]]:
    """Cuts rows into powers of two, so that a few prepared statements serve any number of them."""
    start = 0
    while start < len(rows):
        size = min(_MAX_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        yield rows[start : start + size]
        start += size


@cache
def _load_text(load: Load) -> str:
    table = load.rows.table
    conditions = [f"{SHARD} = ?"] if SHARD in table.c else []
    # A plus keeps the planner from searching by a column (https://www.sqlite.org/optoverview.html).
    sift = "" if load.due is None else "+"
    conditions += [f"{sift}{name} IN (SELECT value FROM json_each(?))" for name in load.named]  # noqa: S608 - columns of our own
    if load.condition is not None:
        conditions.append(_text_of(load.condition))
    if load.due is not None:
        conditions.append(f"{load.due} <= ?")
    columns = ", ".join(load.rows.columns)
    return (
        f"SELECT json_group_array(json_array({columns})) FROM {table.name} "  # noqa: S608 - names of our own tables
        f"WHERE {' AND '.join(conditions)}"
    )


@cache
def _insert_text(insert: Insert, row_count: int) -> str:
    columns = (SHARD, *insert.columns) if insert.is_sharded else insert.columns
    return (
        f"INSERT OR ROLLBACK INTO {insert.table.name} ({', '.join(columns)}) "  # noqa: S608 - names of our own tables
        f"VALUES {_values(len(columns), row_count)}"
    )


@cache
def _update_text(update: Update, row_count: int) -> str:
    table, names = update.table.name, update.columns
    given = {name: f"given.column{position}" for position, name in enumerate(names, start=1)}
    conditions = [f"{table}.{name} = {given[name]}" for name in update.keys]
    if update.is_sharded:
        conditions.insert(0, f"{table}.{SHARD} = ?")
    changes = ", ".join(f"{name} = {given[name]}" for name in update.changing)
    return (
        f"UPDATE OR ROLLBACK {table} SET {changes} "  # noqa: S608 - names of our own tables
        f"FROM (VALUES {_values(len(names), row_count)}) AS given WHERE {' AND '.join(conditions)}"
    )


def _values(column_count: int, row_count: int) -> str:
    row = f"({', '.join('?' * column_count)})"
    return ", ".join([row] * row_count)


def _text_of(condition: ColumnElement[bool]) -> str:
    """Returns a condition word for word as the partial index that serves it was made with."""
    compiled = condition.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True, "include_table": False})
    return str(compiled)
