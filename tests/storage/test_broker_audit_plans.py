"""No statement of the audit reads more of a table than its page, nor of another shard."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event

from broker_service.engine import auditing
from broker_service.storage import tables
from broker_service.storage.audit import PageSize
from tests.contract.broker_world.world import World
from tests.databases import DatabaseKind, only_on, run_sql
from tests.storage.broker_life import live_through_everything

HOT_TABLES = {table.name for table in tables.metadata.tables.values() if "shard_id" in table.c}


@pytest.fixture
def statements() -> Iterator[dict[str, Any]]:
    """Every statement that any database of this process is sent through SQLAlchemy, with its parameters."""
    seen: dict[str, Any] = {}

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_others: object) -> None:
        seen[statement] = parameters

    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    yield seen
    event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


@only_on(DatabaseKind.SQLITE, reason="PostgreSQL's plans depend on how much there is")
async def test_each_statement_searches_a_page_of_one_shard(own_world: World, statements: dict[str, Any]) -> None:
    for _ in range(2):
        await live_through_everything(own_world)
    statements.clear()
    found = await auditing.audit(own_world.running.broker.database, size=PageSize(rows=1))
    assert found.violations == ()
    audited = [it for it in statements if any(f"FROM {table}" in it for table in HOT_TABLES)]
    assert len(audited) > 10
    for statement in audited:
        plan = run_sql(own_world.running.database_url, f"EXPLAIN QUERY PLAN {statement}", *statements[statement])
        steps = [str(step[-1]) for step in plan]
        read = [step for step in steps if set(step.split()) & HOT_TABLES]
        assert read, (statement, steps)
        for step in read:
            assert step.startswith("SEARCH"), (statement, steps)
            assert "shard_id=?" in step, (statement, steps)
