"""Databases of both kinds for tests: fresh ones, and what another process would do to them."""

import asyncio
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tests.postgres_server import PostgresServer

# A server on which databases may be made; without it, the tests start one of their own.
SERVER_VARIABLE = "IAP_TEST_DATABASE"

# What another process waits for a lock at most, so that a test that blocks itself fails soon and says why.
LOCK_SECONDS = 5
_LOCK_TRIES = 4

Rows = list[tuple[Any, ...]]


class DatabaseKind(StrEnum):
    """What the broker keeps its books in."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"

    @classmethod
    def of(cls, url: str) -> "DatabaseKind":
        """Returns the kind of database that a URL names."""
        return cls(make_url(url).get_backend_name())


def only_on(kind: DatabaseKind, *, reason: str) -> pytest.MarkDecorator:
    """Runs a test on one kind of database alone; `reason` says why the other has nothing like it."""
    assert reason
    return pytest.mark.parametrize("database_kind", [kind], indirect=True, ids=str)


class SharedServer:
    """The PostgreSQL server that the tests of a process share: the environment's, or one started when first needed.

    No test ends it: those that end servers have their own. So what it commits need not outlive the machine.
    """

    def __init__(self) -> None:
        self._own: PostgresServer | None = None

    def url(self) -> str:
        """Returns the URL of a database that is there already."""
        given = os.environ.get(SERVER_VARIABLE)
        if given:
            return given
        if self._own is None:
            self._own = PostgresServer(flushes=False)
        return self._own.url()

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


@contextmanager
def fresh_postgresql(server_url: str, *, template: str | None = None) -> Iterator[str]:
    """Makes an empty database on a server, or a copy of one there; drops it in the end, whoever is connected to it."""
    name = f"iap_test_{uuid.uuid4().hex[:16]}"
    run_sql(server_url, f"CREATE DATABASE {name} TEMPLATE {template or 'template1'}")
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        run_sql(server_url, f"DROP DATABASE {name} WITH (FORCE)")


class DatabaseMaker:
    """Makes empty databases in a directory or on a server, and drops them when it is closed."""

    def __init__(self, directory: Path, server: SharedServer) -> None:
        self._directory = directory
        self._server = server
        self._made = ExitStack()
        self._count = 0

    def make(self, kind: DatabaseKind) -> str:
        """Returns the URL of a new database. A SQLite file is made by whoever opens it first."""
        if kind is DatabaseKind.POSTGRESQL:
            return self._made.enter_context(fresh_postgresql(self._server.url()))
        self._count += 1
        return sqlite_url(self._directory / f"iap{self._count}.db")

    def copy(self, url: str) -> str:
        """Returns the URL of a copy of a database that nobody is connected to."""
        if DatabaseKind.of(url) is DatabaseKind.POSTGRESQL:
            return self._made.enter_context(fresh_postgresql(self._server.url(), template=make_url(url).database))
        copied = self.make(DatabaseKind.SQLITE)
        shutil.copy(sqlite_file(url), sqlite_file(copied))
        return copied

    def close(self) -> None:
        self._made.close()


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def sqlite_file(url: str) -> Path:
    """Returns the file of a SQLite database."""
    database = make_url(url).database
    assert database, url
    return Path(database)


class Connected(Protocol):
    """A connection of another process."""

    def sql(self, statement: str, *parameters: object) -> Rows:
        """Runs one statement and returns its rows; commits it outside a transaction.

        A parameter is `?`, the next one, or `?2`, the second.
        """
        ...


def connected(url: str) -> AbstractContextManager[Connected]:
    """Connects to a database of either kind, as another process would.

    It blocks the thread, the broker's event loop included, until each statement has run. So no statement may wait for
    a transaction of a broker of the same process: after LOCK_SECONDS it fails.
    """
    return _PostgresqlConnected(url) if DatabaseKind.of(url) is DatabaseKind.POSTGRESQL else _SqliteConnected(url)


def run_sql(url: str, statement: str, *parameters: object) -> Rows:
    """Runs one statement as another process would, and commits it."""
    with connected(url) as other:
        return other.sql(statement, *parameters)


@contextmanager
def write_lock(url: str) -> Iterator[None]:
    """Keeps everybody else from writing, as another process's long transaction would; readers go on."""
    with connected(url) as other:
        if DatabaseKind.of(url) is DatabaseKind.SQLITE:
            other.sql("BEGIN IMMEDIATE")
        else:
            tables = other.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()")
            _lock_tables(other, sorted(name for (name,) in tables))
        try:
            yield
        finally:
            other.sql("ROLLBACK")


def _lock_tables(other: Connected, tables: Sequence[str]) -> None:
    """Locks tables in a transaction; again, if a vacuum or somebody who waits for one of them was in the way."""
    for _ in range(_LOCK_TRIES):
        other.sql("BEGIN")
        try:
            other.sql(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            other.sql("ROLLBACK")
        else:
            return
    raise TimeoutError("the tables cannot be locked")


@contextmanager
def row_lock(url: str, statement: str, *parameters: object) -> Iterator[None]:
    """Holds the PostgreSQL rows that a SELECT … FOR UPDATE names, as another broker's transaction would."""
    with connected(url) as other:
        other.sql("BEGIN")
        assert other.sql(statement, *parameters), "there is a row to lock"
        try:
            yield
        finally:
            other.sql("ROLLBACK")


@contextmanager
def unreadable(url: str, table: str) -> Iterator[None]:
    """Keeps everybody else from reading a table: takes it away, or on PostgreSQL locks it, as altering it would."""
    takes_away, gives_back = [f"ALTER TABLE {table} RENAME TO hidden"], f"ALTER TABLE hidden RENAME TO {table}"
    if DatabaseKind.of(url) is DatabaseKind.POSTGRESQL:
        takes_away, gives_back = ["BEGIN", f"LOCK TABLE {table}"], "ROLLBACK"
    with connected(url) as other:
        for statement in takes_away:
            other.sql(statement)
        try:
            yield
        finally:
            other.sql(gives_back)


def cut_connections(url: str) -> int:
    """Ends every other connection to a PostgreSQL database, as its operator would; returns how many there were."""
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return len(run_sql(url, f"SELECT pg_terminate_backend(pid) FROM ({others}) AS others"))


@contextmanager
def no_connections(url: str) -> Iterator[None]:
    """Ends every connection to a PostgreSQL database and lets nobody in, as a server that is gone would."""
    parsed = make_url(url)
    elsewhere = parsed.set(database="postgres").render_as_string(hide_password=False)
    run_sql(elsewhere, f"ALTER DATABASE {parsed.database} ALLOW_CONNECTIONS false")
    try:
        run_sql(elsewhere, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ?", parsed.database)
        yield
    finally:
        run_sql(elsewhere, f"ALTER DATABASE {parsed.database} ALLOW_CONNECTIONS true")


class _SqliteConnected:
    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(sqlite_file(url), timeout=LOCK_SECONDS, isolation_level=None)

    def __enter__(self) -> Connected:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def sql(self, statement: str, *parameters: object) -> Rows:
        return self._connection.execute(statement, parameters).fetchall()


class _PostgresqlConnected:
    """Runs on an event loop in a thread of its own, for asyncpg knows no other way and the caller's loop is taken."""

    def __init__(self, url: str) -> None:
        self._address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="other-process")
        self._runner = asyncio.Runner()
        self._connection: Any

    def __enter__(self) -> Connected:
        settings = {"application_name": "other process", "lock_timeout": f"{LOCK_SECONDS}s"}
        try:
            self._connection = self._run(asyncpg.connect(self._address, server_settings=settings))
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._connection.close())
        finally:
            self._end_thread()

    def sql(self, statement: str, *parameters: object) -> Rows:
        numbers = count(1)
        numbered = re.sub(r"\?(\d*)", lambda found: f"${found[1] or next(numbers)}", statement)
        return [tuple(row) for row in self._run(self._connection.fetch(numbered, *parameters))]

    def _run(self, work: Any) -> Any:
        async def awaited() -> Any:
            return await work

        return self._thread.submit(self._runner.run, awaited()).result()

    def _end_thread(self) -> None:
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()
