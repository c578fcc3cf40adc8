"""What the sweeper and the watchers ask for again and again is found by an index, however large the tables are."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, event

from broker_service.domain.records import Account, AccountState
from broker_service.storage.balance_queries import changed_accounts
from broker_service.storage.database import open_database
from broker_service.storage.expiry_queries import accounts_due
from tests.databases import DatabaseKind, run_sql

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SEEN = {f"acc_{number}": Account("", "", "", "", AccountState.ACTIVE, 1, 0, 1, NOW, NOW) for number in range(3)}
QUERIES: list[Callable[[Connection], Any]] = [
    lambda connection: accounts_due(connection, 0, NOW, 10),
    lambda connection: changed_accounts(connection, 0, SEEN, NOW - timedelta(seconds=5), NOW),
]


@pytest.fixture
def plans() -> Iterator[dict[str, str]]:
    """The plan of every SELECT that any database of this process is sent, by the table it reads."""
    seen: dict[str, str] = {}

    def explain(connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        found = re.search(r"\bFROM (\w+)", statement)
        if not statement.startswith("SELECT") or found is None or found[1] not in ("grants", "reservations"):
            return
        assert statement.count("shard_id") == 1, statement
        is_sqlite = connection.dialect.name == "sqlite"
        verb = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{verb} {statement}", parameters).all()
        seen[found[1]] = "\n".join(str(row[-1]) for row in rows)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", explain)
    yield seen
    event.remove(sqlalchemy.Engine, "before_cursor_execute", explain)


def fill(url: str) -> None:
    """Adds grants and reservations of many accounts, few of which are due."""
    numbers = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000)"
    due = f"{(NOW - timedelta(hours=3)).timestamp():.0f}000000 + CAST(n AS bigint) * 1000000000"
    run_sql(
        url,
        "INSERT INTO grants (shard_id, account_id, grant_id, kind, priority, credits, remaining_credits,"
        " reserved_credits, expire_time, purchase_id, create_time, spent, revoked)"
        f" {numbers} SELECT 0, 'acc_' || n, 'grt_' || n, 'PAID', 100, 9, 9, 0, {due}, NULL, 0, false, false"
        " FROM numbers",
    )
    run_sql(
        url,
        "INSERT INTO reservations (shard_id, reservation_id, account_id, provider_id, service, state,"
        " reserved_credits, captured_credits, released_credits, refunded_credits, allocations, fingerprint,"
        " create_time, expire_time, resolve_time, description, metadata)"
        f" {numbers} SELECT 0, 'rsv_' || n, 'acc_' || n, 'prv', 'sms', 'ACTIVE', 1, 0, 0, 0, '[]', '',"
        f" 0, {due}, NULL, '', '' FROM numbers",
    )
    if DatabaseKind.of(url) is DatabaseKind.POSTGRESQL:
        run_sql(url, "ANALYZE")


async def explained(url: str, query: Callable[[Connection], Any]) -> None:
    database = open_database(url)
    try:
        await database.read(query)
    finally:
        await database.close()


@pytest.mark.parametrize("query", QUERIES, ids=["sweeper", "watchers"])
async def test_what_is_due_is_found_by_its_partial_index(
    books_url: str, plans: dict[str, str], query: Callable[[Connection], Any]
) -> None:
    fill(books_url)
    plans.clear()
    await explained(books_url, query)
    for table, index in (("reservations", "reservations_due"), ("grants", "grants_due")):
        plan = plans[table]
        assert index in plan, plan
        assert re.search(r"shard_id\W", plan), plan
        assert re.search(r"expire_time\W", plan), plan
