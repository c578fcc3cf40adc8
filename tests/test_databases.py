"""The databases that tests run on: both kinds can be had, locked and ended as other processes would do it."""

from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.databases import DatabaseKind, connected, cut_connections, only_on, row_lock, run_sql, write_lock
from tests.postgres_server import PostgresServer


def test_a_statement_of_another_process_is_committed(database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE things (id bigint, name text)")
    run_sql(database_url, "INSERT INTO things VALUES (?, ?)", 2**63 - 1, "naïve")
    assert run_sql(database_url, "SELECT name, id FROM things WHERE id = ?", 2**63 - 1) == [("naïve", 2**63 - 1)]


def test_each_database_is_new(new_database: Callable[[], str]) -> None:
    urls = {new_database() for _ in range(3)}
    assert len(urls) == 3
    for url in urls:
        run_sql(url, "CREATE TABLE things (id bigint)")


def test_a_write_lock_keeps_writers_out_and_lets_readers_in(database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE things (id bigint)")
    with write_lock(database_url), connected(database_url) as other:
        assert other.sql("SELECT * FROM things") == []
        wait_no_longer = "SET lock_timeout = '50ms'" if "postgresql" in database_url else "PRAGMA busy_timeout = 50"
        other.sql(wait_no_longer)
        with pytest.raises(Exception, match="lock"):
            other.sql("INSERT INTO things VALUES (1)")
    run_sql(database_url, "INSERT INTO things VALUES (1)")


@only_on(DatabaseKind.POSTGRESQL, reason="SQLite locks the whole file")
def test_a_row_lock_keeps_writers_of_the_row_out(database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE things (id bigint)")
    run_sql(database_url, "INSERT INTO things VALUES (1), (2)")
    lock = row_lock(database_url, "SELECT id FROM things WHERE id = ? FOR UPDATE", 1)
    with lock, connected(database_url) as other:
        other.sql("SET lock_timeout = '50ms'")
        other.sql("UPDATE things SET id = 3 WHERE id = 2")
        with pytest.raises(asyncpg.LockNotAvailableError):
            other.sql("UPDATE things SET id = 4 WHERE id = 1")


@only_on(DatabaseKind.POSTGRESQL, reason="SQLite has no connections to cut")
def test_connections_are_cut(database_url: str) -> None:
    with connected(database_url) as other:
        assert cut_connections(database_url) == 1
        with pytest.raises(asyncpg.PostgresError):
            other.sql("SELECT 1")


@pytest.mark.parametrize("end", [PostgresServer.shut_down, PostgresServer.immediate_shutdown, PostgresServer.kill])
def test_a_server_that_was_ended_starts_again(
    private_postgresql: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    url = private_postgresql.url()
    run_sql(url, "CREATE TABLE things (id bigint)")
    for number in range(2):
        run_sql(url, "INSERT INTO things VALUES (?)", number)
        end(private_postgresql)
        with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
            run_sql(url, "SELECT 1")
        private_postgresql.start()
    assert run_sql(url, "SELECT id FROM things ORDER BY id") == [(0,), (1,)]


def test_a_server_keeps_what_makes_commits_durable(private_postgresql: PostgresServer) -> None:
    settings = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"
    assert dict(run_sql(private_postgresql.url(), settings)) == dict.fromkeys(
        ("fsync", "synchronous_commit", "full_page_writes"), "on"
    )


@pytest.mark.parametrize("end", [PostgresServer.close, PostgresServer.kill])
def test_a_server_leaves_nothing(end: Callable[[PostgresServer], None]) -> None:
    server = PostgresServer()
    try:
        end(server)
    finally:
        server.close()
    assert not server.directory.exists()
    assert not list(Path("/tmp").glob(f"{server.directory.name}*"))
