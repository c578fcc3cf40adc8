"""Statements that return nothing but rows that break a rule."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, Table, and_, bindparam, func, or_, select

from broker_service.storage.audit.findings import Violation

# Of one check in one page: a broken account should not keep the others from being named.
MOST_ROWS = 100

# Ids sort by their bytes: the first of all, the last of all, and what puts an id right behind another.
FIRST_ID = ""
LAST_ID = "\U0010ffff"
_BEHIND = "\x01"


@dataclass(frozen=True, slots=True)
class Span:
    """A range of ids in one shard, both ends included."""

    shard_id: int
    first_id: str
    last_id: str

    @property
    def parameters(self) -> dict[str, Any]:
        """What the statements on it take."""
        return {"shard_id": self.shard_id, "first_id": self.first_id, "last_id": self.last_id}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that rows may break, and what it says."""

    name: str
    broken: ColumnElement[bool]
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """A statement for rows that break any of its rules; `describe` tells what such a row is."""

    statement: Select[Any]
    rules: tuple[Rule, ...]
    describe: Callable[[Row[Any]], str]

    def violations(self, connection: Connection, parameters: dict[str, Any]) -> Iterator[Violation]:
        """Names each rule that each row breaks, as long as the rows are not too many."""
        for number, row in enumerate(connection.execute(self.statement, parameters)):
            for rule in self.rules:
                if row._mapping[rule.name]:
                    what = "and more" if number == MOST_ROWS else f"{self.describe(row)}: {rule.text}"
                    yield Violation(row.account_id, rule.name, what)


def check_of(
    source: FromClause,
    columns: Sequence[ColumnElement[Any]],
    rules: Sequence[Rule],
    describe: Callable[[Row[Any]], str],
    *conditions: ColumnElement[bool],
) -> Check:
    """Returns a check of the rows of `source`; `columns` are what is told of them, the account's id among them."""
    statement = (
        select(*columns, *(rule.broken.label(rule.name) for rule in rules))
        .select_from(source)
        .where(*conditions, or_(*(rule.broken for rule in rules)))
        .order_by(*columns[:2])
        .limit(MOST_ROWS + 1)
    )
    return Check(statement, tuple(rules), describe)


def within_span(table: Table, key: str = "account_id") -> ColumnElement[bool]:
    """Tells whether a row of a sharded table is in the span whose parameters the statement is given."""
    return and_(
        table.c.shard_id == bindparam("shard_id"),
        table.c[key] >= bindparam("first_id"),
        table.c[key] <= bindparam("last_id"),
    )


def sort_in_files(connection: Connection) -> None:
    """Lets SQLite put what outgrows its cache into files, from now on; PostgreSQL does so by itself.

    The broker's connections keep such things in memory, which is for the few rows of its own reads.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA temp_store = FILE")


def last_of_page(table: Table, key: str) -> Select[Any]:
    """Returns what selects the last id of a full page of a shard: from `first_id` on, behind `other_rows` others."""
    identity = table.c[key]
    return (
        select(identity)
        .where(table.c.shard_id == bindparam("shard_id"), identity >= bindparam("first_id"))
        .order_by(identity)
        .limit(1)
        .offset(bindparam("other_rows"))
    )


def behind(identity: str) -> str:
    """Returns the first id that can come after this one."""
    return identity + _BEHIND


def id_names_account(identity: ColumnElement[str], account_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Tells whether an id carries its account, as `rsv_<account>_…` does."""
    prefix_length = len("acc_")
    account = func.substr(account_id, prefix_length + 1)
    return func.substr(identity, prefix_length + 1, func.length(account)) == account
