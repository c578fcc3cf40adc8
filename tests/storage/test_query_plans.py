"""No statement of the hot path reads more of a table than it has to."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, event

from broker_service.bootstrap import initialize
from broker_service.domain.commands import Capture, OpenAccount, Release, Reserve
from broker_service.domain.identities import account_id_for
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL
from broker_service.domain.reservations import ReservationResult
from broker_service.engine.clock import system_clock
from broker_service.engine.committer import Committer
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.storage import tables
from broker_service.storage.database import open_database
from broker_service.storage.ledger_queries import EntrySelection, ReservationSelection

HOT_TABLES = {table.name for table in tables.metadata.tables.values() if "shard_id" in table.c}


@pytest.fixture
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Every statement that any database of this process is sent, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(
        _connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        seen.append((statement, parameters[0] if many else parameters))

    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    yield seen
    event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


async def work_through_everything(url: str) -> None:
    database = open_database(url)
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
    await database.close()


async def test_every_hot_statement_searches_by_an_index_and_names_one_shard(
    tmp_path: Path, statements: list[tuple[str, Any]]
) -> None:
    url = f"sqlite:///{tmp_path}/iap.db"
    initialize(url)
    statements.clear()
    await work_through_everything(url)
    seen = {
        statement: parameters
        for statement, parameters in statements
        if any(f" {table} " in f"{statement.replace(chr(10), ' ')} " for table in HOT_TABLES)
    }
    assert len(seen) > 10
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        for statement, parameters in seen.items():
            assert statement.count("shard_id") >= 1, statement
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = [str(step[-1]) for step in plan]
            assert not [step for step in steps if step.startswith("SCAN") and "CONSTANT" not in step], (
                statement,
                steps,
            )
            for step in steps:
                if step.startswith("SEARCH"):
                    # Beyond the shard: by account or by id.
                    assert step.count("=?") >= 2, (statement, steps)
    engine.dispose()
