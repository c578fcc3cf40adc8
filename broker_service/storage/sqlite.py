"""A SQLite file: one thread that writes, a few that read, each on a connection of its own that it keeps.

WAL lets the readers go on while the writer commits. synchronous=FULL flushes every commit to the disk: with NORMAL
an acknowledged commit may be lost to a power failure (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

from broker_service.domain.decide import Verdict
from broker_service.domain.errors import InvariantError
from broker_service.domain.references import References
from broker_service.storage.errors import (
    DatabaseUnusableError,
    DuplicateRowError,
    StorageConflictError,
    StorageUnavailableError,
)
from broker_service.storage.ledger import Decide, Now, commit_steps
from broker_service.storage.sqlite_statements import run_steps

Outcome = TypeVar("Outcome")
Work = Callable[[Connection], Outcome]

_READER_THREADS = 2
# Waited for in each try; a conflict is tried several times.
_BUSY_TIMEOUT_SECONDS = 1.0
_DUPLICATE_ROW = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "trusted_schema = OFF",
    # 64 MB for each connection, instead of 2.
    "cache_size = -65536",
    # Pages of the log before it is written back: 64 MB, so that a page that changes often is written back seldom.
    "wal_autocheckpoint = 16384",
)
# The rows that an UPDATE is given are gathered in a table of its own: a batch's at most. Readers and migrations may
# have more to sort than memory holds.
_WRITER_PRAGMAS = (*_PRAGMAS, "temp_store = MEMORY")
# The hot path's statements, each in several sizes; 128 by default.
_PREPARED_STATEMENTS = 1_024


class SqliteDatabase:
    """See Database."""

    def __init__(self, database_url: str | URL) -> None:
        url = make_url(database_url)
        writing = _engine(url, begin="BEGIN IMMEDIATE", pragmas=_WRITER_PRAGMAS)
        self._writer = _ConnectedThreads(writing, threads=1, name="iap-write")
        self._readers = _ConnectedThreads(_engine(url, begin="BEGIN"), threads=_READER_THREADS, name="iap-read")

    async def write(self, work: Work[Outcome]) -> Outcome:
        """See Database."""
        return await self._writer.run(work)

    async def read(self, work: Work[Outcome]) -> Outcome:
        """See Database."""
        return await self._readers.run(work)

    def lane(self, shard_id: int) -> "SqliteLane":
        """See Database. All lanes share the one writer."""
        return SqliteLane(self._writer, shard_id)

    async def close(self) -> None:
        """See Database."""
        await self._readers.close()
        await self._writer.close()


class SqliteLane:
    """See LedgerLane. Speaks to the driver directly: a batch of one would pay SQLAlchemy more than the database."""

    parallel_batches = 1

    def __init__(self, writer: "_ConnectedThreads", shard_id: int) -> None:
        self._writer = writer
        self._shard_id = shard_id

    async def commit(self, references: References, now: Now, decide: Decide) -> Verdict:
        """See LedgerLane."""

        def work(connection: sqlite3.Connection) -> Verdict:
            steps = commit_steps(references, now, decide)
            with _transaction(connection):
                step = next(steps)
                while True:
                    try:
                        step = steps.send(run_steps(connection, self._shard_id, step))
                    except StopIteration as end:
                        verdict: Verdict = end.value
                        return verdict

        return await self._writer.run_on_driver(work)


class _ConnectedThreads:
    """Threads that each hold one connection and run work on it, a transaction at a time."""

    def __init__(self, engine: Engine, *, threads: int, name: str) -> None:
        self._engine = engine
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Work[Outcome]) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._transact, work)

    async def run_on_driver(self, work: Callable[[sqlite3.Connection], Outcome]) -> Outcome:
        """Runs work that begins and ends its transaction by itself."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._call, work)

    def _transact(self, work: Work[Outcome]) -> Outcome:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            raise _meaning_of(error.orig if isinstance(error.orig, sqlite3.Error) else error) from error

    def _call(self, work: Callable[[sqlite3.Connection], Outcome]) -> Outcome:
        try:
            pooled = self._engine.raw_connection()
            try:
                connection = pooled.driver_connection
                if not isinstance(connection, sqlite3.Connection):
                    raise StorageUnavailableError("the connection is closed")
                return work(connection)
            finally:
                pooled.close()
        except sqlite3.Error as error:
            raise _meaning_of(error) from error
        except DBAPIError as error:
            raise _meaning_of(error.orig if isinstance(error.orig, sqlite3.Error) else error) from error

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
        self._engine.dispose()


def open_database(url: URL) -> SqliteDatabase:
    """Opens an existing file. Raises DatabaseUnusableError."""
    path = Path(url.database or "")
    if not path.exists():
        raise DatabaseUnusableError(f"there is no database at {path}; make one with `iap-broker init`")
    with _setting_up(url) as engine, engine.begin():
        pass
    return SqliteDatabase(url)


def create_database(url: URL, work: Work[Outcome]) -> Outcome:
    """Makes the file and its directory where missing, and runs `work` on it. Raises DatabaseUnusableError."""
    path = Path(url.database or "")
    with _setting_up(url) as engine:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its owner's alone: it holds customers' names. SQLite gives its other files the same mode.
        path.touch(mode=0o600)
        with engine.begin() as connection:
            return work(connection)


@contextlib.contextmanager
def _setting_up(url: URL) -> Iterator[Engine]:
    engine = _engine(url, begin="BEGIN IMMEDIATE")
    try:
        yield engine
    except DBAPIError as error:
        raise DatabaseUnusableError(f"cannot open the database at {url.database}: {error.orig}") from error
    except OSError as error:
        cause = error.strerror or str(error)
        raise DatabaseUnusableError(f"cannot open the database at {url.database}: {cause}") from error
    finally:
        engine.dispose()


def _engine(url: URL, *, begin: str, pragmas: Sequence[str] = _PRAGMAS) -> Engine:
    engine = sqlalchemy.create_engine(
        url.set(drivername="sqlite+pysqlite"),
        poolclass=sqlalchemy.pool.SingletonThreadPool,
        connect_args={
            "timeout": _BUSY_TIMEOUT_SECONDS,
            "isolation_level": None,
            "check_same_thread": False,
            "cached_statements": _PREPARED_STATEMENTS,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        # The driver's own BEGIN comes late and is never IMMEDIATE, so it is switched off above.
        connection.exec_driver_sql(begin)

    return engine


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, such as a full disk, have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _meaning_of(error: Exception) -> Exception:
    """Returns what a driver's error means; itself where it means that our statement was wrong."""
    cause = str(error)
    match error:
        case sqlite3.IntegrityError():
            # Two writers may make the same row; a row that breaks a CHECK is wrong whoever writes it.
            return DuplicateRowError(cause) if error.sqlite_errorname in _DUPLICATE_ROW else InvariantError(cause)
        case sqlite3.OperationalError() if "locked" in cause:
            return StorageConflictError(cause)
        case sqlite3.OperationalError() | sqlite3.InternalError() | sqlite3.InterfaceError():
            return StorageUnavailableError(cause)
        case sqlite3.DatabaseError() if type(error) is sqlite3.DatabaseError:
            # What sqlite3 raises for a file that is damaged.
            return StorageUnavailableError(cause)
        case _:
            return error
