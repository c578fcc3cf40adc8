"""Making, opening and refusing databases."""

import os
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from broker_service.bootstrap import build_broker, initialize
from broker_service.storage.database import open_database
from broker_service.storage.errors import StorageUnavailableError
from mesh_runtime.startup_errors import StartupError
from tests.contract.broker_world.running_broker import broker_settings
from tests.databases import DatabaseKind, SharedServer, only_on, run_sql, sqlite_file, sqlite_url

PROPERTIES = "SELECT * FROM properties ORDER BY name"


async def assert_refused(database_url: str, match: str = ".") -> None:
    """Holds a start to being refused, in one line for the operator."""
    with pytest.raises(StartupError, match=match) as refused:
        await (await build_broker(broker_settings(database_url))).close()
    assert "\n" not in str(refused.value)


def test_a_database_is_made_once(database_url: str) -> None:
    assert initialize(database_url, shards=3)
    before = run_sql(database_url, "SELECT * FROM keys"), run_sql(database_url, PROPERTIES)
    assert initialize(database_url) is None
    assert (run_sql(database_url, "SELECT * FROM keys"), run_sql(database_url, PROPERTIES)) == before


async def test_a_database_is_made_on_a_running_event_loop_too(database_url: str) -> None:
    assert initialize(database_url)


def test_a_file_s_directories_are_made_and_it_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "iap.db"
    assert initialize(sqlite_url(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_secret_is_never_stored_in_a_file(tmp_path: Path) -> None:
    secret = initialize(sqlite_url(tmp_path / "iap.db"))
    assert secret
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_secret_is_never_stored(database_url: str) -> None:
    secret = initialize(database_url)
    assert secret
    for table in ("keys", "properties"):
        assert secret not in str(run_sql(database_url, f"SELECT * FROM {table}"))


async def test_a_broker_without_a_file_does_not_start_and_makes_none(tmp_path: Path) -> None:
    await assert_refused(sqlite_url(tmp_path / "none.db"), "init")
    assert not list(tmp_path.iterdir())


@only_on(DatabaseKind.POSTGRESQL, reason="an empty SQLite file is not there at all")
async def test_a_broker_on_an_empty_database_does_not_start(database_url: str) -> None:
    await assert_refused(database_url, "init")


@pytest.mark.parametrize("missing", ["database", "user", "server"])
def test_what_is_not_there_is_refused_in_one_line(shared_server: SharedServer, tmp_path: Path, missing: str) -> None:
    url = make_url(shared_server.url())
    elsewhere = {
        "database": url.set(database="iap_test_nowhere"),
        "user": url.set(username="nobody_we_know", password="hunter2"),
        "server": url.set(host=None, query={"host": str(tmp_path)}),
    }[missing]
    with pytest.raises(StartupError) as refused:
        initialize(elsewhere.render_as_string(hide_password=False))
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_server_that_is_not_there_lets_no_broker_start(tmp_path: Path) -> None:
    await assert_refused(f"postgresql+asyncpg://iap:hunter2@/iap?host={tmp_path}", "connect")
    await assert_refused("postgresql+asyncpg://iap:hunter2@127.0.0.1:1/iap", "127.0.0.1:1/iap")


@only_on(DatabaseKind.POSTGRESQL, reason="only a server has a driver to name")
async def test_the_driver_need_not_be_named(database_url: str) -> None:
    short = database_url.replace("+asyncpg", "")
    assert initialize(short)
    await (await build_broker(broker_settings(short))).close()


@pytest.mark.parametrize("spoil", ["DROP TABLE properties", "DELETE FROM properties"])
async def test_a_database_of_another_kind_is_refused(database_url: str, spoil: str) -> None:
    initialize(database_url)
    run_sql(database_url, spoil)
    await assert_refused(database_url)


async def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "iap.db"
    path.write_text("not a database " * 1_000)
    await assert_refused(sqlite_url(path))
    with pytest.raises(StartupError):
        initialize(sqlite_url(path))


@only_on(DatabaseKind.SQLITE, reason="a server's files are its own affair")
async def test_a_damaged_file_is_an_outage(books_url: str) -> None:
    ((page,),) = run_sql(books_url, "SELECT rootpage FROM sqlite_schema WHERE name = 'keys'")
    ((page_bytes,),) = run_sql(books_url, "PRAGMA page_size")
    with sqlite_file(books_url).open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(os.urandom(page_bytes))
    database = open_database(books_url)
    with pytest.raises(StorageUnavailableError):
        await database.read(lambda connection: connection.exec_driver_sql("SELECT * FROM keys").all())
    await database.close()


@pytest.mark.parametrize("wrong", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "no url", ""])
def test_a_wrong_url_is_refused_in_one_line(wrong: str) -> None:
    with pytest.raises(StartupError) as refused:
        initialize(wrong)
    assert "\n" not in str(refused.value)
