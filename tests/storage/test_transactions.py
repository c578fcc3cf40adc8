"""Reading and writing beside the ledger: all or nothing, on snapshots, with the same errors on every database."""

import asyncio

import pytest
from sqlalchemy import Connection, insert, select, text, update

from broker_service.domain.book import Changes
from broker_service.domain.errors import InvariantError
from broker_service.domain.references import References
from broker_service.storage import tables
from broker_service.storage.database import Database
from broker_service.storage.errors import DuplicateRowError, StorageConflictError, StorageUnavailableError
from tests.databases import DatabaseKind, only_on, run_sql, write_lock
from tests.storage.ledger_pages import account, write


def property_values(connection: Connection) -> dict[str, str]:
    return {row.name: row.value for row in connection.execute(select(tables.properties))}


def add_property(connection: Connection) -> None:
    connection.execute(insert(tables.properties), {"name": "half", "value": "done"})


async def assert_written_alone(database: Database) -> None:
    """Holds the database to having nothing of what failed, and to going on."""
    assert "half" not in await database.read(property_values)
    await database.write(add_property)
    assert (await database.read(property_values))["half"] == "done"


@only_on(DatabaseKind.SQLITE, reason="PostgreSQL's defaults are its administrator's")
async def test_a_file_s_commits_survive_a_power_failure_and_readers_do_not_wait(database: Database) -> None:
    def pragmas(connection: Connection) -> list[object]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")]

    assert await database.write(pragmas) == [2, "wal"]


@only_on(DatabaseKind.POSTGRESQL, reason="SQLite has settings of its own")
@pytest.mark.parametrize(("given", "used"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_commits_are_durable_whatever_the_server_s_default(
    database: Database, books_url: str, given: str, used: str
) -> None:
    name = books_url.partition("?")[0].rpartition("/")[2]
    run_sql(books_url, f"ALTER DATABASE {name} SET synchronous_commit = '{given}'")
    found = await database.write(lambda connection: connection.scalar(text("SHOW synchronous_commit")))
    assert found == used


async def test_work_that_raises_leaves_nothing(database: Database) -> None:
    def work(connection: Connection) -> None:
        add_property(connection)
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await database.write(work)
    await assert_written_alone(database)


async def test_a_row_that_is_there_is_a_duplicate_and_leaves_nothing(database: Database) -> None:
    def work(connection: Connection) -> None:
        add_property(connection)
        connection.execute(insert(tables.properties), {"name": "shards", "value": "2"})

    with pytest.raises(DuplicateRowError):
        await database.write(work)
    await assert_written_alone(database)


async def test_a_row_that_breaks_a_unique_rule_is_a_duplicate(database: Database) -> None:
    def work(connection: Connection) -> None:
        add_property(connection)
        (key,) = connection.execute(select(tables.keys))
        connection.execute(insert(tables.keys), dict(key._mapping) | {"key_id": "another"})

    with pytest.raises(DuplicateRowError):
        await database.write(work)
    await assert_written_alone(database)


@pytest.mark.parametrize(
    "change",
    [{"reserved_credits": 2}, {"reserved_credits": -1}, {"ledger_credits": -1}, {"service": None}],
    ids=str,
)
async def test_a_row_that_breaks_a_rule_of_its_table_is_a_broken_invariant(
    database: Database, change: dict[str, object]
) -> None:
    await write(database.lane(0), Changes(account=account(number=1)))

    def work(connection: Connection) -> None:
        add_property(connection)
        connection.execute(update(tables.accounts).values(change))

    with pytest.raises(InvariantError):
        await database.write(work)
    await assert_written_alone(database)


async def test_a_statement_that_cannot_run_leaves_nothing(database: Database) -> None:
    def work(connection: Connection) -> None:
        add_property(connection)
        connection.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(Exception, match="nowhere"):
        await database.write(work)
    await assert_written_alone(database)


async def test_a_lock_held_too_long_is_a_conflict_and_readers_go_on(
    impatient_database: Database, books_url: str
) -> None:
    database = impatient_database
    with write_lock(books_url):
        with pytest.raises(StorageConflictError):
            await database.write(add_property)
        assert await asyncio.wait_for(database.read(property_values), 1)
    await assert_written_alone(database)


async def test_readers_see_every_write_that_was_answered(database: Database) -> None:
    def count_up(connection: Connection) -> None:
        found = int(connection.execute(select(tables.properties.c.value).where(shards)).scalar_one())
        connection.execute(update(tables.properties).where(shards).values(value=str(found + 1)))

    shards = tables.properties.c.name == "shards"
    for number in range(2, 30):
        await database.write(count_up)
        found = await asyncio.gather(*(database.read(property_values) for _ in range(12)))
        assert [values["shards"] for values in found] == [str(number)] * 12


async def test_readers_see_every_batch_that_was_answered(database: Database) -> None:
    lane = database.lane(0)
    await write(lane, Changes(account=account()))
    ledger_credits = select(tables.accounts.c.ledger_credits)
    for number in range(1, 30):
        await write(lane, Changes(account=account(number=number)), references=References(accounts={"acc"}))
        reads = (database.read(lambda connection: connection.execute(ledger_credits).scalar_one()) for _ in range(4))
        assert await asyncio.gather(*reads) == [number] * 4


async def test_a_reader_stays_with_one_snapshot(database: Database, books_url: str) -> None:
    def read_twice(connection: Connection) -> list[dict[str, str]]:
        first = property_values(connection)
        run_sql(books_url, "UPDATE properties SET value = 'changed' WHERE name = 'shards'")
        return [first, property_values(connection)]

    first, second = await database.read(read_twice)
    assert first == second
    assert (await database.read(property_values))["shards"] == "changed"


async def test_many_readers_and_writers_at_once_are_all_served(database: Database) -> None:
    async def add_one(number: int) -> None:
        row = {"name": f"{number:03}", "value": ""}
        await database.write(lambda connection: connection.execute(insert(tables.properties), row))
        assert row["name"] in await database.read(property_values)

    await asyncio.gather(*(add_one(number) for number in range(60)))


@only_on(DatabaseKind.SQLITE, reason="PostgreSQL tells a wrong statement from an outage")
async def test_a_statement_that_cannot_run_is_an_outage(database: Database) -> None:
    with pytest.raises(StorageUnavailableError):
        await database.read(lambda connection: connection.execute(text("SELECT * FROM nowhere")).all())
