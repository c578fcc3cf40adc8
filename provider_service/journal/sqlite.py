"""A SQLite file, and one thread that holds the only connection to it.

WAL with synchronous=FULL: every commit is flushed to the disk. locking_mode=EXCLUSIVE: no other process gets in while
this one lives, so two never share a journal, and no transaction has to ask for locks.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from provider_service.journal import statements
from provider_service.journal.entries import Entry, Kind, Move, RequestKey, Step
from provider_service.journal.errors import JournalUnavailableError, JournalUnusableError
from provider_service.journal.store import Batch, Verdict, was_moved_by, was_opened_by

Outcome = TypeVar("Outcome")

# Less than SQLite's limit of 32 766 parameters, and a power of two.
_MAX_ROWS: Final = 256
# A process that was just killed may still hold its lock for a moment.
_LOCK_SECONDS: Final = 1.0
_PRAGMAS: Final = (
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    "trusted_schema = OFF",
    # 16 MB instead of 2, and a log that is written back seldom.
    "cache_size = -16384",
    "wal_autocheckpoint = 4096",
    # What is wiped, such as an account's token, is overwritten.
    "secure_delete = FAST",
)
# For a type that it does not know, the driver asks the type and the value for an adapter, in vain, which takes longer
# than all else about the value.
sqlite3.register_adapter(Step, int)
sqlite3.register_adapter(Kind, str)


class SqliteStore:
    """See Store. Speaks to the driver directly: a batch of one would pay SQLAlchemy more than the database."""

    is_shared = False

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, *, owner: int) -> None:
        self._connection = connection
        self._thread = thread
        self._owner = owner

    async def apply(self, batch: Batch) -> Verdict:
        """See Store."""
        return await self._transact(lambda: self._apply(batch))

    async def find(self, key: RequestKey) -> Entry | None:
        """See Store."""
        return await self._transact(lambda: self._find(key))

    async def adopt(self) -> Sequence[Entry]:
        """See Store. Nobody else is there, so all others are gone."""
        return await self._transact(self._adopt)

    async def prune(self, before: int) -> int:
        """See Store."""
        text = statements.PRUNE.format(before="?")
        return await self._transact(lambda: self._connection.execute(text, (before,)).rowcount)

    async def probe(self) -> None:
        """See Store."""
        await self._transact(lambda: _probe(self._connection))

    async def close(self) -> None:
        """See Store."""
        await _on(self._thread, self._connection.close)
        self._thread.shutdown()

    async def _transact(self, work: Callable[[], Outcome]) -> Outcome:
        return await _on(self._thread, lambda: _transact(self._connection, work))

    def _apply(self, batch: Batch) -> Verdict:
        found: dict[RequestKey, Entry] = {}
        refused: set[RequestKey] = set()
        for openings in _parts(batch.openings):
            if self._write(_insert_text(len(openings)), openings) != len(openings):
                found |= self._find_instead(openings)
        for moves in _parts(batch.moves):
            if self._write(_move_text(len(moves)), moves, self._owner) != len(moves):
                refused |= {
                    move.key for move in moves if not was_moved_by(move, self._find(move.key), owner=self._owner)
                }
        if batch.removals:
            keys = [(*key, self._owner) for key in batch.removals]
            self._connection.executemany(_REMOVE_TEXT, keys)
        return Verdict(found, frozenset(refused))

    def _write(self, text: str, rows: Sequence[Iterable[object]], *more: object) -> int:
        return self._connection.execute(text, (*chain.from_iterable(rows), *more)).rowcount

    def _find_instead(self, openings: Sequence[Entry]) -> dict[RequestKey, Entry]:
        found = {}
        for entry in openings:
            instead = self._find(entry.key)
            if instead is not None and not was_opened_by(entry, instead):
                found[entry.key] = instead
        return found

    def _find(self, key: RequestKey) -> Entry | None:
        row = self._connection.execute(_FIND_TEXT, key).fetchone()
        return None if row is None else _entry(row)

    def _adopt(self) -> list[Entry]:
        text = statements.OTHER_OWNERS.format(owner="?")
        for (former,) in self._connection.execute(text, (self._owner,)).fetchall():
            adopting = statements.ADOPT.format(owner="?", former="?")
            rows = self._connection.execute(adopting, (self._owner, former)).fetchall()
            if rows:
                return [_entry(row) for row in rows]
        return []


_FIND_TEXT: Final = statements.FIND.format(account="?", request_id="?")
_REMOVE_TEXT: Final = (
    "DELETE FROM requests WHERE account = ? AND request_id = ? "  # noqa: S608 - constants
    f"AND {statements.REMOVE_WHERE.format(owner='?')}"
)


@cache
def _insert_text(rows: int) -> str:
    return f"{statements.INSERT} VALUES {_values(statements.ENTRY_COLUMNS, rows)} {statements.ON_CONFLICT}"


@cache
def _move_text(rows: int) -> str:
    # SQLite calls the columns of a list of values column1, column2 …
    columns = ", ".join(f"column{number} AS {name}" for number, name in enumerate(statements.MOVE_COLUMNS, start=1))
    values = _values(statements.MOVE_COLUMNS, rows)
    given = f"SELECT {columns} FROM (VALUES {values})"  # noqa: S608 - question marks
    return f"{statements.MOVE} FROM ({given}) AS given {statements.MOVE_WHERE.format(owner='?')}"


def _values(columns: Sequence[str], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return ", ".join([row] * rows)


Row = TypeVar("Row", Entry, Move)


def _parts(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Cuts rows into powers of two, so that a few prepared statements serve any number of them."""
    start = 0
    while start < len(rows):
        size = min(_MAX_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        yield rows[start : start + size]
        start += size


def _entry(row: Sequence[object]) -> Entry:
    entry = Entry._make(row)
    return entry._replace(kind=Kind(entry.kind), step=Step(entry.step))


async def open_sqlite(path: Path, *, owner: int) -> SqliteStore:
    """Opens the file, and makes it and its directory where missing. Raises JournalUnusableError."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
    try:
        connection = await _on(thread, lambda: _connect(path))
    except BaseException:
        thread.shutdown()
        raise
    return SqliteStore(connection, thread, owner=owner)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its owner's alone: it holds what customers were answered. SQLite gives its other files the same mode.
        path.touch(mode=0o600)
        connection = sqlite3.connect(
            path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except (OSError, sqlite3.Error) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise JournalUnusableError(f"cannot open the journal {path}: {cause}") from error
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if not _is_current(connection):
            _set_up(connection)
        # Locks it, and shows that it can be written.
        _probe(connection)
    except BaseException as error:
        connection.close()
        # SQLAlchemy's error has the driver's as its cause.
        cause = error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
        if isinstance(cause, sqlite3.OperationalError) and "locked" in str(cause):
            raise JournalUnusableError(f"another process uses the journal {path}; give each its own") from error
        if isinstance(cause, sqlite3.Error | JournalUnusableError):
            raise JournalUnusableError(f"cannot use the journal {path}: {cause}") from error
        raise
    return connection


def _is_current(connection: sqlite3.Connection) -> bool:
    try:
        found: tuple[int] | None = connection.execute(statements.FIND_VERSION).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return False
        raise
    return found == (statements.VERSION,)


def _set_up(connection: sqlite3.Connection) -> None:
    # Loaded only for this: it takes longer than all else that a start does.
    import sqlalchemy  # noqa: PLC0415 - see above
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415 - see above

    from provider_service.journal.tables import set_up  # noqa: PLC0415 - see above

    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    with engine.begin() as ours:
        # The driver begins no transaction by itself.
        ours.exec_driver_sql("BEGIN IMMEDIATE")
        set_up(ours)


def _probe(connection: sqlite3.Connection) -> None:
    connection.execute(statements.PROBE.format(now="?"), (time.time_ns(),))


def _transact(connection: sqlite3.Connection, work: Callable[[], Outcome]) -> Outcome:
    """Does work in one transaction. Raises JournalUnavailableError for what the file or the disk is to blame for."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcome = work()
            connection.execute("COMMIT")
        except BaseException:
            # Some errors, such as a full disk, have rolled back already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
            raise
        raise JournalUnavailableError(str(error)) from error
    return outcome


async def _on(thread: ThreadPoolExecutor, work: Callable[[], Outcome]) -> Outcome:
    return await asyncio.get_running_loop().run_in_executor(thread, work)
