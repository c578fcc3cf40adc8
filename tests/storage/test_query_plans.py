"""No statement of the hot path reads more of a table than it has to."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy import Engine, event

from broker_service.domain.commands import Capture, OpenAccount, Release, Reserve
from broker_service.domain.identities import account_id_for
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL
from broker_service.engine.clock import system_clock
from broker_service.engine.committer import Committer
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.storage import postgresql, tables
from broker_service.storage.database import Database
from broker_service.storage.ledger_queries import EntrySelection, ReservationSelection
from tests.databases import Connected, DatabaseKind, connected

HOT_TABLES = {table.name for table in tables.metadata.tables.values() if "shard_id" in table.c}
# What a search goes by: an account, an id, or a time within the shard.
BEYOND_SHARD = re.compile(r"\b(?!shard_id)\w+_(id|time)\b")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Every statement that any database opened from now on is sent: with its parameters' values on SQLite only."""
    seen: set[str] = set()
    fetch = PreparedStatement.fetch

    async def noting_fetch(statement: Any, *parameters: Any, **options: Any) -> Any:
        seen.add(statement.get_query())
        return await fetch(statement, *parameters, **options)

    def watch(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(seen.add)

    monkeypatch.setattr(PreparedStatement, "fetch", noting_fetch)
    event.listen(Engine, "connect", watch)
    yield seen
    event.remove(Engine, "connect", watch)


async def work_through_everything(database: Database) -> None:
    committer = Committer(database, system_clock)
    reader = LedgerReader(database, committer)
    account_ids = [account_id_for("cus_c", str(number)) for number in range(3)]

    def reserve(account_id: str, number: int) -> Reserve:
        return Reserve(str(number), account_id, "prv_p", False, 1, timedelta(seconds=9), DEFAULT_TTL, MAX_TTL, "", {})

    await asyncio.gather(
        *(
            committer.execute(OpenAccount(account_id, account_id, account_id, "prv_p", "sms", False, 99, account_id))
            for account_id in account_ids
        )
    )
    results = await asyncio.gather(
        *(committer.execute(reserve(account_id, number)) for account_id in account_ids for number in range(5))
    )
    for number, result in enumerate(results):
        assert isinstance(result, ReservationResult)
        account_id, reservation_id = result.reservation.account_id, result.reservation.reservation_id
        if number % 2:
            await committer.execute(Capture(str(number), account_id, "prv_p", reservation_id, None, keep_open=False))
        else:
            await committer.execute(Release(str(number), account_id, "prv_p", reservation_id, ""))
        await reader.book(account_id)
        await reader.reservation(account_id, reservation_id)
    await reader.reservations(account_ids[0], ReservationSelection(None, (system_clock(), "rsv_x"), 2))
    await reader.entries(account_ids[0], EntrySelection(1, None, None, 2))


def assert_sqlite_searches(other: Connected, statement: str) -> int:
    """Holds SQLite's plan to searching the hot tables, but no whole shard of them; returns how many searches it has."""
    searches = 0
    for *_, step in other.sql(f"EXPLAIN QUERY PLAN {statement}"):
        verb, table = step.split()[:2]
        if table in HOT_TABLES:
            assert verb == "SEARCH", (statement, step)
            assert BEYOND_SHARD.search(step.partition("(")[2]), (statement, step)
            searches += 1
    return searches


def assert_postgresql_searches(other: Connected, statement: str) -> int:
    """As above, for PostgreSQL's plan for parameters of any value."""
    parameters = max(map(int, re.findall(r"\$(\d+)", statement)))
    other.sql(f"PREPARE hot AS {statement}")
    ((found,),) = other.sql(f"EXPLAIN (FORMAT JSON) EXECUTE hot({', '.join(['NULL'] * parameters)})")
    other.sql("DEALLOCATE hot")
    searches = 0
    for node in nodes_of(json.loads(found)[0]["Plan"]):
        kind, condition = node["Node Type"], node.get("Index Cond", "")
        if kind == "Seq Scan":
            assert node["Relation Name"] not in HOT_TABLES, (statement, node)
        elif "Index" in kind:
            assert BEYOND_SHARD.search(condition), (statement, node)
            searches += 1
    return searches


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)


async def test_every_hot_statement_searches_by_an_index(
    statements: set[str], database: Database, books_url: str, database_kind: DatabaseKind
) -> None:
    # Without what has made the database, if that was just now.
    statements.clear()
    await work_through_everything(database)
    hot = [it for it in statements if any(f" {table} " in f"{' '.join(it.split())} " for table in HOT_TABLES)]
    searches = 0
    with connected(books_url) as other:
        if database_kind is DatabaseKind.POSTGRESQL:
            # The tables are too small for an index to be worth anything. The question is whether one can be used.
            for name, value in postgresql._LANE_SETTINGS.items():
                other.sql(f"SET {name} = '{value}'")
        for statement in hot:
            if database_kind is DatabaseKind.POSTGRESQL:
                searches += assert_postgresql_searches(other, statement)
            else:
                searches += assert_sqlite_searches(other, statement)
    assert searches > 10
