"""The parts of reservations, taken out of their JSON by the database.

Where they are taken apart matters: there is a reservation for every request ever served, and what Python does with
a row it does beside a broker that serves.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Label,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal_column,
    not_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from broker_service.storage import tables
from broker_service.storage.audit.checks import within_span

_TEXT = tables.reservations.c.allocations
_EMPTY: ColumnElement[str] = literal_column("'[]'", Text)
_PART_LENGTH: ColumnElement[int] = literal_column("4", BigInteger)
# One part: a grant's id and three whole numbers.
_PART_PATTERN = r'\["[^"\\]*",-?[0-9]{1,18},-?[0-9]{1,18},-?[0-9]{1,18}\]'


def allocation_parts(dialect: str, *conditions: ColumnElement[bool]) -> FromClause:
    """Returns the parts of the reservations of a span of accounts; what is not readable has none.

    Columns: account_id, reservation_id, state, grant_id, reserved_credits, captured_credits, refunded_credits.
    """
    source, columns = _postgresql_parts() if dialect == "postgresql" else _sqlite_parts()
    it = tables.reservations.c
    statement = (
        select(it.account_id, it.reservation_id, it.state, *columns)
        .select_from(source)
        .where(within_span(tables.reservations), *conditions)
        # Says nothing, and so keeps the database from taking JSON apart again at each place that names a column.
        .offset(0)
    )
    return statement.subquery("parts")


def is_readable(dialect: str) -> ColumnElement[bool]:
    """Tells whether a reservation's JSON is a list of parts."""
    return _IS_LIST_OF_PARTS if dialect == "postgresql" else _sqlite_is_list_of_parts()


_IS_LIST_OF_PARTS = _TEXT.regexp_match(rf"^\[({_PART_PATTERN}(,{_PART_PATTERN})*)?\]$")


def _postgresql_parts() -> tuple[FromClause, list[Label[Any]]]:
    # Only CASE keeps PostgreSQL from casting what is not readable.
    document = case((_IS_LIST_OF_PARTS, _TEXT), else_=_EMPTY)
    part: Any = func.jsonb_array_elements(cast(document, JSONB)).column_valued("part")

    def item(index: int) -> ColumnElement[str]:
        text: ColumnElement[str] = part.op("->>", return_type=Text())(literal_column(str(index)))
        return text

    return tables.reservations.join(part.scalar_alias, true()), _named(item)


# SQLite has no patterns, but does not mind what it cannot read as long as it is JSON.
_IS_JSON = func.json_valid(_TEXT) == literal_column("1")
_DOCUMENT = case((_IS_JSON, _TEXT), else_=_EMPTY)


def _sqlite_parts() -> tuple[FromClause, list[Label[Any]]]:
    part: Any = func.json_each(_DOCUMENT).table_valued("fullkey", name="part")

    def item(index: int) -> ColumnElement[str]:
        return func.json_extract(_DOCUMENT, _path(part, index), type_=Text())

    return tables.reservations.join(part, true()), _named(item)


def _named(item: Callable[[int], ColumnElement[str]]) -> list[Label[Any]]:
    return [
        item(0).label("grant_id"),
        cast(item(1), BigInteger).label("reserved_credits"),
        cast(item(2), BigInteger).label("captured_credits"),
        cast(item(3), BigInteger).label("refunded_credits"),
    ]


def _sqlite_is_list_of_parts() -> ColumnElement[bool]:
    part: Any = func.json_each(_DOCUMENT).table_valued("fullkey", name="part")

    def is_type(index: int, name: str) -> ColumnElement[bool]:
        return func.json_type(_DOCUMENT, _path(part, index)) == literal_column(f"'{name}'")

    is_part = and_(
        func.json_array_length(_DOCUMENT, part.c.fullkey) == _PART_LENGTH,
        is_type(0, "text"),
        *(is_type(index, "integer") for index in (1, 2, 3)),
    )
    others: Select[Any] = select(literal_column("1")).select_from(part).where(func.coalesce(not_(is_part), true()))
    return and_(
        _IS_JSON,
        func.json_type(_DOCUMENT) == literal_column("'array'"),
        not_(exists(others.correlate(tables.reservations))),
    )


def _path(part: Any, index: int) -> ColumnElement[str]:
    path: ColumnElement[str] = part.c.fullkey.op("||", return_type=Text())(literal_column(f"'[{index}]'"))
    return path
