"""Transactions on a database, off the event loop.

Work is a plain function of a SQLAlchemy Core connection, so that the same SQL serves every database. Nothing here
knows what the work is.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
)

from broker_service.domain.errors import InvariantError

Outcome = TypeVar("Outcome")
Work = Callable[[Connection], Outcome]

_READER_THREADS = 2
# Waited for in each try; a conflict is tried several times.
_BUSY_TIMEOUT_SECONDS = 1.0
_DUPLICATE_ROW = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")


class StorageError(Exception):
    """The database could not do the work. Unless COMMIT itself was lost, nothing of it has been done."""


class StorageConflictError(StorageError):
    """Other writers were in the way; the same work may succeed when it is run again."""


class DuplicateRowError(StorageConflictError):
    """A row that was to be new is there already: another writer was quicker, or the books contradict themselves."""


class StorageUnavailableError(StorageError):
    """The database is gone, full or broken; the text is for the operator's log, not for callers."""


class DatabaseUnusableError(StorageError):
    """The database cannot be opened, or is not one of ours; the text is one line for the operator."""


class Database(Protocol):
    """What the broker asks of a database."""

    async def write(self, work: Work[Outcome]) -> Outcome:
        """Runs `work` in one transaction and returns its outcome once that is durable.

        Raises StorageConflictError or StorageUnavailableError, and InvariantError if the schema forbids what was
        written. What `work` itself raises rolls back and passes through.
        """
        ...

    async def read(self, work: Work[Outcome]) -> Outcome:
        """Runs `work` on a snapshot at least as new as every write that was answered before. Errors as in `write`."""
        ...

    async def close(self) -> None:
        """Finishes what is running and closes all connections."""
        ...


class SqliteDatabase:
    """A SQLite file: one thread that writes, a few that read, each on a connection of its own that it keeps.

    WAL lets the readers go on while the writer commits. synchronous=FULL flushes every commit to the disk: with NORMAL
    an acknowledged commit may be lost to a power failure (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """

    def __init__(self, url: str) -> None:
        self._writer = _ConnectedThreads(_sqlite_engine(url, begin="BEGIN IMMEDIATE"), threads=1, name="iap-write")
        self._readers = _ConnectedThreads(_sqlite_engine(url, begin="BEGIN"), threads=_READER_THREADS, name="iap-read")

    async def write(self, work: Work[Outcome]) -> Outcome:
        """See Database."""
        return await self._writer.run(work)

    async def read(self, work: Work[Outcome]) -> Outcome:
        """See Database."""
        return await self._readers.run(work)

    async def close(self) -> None:
        """See Database."""
        await self._readers.close()
        await self._writer.close()


class _ConnectedThreads:
    """Threads that each hold one connection and run work on it, a transaction at a time."""

    def __init__(self, engine: Engine, *, threads: int, name: str) -> None:
        self._engine = engine
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Work[Outcome]) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._transact, work)

    def _transact(self, work: Work[Outcome]) -> Outcome:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            raise _translated(error) from error

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Opens an existing database. Raises DatabaseUnusableError, one line for the operator."""
    path = sqlite_path(url)
    if not path.exists():
        raise DatabaseUnusableError(f"there is no database at {path}; make one with `iap-broker init`")
    _probe(url)
    return SqliteDatabase(url)


def create_database(url: str, work: Callable[[Connection], Outcome]) -> Outcome:
    """Makes the file and its directory where missing, and runs `work` on it. Raises DatabaseUnusableError."""
    path = sqlite_path(url)
    engine = _sqlite_engine(url, begin="BEGIN IMMEDIATE")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its owner's alone: it holds customers' names. SQLite gives its other files the same mode.
        path.touch(mode=0o600)
        with engine.begin() as connection:
            return work(connection)
    except (OSError, DBAPIError) as error:
        raise DatabaseUnusableError(f"cannot open the database at {path}: {_cause(error)}") from error
    finally:
        engine.dispose()


def sqlite_path(url: str) -> Path:
    """Returns the file a `sqlite:///…` URL names. Raises DatabaseUnusableError for any other URL."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise DatabaseUnusableError(f"the database URL {parsed!r} is not of the form sqlite:///path/to/file.db")
    return Path(parsed.database)


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise DatabaseUnusableError("the database URL is not of the form sqlite:///path/to/file.db") from error


def _probe(url: str) -> None:
    """Raises DatabaseUnusableError unless the file can be opened for writing."""
    engine = _sqlite_engine(url, begin="BEGIN IMMEDIATE")
    try:
        with engine.begin():
            pass
    except DBAPIError as error:
        raise DatabaseUnusableError(f"cannot open the database at {sqlite_path(url)}: {_cause(error)}") from error
    finally:
        engine.dispose()


def _sqlite_engine(url: str, *, begin: str) -> Engine:
    engine = sqlalchemy.create_engine(
        _parse(url).set(drivername="sqlite+pysqlite"),
        poolclass=sqlalchemy.pool.SingletonThreadPool,
        connect_args={"timeout": _BUSY_TIMEOUT_SECONDS, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        # The driver's own BEGIN comes late and is never IMMEDIATE, so it is switched off above.
        connection.exec_driver_sql(begin)

    return engine


def _translated(error: DBAPIError) -> Exception:
    """Returns what a driver's error means; itself where it means that our statement was wrong."""
    cause = _cause(error)
    match error:
        case IntegrityError():
            # Two writers may make the same row; a row that breaks a CHECK is wrong whoever writes it.
            duplicate = getattr(error.orig, "sqlite_errorname", "") in _DUPLICATE_ROW
            return DuplicateRowError(cause) if duplicate else InvariantError(cause)
        case OperationalError() if "locked" in cause:
            return StorageConflictError(cause)
        case OperationalError() | InternalError() | InterfaceError():
            return StorageUnavailableError(cause)
        case DatabaseError() if type(error) is DatabaseError:
            # What sqlite3 raises for a file that is damaged.
            return StorageUnavailableError(cause)
        case _:
            return error


def _cause(error: OSError | DBAPIError) -> str:
    """Returns the driver's own words, without the statement and its parameters."""
    if isinstance(error, DBAPIError):
        return str(error.orig)
    with contextlib.suppress(AttributeError):
        return error.strerror or str(error)
    return str(error)
