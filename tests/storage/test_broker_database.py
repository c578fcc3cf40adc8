"""Making, opening and refusing databases; transactions that are all or nothing."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text

from broker_service.bootstrap import build_broker, initialize
from broker_service.storage import tables
from broker_service.storage.database import (
    SqliteDatabase,
    StorageConflictError,
    StorageUnavailableError,
    open_database,
)
from mesh_runtime.startup_errors import StartupError
from tests.contract.broker_world.running_broker import broker_settings, run_sql, write_lock


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def property_values(connection: Connection) -> dict[str, str]:
    return {row.name: row.value for row in connection.execute(select(tables.properties))}


async def test_a_database_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "iap.db"
    assert initialize(url(path), shards=3)
    before = run_sql(path, "SELECT * FROM keys"), run_sql(path, "SELECT * FROM properties ORDER BY name")
    assert initialize(url(path), shards=7) is None
    assert (run_sql(path, "SELECT * FROM keys"), run_sql(path, "SELECT * FROM properties ORDER BY name")) == before


async def test_a_secret_is_never_stored(tmp_path: Path) -> None:
    path = tmp_path / "iap.db"
    secret = initialize(url(path))
    assert secret
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())


async def test_a_broker_without_a_database_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="init"):
        await build_broker(broker_settings(tmp_path / "none.db"))
    assert not list(tmp_path.iterdir()), "looking for a database makes none"


@pytest.mark.parametrize(
    "spoil",
    ["DROP TABLE properties", "UPDATE properties SET value = '999' WHERE name = 'schema_version'"],
)
async def test_a_database_of_another_kind_or_version_is_refused(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "iap.db"
    initialize(url(path))
    run_sql(path, spoil)
    with pytest.raises(StartupError):
        await build_broker(broker_settings(path))


async def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "iap.db"
    path.write_text("not a database " * 1_000)
    with pytest.raises(StartupError) as refused:
        await build_broker(broker_settings(path))
    assert "\n" not in str(refused.value)
    with pytest.raises(StartupError):
        initialize(url(path))


@pytest.mark.parametrize("wrong", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "no url", ""])
async def test_a_wrong_url_is_refused_in_one_line(wrong: str) -> None:
    with pytest.raises(StartupError) as refused:
        initialize(wrong)
    assert "\n" not in str(refused.value)


async def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as refused:
        initialize("postgresql://user:hunter2@host/db")
    assert "hunter2" not in str(refused.value)


@pytest.fixture
async def database(tmp_path: Path) -> SqliteDatabase:
    path = tmp_path / "iap.db"
    initialize(url(path))
    opened = open_database(url(path))
    assert isinstance(opened, SqliteDatabase)
    return opened


async def test_commits_survive_a_power_failure_and_readers_do_not_wait(database: SqliteDatabase) -> None:
    def pragmas(connection: Connection) -> list[object]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")]

    assert await database.write(pragmas) == [2, "wal"]
    await database.close()


async def test_work_that_raises_leaves_nothing(database: SqliteDatabase) -> None:
    def work(connection: Connection) -> None:
        connection.execute(insert(tables.properties), {"name": "half", "value": "done"})
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await database.write(work)
    assert "half" not in await database.read(property_values)
    await database.close()


async def test_a_row_that_breaks_a_rule_of_its_table_leaves_nothing(database: SqliteDatabase) -> None:
    def work(connection: Connection) -> None:
        connection.execute(insert(tables.properties), {"name": "half", "value": "done"})
        connection.execute(insert(tables.properties), {"name": "shards", "value": "2"})

    with pytest.raises(StorageConflictError):
        await database.write(work)
    assert "half" not in await database.read(property_values)
    await database.close()


async def test_what_was_written_is_read(database: SqliteDatabase) -> None:
    def count_up(connection: Connection) -> None:
        connection.execute(text("UPDATE properties SET value = value + 1 WHERE name = 'shards'"))

    for number in range(2, 50):
        await database.write(count_up)
        found = await asyncio.gather(*(database.read(property_values) for _ in range(4)))
        assert [values["shards"] for values in found] == [str(number)] * 4
    await database.close()


async def test_readers_go_on_while_another_process_writes(database: SqliteDatabase, tmp_path: Path) -> None:
    with write_lock(tmp_path / "iap.db"):
        assert await asyncio.wait_for(database.read(property_values), 1)
    await database.close()


async def test_a_statement_that_cannot_run_is_an_outage(database: SqliteDatabase) -> None:
    with pytest.raises(StorageUnavailableError):
        await database.read(lambda connection: connection.execute(text("SELECT * FROM nowhere")).all())
    await database.close()
