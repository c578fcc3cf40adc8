"""The ledger's statements in PostgreSQL's dialect: rows go in as one array for each column.

Arrays travel as text, which the server parses: the driver would look at each value of an array several times.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, ColumnElement, Integer, Table
from sqlalchemy.dialects import postgresql

from broker_service.storage.ledger_statements import (
    SHARD,
    Insert,
    Load,
    LoadStep,
    LoadSteps,
    Update,
    WriteStep,
    WriteSteps,
)
from broker_service.storage.tables import Instant, Span

_JSON = msgspec.json.Encoder()
# An escape that is not merely a backslash before the character itself; or looks like one, which does no harm.
_CONTROL_CHARACTER = re.compile(r"\\[bfnrtu]")
_SHARD_PARAMETER = "$1::integer"
# For what has no shard, so that every statement takes the same first parameter.
_SHARD_IS_GIVEN = f"{_SHARD_PARAMETER} IS NOT NULL"
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def text_of(steps: LoadSteps | WriteSteps) -> str:
    """Returns the one statement that does these steps; the same text for the same steps of every batch.

    Of a single load it returns the rows; of several, one JSON list with a list of rows (null for none) for each; of
    writes, how many rows each has changed.
    """
    first = steps[0]
    if isinstance(first, LoadStep):
        return _loads_text(tuple(step.load for step in steps if isinstance(step, LoadStep)))
    return _writes_text(tuple(step.write for step in steps if isinstance(step, WriteStep)))


def parameters_of(shard_id: int, steps: LoadSteps | WriteSteps) -> list[Any]:
    """Returns what the statement of these steps is to be run with: the shard, then what each step has."""
    parameters: list[Any] = [shard_id]
    for step in steps:
        if isinstance(step, LoadStep):
            parameters += [array_text(values) for values in step.values]
            if step.load.due is not None:
                parameters.append(step.due_microseconds)
        else:
            parameters += [array_text(column) for column in zip(*step.rows, strict=True)]
    return parameters


def array_text(values: Sequence[Any]) -> str:
    """Returns an array of text, whole numbers, booleans and nulls in PostgreSQL's notation.

    That is JSON's but for the outermost brackets, as long as no character needs an escape of its own in JSON:
    PostgreSQL takes what follows a backslash as it is
    (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO).
    """
    text = _JSON.encode(values).decode()
    if "\\" in text and _CONTROL_CHARACTER.search(text):
        return f"{{{','.join(_element(value) for value in values)}}}"
    return f"{{{text[1:-1]}}}"


def _element(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _JSON.encode(value).decode()


@cache
def _loads_text(loads: tuple[Load, ...]) -> str:
    parameter = _Parameters()
    if len(loads) == 1:
        return _load_text(loads[0], parameter, ", ".join(loads[0].rows.columns))
    parts = []
    for load in loads:
        rows = f"json_agg(json_build_array({', '.join(load.rows.columns)}))"
        parts.append(f"({_load_text(load, parameter, rows)})")
    return f"SELECT json_build_array({', '.join(parts)}) WHERE {_SHARD_IS_GIVEN}"


@cache
def _writes_text(writes: tuple[Insert | Update, ...]) -> str:
    parameter = _Parameters()
    parts, counts = [], []
    for position, write in enumerate(writes):
        text = _insert_text(write, parameter) if isinstance(write, Insert) else _update_text(write, parameter)
        parts.append(f"part{position} AS ({text} RETURNING 1)")
        counts.append(f"(SELECT count(*) FROM part{position})")  # noqa: S608 - a name of this statement
    return f"WITH {', '.join(parts)} SELECT {', '.join(counts)} WHERE {_SHARD_IS_GIVEN}"


def _load_text(load: Load, parameter: "_Parameters", columns: str) -> str:
    table = load.rows.table
    conditions = [_shard_condition(table)]
    for name in load.named:
        values = f"{parameter.next()}::text::{_array(table.c[name])}"
        if load.due is None:
            conditions.append(f"{name} = ANY({values})")
        else:
            # No index holds the expression, so the planner cannot search by it; the subquery is hashed, while an array
            # would be taken apart again for each row.
            conditions.append(f"{name} || '' IN (SELECT unnest({values}))")
    if load.condition is not None:
        conditions.append(_text_of(load.condition))
    if load.due is not None:
        conditions.append(f"{load.due} <= {parameter.next()}")
    locking = f" ORDER BY {load.named[0]} FOR UPDATE" if load.locks else ""
    return (
        f"SELECT {columns} FROM {table.name} "  # noqa: S608 - names of our own tables
        f"WHERE {' AND '.join(conditions)}{locking}"
    )


def _insert_text(insert: Insert, parameter: "_Parameters") -> str:
    is_sharded = SHARD in insert.table.c
    columns = [SHARD, *insert.columns] if is_sharded else [*insert.columns]
    return (
        f"INSERT INTO {insert.table.name} ({', '.join(columns)}) "  # noqa: S608 - names of our own tables
        f"SELECT {f'{_SHARD_PARAMETER}, ' if is_sharded else ''}given.* "
        f"FROM {_given(parameter, insert.table, insert.columns)}"
    )


def _update_text(update: Update, parameter: "_Parameters") -> str:
    """Returns an UPDATE that names its keys twice.

    As lists, so that the rows are found by their index whatever size the planner takes the table for; and joined to
    what each is given.
    """
    table = update.table.name
    first_key = parameter.count + 1
    given = _given(parameter, update.table, update.columns)
    conditions = [f"{table}.{_shard_condition(update.table)}" if SHARD in update.table.c else _SHARD_IS_GIVEN]
    for position, name in enumerate(update.keys, start=first_key):
        conditions.append(f"{table}.{name} = ANY(${position}::text::{_array(update.table.c[name])})")
        conditions.append(f"{table}.{name} = given.{name}")
    changes = ", ".join(f"{name} = given.{name}" for name in update.changing)
    return f"UPDATE {table} SET {changes} FROM {given} WHERE {' AND '.join(conditions)}"  # noqa: S608 - as above


def _shard_condition(table: Table) -> str:
    return f"{SHARD} = {_SHARD_PARAMETER}" if SHARD in table.c else _SHARD_IS_GIVEN


class _Parameters:
    """Counts the parameters of a statement; the first is always the shard."""

    def __init__(self) -> None:
        self.count = 1

    def next(self) -> str:
        self.count += 1
        return f"${self.count}"


def _given(parameter: _Parameters, table: Table, columns: Iterable[str]) -> str:
    names = list(columns)
    arrays = ", ".join(f"{parameter.next()}::text::{_array(table.c[name])}" for name in names)
    return f"unnest({arrays}) AS given ({', '.join(names)})"


def _array(column: Column[Any]) -> str:
    if isinstance(column.type, BigInteger | Instant | Span):
        return "bigint[]"
    if isinstance(column.type, Boolean):
        return "boolean[]"
    return "integer[]" if isinstance(column.type, Integer) else "text[]"


def _text_of(condition: ColumnElement[bool]) -> str:
    """Returns a condition word for word as the partial index that serves it was made with."""
    compiled = condition.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True, "include_table": False})
    return str(compiled)
