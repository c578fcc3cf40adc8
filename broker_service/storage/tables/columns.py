"""What the columns of all tables are made of.

Instants are whole microseconds since 1970 in UTC: exact, and the same order and arithmetic on every database.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
)

metadata = MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as whole microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """To the database."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        """From the database."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Span(TypeDecorator[timedelta]):
    """A length of time, stored as whole microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Any) -> int | None:
        """To the database."""
        return None if value is None else value // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Any) -> timedelta | None:
        """From the database."""
        return None if value is None else timedelta(microseconds=value)


# Text sorts by its bytes everywhere: as SQLite does by itself, and far cheaper than by the rules of a language.
_BYTEWISE_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def text(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    """Returns a column of text, which sorts by its bytes."""
    return Column(name, _BYTEWISE_TEXT, nullable=nullable and not primary_key, primary_key=primary_key)


def count(name: str) -> Column[int]:
    """Returns a column of whole numbers."""
    return Column(name, BigInteger, nullable=False)


def instant(name: str, *, nullable: bool = False) -> Column[datetime]:
    """Returns a column of instants."""
    return Column(name, Instant, nullable=nullable)


def shard() -> Column[int]:
    """Returns the column that every primary key of a hot table starts with."""
    return Column("shard_id", Integer, primary_key=True, autoincrement=False)


def key(name: str) -> Column[str]:
    """Returns a column of the primary key."""
    return text(name, primary_key=True)


def partial_index(name: str, *columns: Column[Any], where: ColumnElement[bool]) -> None:
    """Adds an index of the rows where a condition holds."""
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


# Small rows that change all the time. SQLite: one tree, by primary key. PostgreSQL: room on each page for the next
# version of a row, so that its indexes need not change with it.
UPDATED_IN_PLACE: dict[str, Any] = {"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 50}}
