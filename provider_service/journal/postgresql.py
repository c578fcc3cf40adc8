"""A PostgreSQL server that several processes may share, through one connection that each of them keeps.

The connection holds a session's advisory lock on the process's owner number: as long as that cannot be had, the process
lives. It writes only through that connection, so a process that has lost its lock writes nothing until it has it again.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import BigInteger, LargeBinary, SmallInteger, Text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from provider_service.journal import statements
from provider_service.journal.entries import Entry, Kind, RequestKey, Step
from provider_service.journal.errors import JournalUnavailableError, JournalUnusableError
from provider_service.journal.store import Batch, Verdict, was_moved_by, was_opened_by
from provider_service.journal.tables import requests, set_up

Outcome = TypeVar("Outcome")

_CONNECT_SECONDS: Final = 5.0
# A server that says nothing for so long counts as gone.
_SILENCE_SECONDS: Final = 10.0
# Each statement finds its rows by an index, however small the table was when it was planned.
_SETTINGS: Final = {
    "lock_timeout": "2s",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # The session, and with it the lock, of a machine that is gone without a word ends within half a minute.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# Held while tables are made, so that of several processes one makes them. An arbitrary number.
_SET_UP_LOCK: Final = 4_127_331_905
# What is acknowledged is on the disk. Stronger settings, such as waiting for replicas, stay.
_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
# Ends what is left of an own connection that broke: the server may not have noticed yet, and would keep the lock.
_END_FORMER: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = current_setting('application_name') AND datname = current_database()
    AND pid <> pg_backend_pid()
"""
_DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# A row that breaks a rule, a wrong parameter, wrong SQL: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BUGS: Final = ("22", "23", "42601", "42804", "42883")


class PostgresqlStore:
    """See Store. Speaks to the driver directly, in one round trip a batch."""

    is_shared = True

    def __init__(self, url: URL, *, owner: int) -> None:
        self._url = url
        self._owner = owner
        self._held: asyncpg.Connection[Any] | None = None

    async def apply(self, batch: Batch) -> Verdict:
        """See Store."""
        return await self._run(lambda connection: self._apply(connection, batch))

    async def find(self, key: RequestKey) -> Entry | None:
        """See Store."""
        return await self._run(lambda connection: _find(connection, key))

    async def adopt(self) -> Sequence[Entry]:
        """See Store. A process whose lock can be had is gone."""
        return await self._run(self._adopt)

    async def prune(self, before: int) -> int:
        """See Store."""
        text = statements.PRUNE.format(before="$1")
        return await self._run(lambda connection: _changed(connection.execute(text, before)))

    async def probe(self) -> None:
        """See Store."""
        text = statements.PROBE.format(now="$1")
        await self._run(lambda connection: _changed(connection.execute(text, time.time_ns())))

    async def close(self) -> None:
        """See Store."""
        held, self._held = self._held, None
        if held is not None:
            with contextlib.suppress(*_DRIVER_ERRORS, TimeoutError):
                await held.close(timeout=_CONNECT_SECONDS)

    async def _run(self, work: "Callable[[asyncpg.Connection[Any]], Awaitable[Outcome]]") -> Outcome:
        """Does work; once more on a new connection where the first one turns out to be broken."""
        was_held = self._held is not None and not self._held.is_closed()
        try:
            return await self._try(work)
        except JournalUnavailableError:
            if not was_held or (self._held is not None and not self._held.is_closed()):
                raise
        return await self._try(work)

    async def _try(self, work: "Callable[[asyncpg.Connection[Any]], Awaitable[Outcome]]") -> Outcome:
        try:
            if self._held is None or self._held.is_closed():
                self._held = await _connect(self._url, self._owner)
            return await work(self._held)
        except TimeoutError as error:
            self._drop()
            raise JournalUnavailableError("the server says nothing") from error
        except _DRIVER_ERRORS as error:
            is_bug = isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_BUGS)
            if is_bug or (isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)):
                raise
            if not isinstance(error, asyncpg.PostgresError):
                self._drop()
            raise JournalUnavailableError(str(error) or type(error).__name__) from error
        except asyncio.CancelledError:
            # In the midst of a transaction, perhaps.
            self._drop()
            raise

    def _drop(self) -> None:
        if self._held is not None:
            self._held.terminate()
            self._held = None

    async def _apply(self, connection: "asyncpg.Connection[Any]", batch: Batch) -> Verdict:
        parameters = [
            self._owner,
            *_columns(batch.openings, statements.ENTRY_COLUMNS),
            *_columns(batch.moves, statements.MOVE_COLUMNS),
            *_columns(batch.removals, statements.KEY_COLUMNS),
        ]
        opened, moved = await connection.fetchrow(_WRITE, *parameters)
        found: dict[RequestKey, Entry] = {}
        refused: set[RequestKey] = set()
        if opened != len(batch.openings):
            for entry in batch.openings:
                instead = await _find(connection, entry.key)
                if instead is not None and not was_opened_by(entry, instead):
                    found[entry.key] = instead
        if moved != len(batch.moves):
            for move in batch.moves:
                if not was_moved_by(move, await _find(connection, move.key), owner=self._owner):
                    refused.add(move.key)
        return Verdict(found, frozenset(refused))

    async def _adopt(self, connection: "asyncpg.Connection[Any]") -> list[Entry]:
        owners = await connection.fetch(statements.OTHER_OWNERS.format(owner="$1"), self._owner)
        for (former,) in owners:
            async with connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", former):
                    continue
                text = statements.ADOPT.format(owner="$1", former="$2")
                rows = await connection.fetch(text, self._owner, former)
            if rows:
                return [_entry(row) for row in rows]
        return []


async def open_postgresql(database_url: str, *, owner: int) -> PostgresqlStore:
    """Connects, and makes the tables where missing. Raises JournalUnusableError."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise JournalUnusableError("the URL is not of the form postgresql+asyncpg://user:password@host/name") from error
    store = PostgresqlStore(url, owner=owner)
    try:
        await _set_up(url)
        await _probe(store)
    except (JournalUnavailableError, JournalUnusableError, DBAPIError, *_DRIVER_ERRORS, TimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        place = f"{url.host}:{url.port or 5432}/{url.database}"
        raise JournalUnusableError(f"cannot use the journal at {place}: {cause}") from error
    return store


async def _probe(store: PostgresqlStore) -> None:
    try:
        await store.probe()
    except BaseException:
        # It has connected, perhaps.
        await store.close()
        raise


async def _set_up(url: URL) -> None:
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"), connect_args={"timeout": _CONNECT_SECONDS}, poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SET_UP_LOCK})")
            await connection.run_sync(set_up)
    finally:
        await engine.dispose()


async def _connect(url: URL, owner: int) -> "asyncpg.Connection[Any]":
    arguments = url.translate_connect_args(username="user") | dict(url.query)
    settings = {**_SETTINGS, "application_name": f"iap-provider {owner}"}
    connection = await asyncpg.connect(
        **arguments, server_settings=settings, timeout=_CONNECT_SECONDS, command_timeout=_SILENCE_SECONDS
    )
    try:
        await connection.execute(_DURABLE)
        await connection.execute(_END_FORMER)
        await connection.execute("SELECT pg_advisory_lock($1)", owner)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _find(connection: "asyncpg.Connection[Any]", key: RequestKey) -> Entry | None:
    row = await connection.fetchrow(_FIND_TEXT, *key)
    return None if row is None else _entry(row)


async def _changed(status: Awaitable[str]) -> int:
    """Returns how many rows a statement has changed, from the server's own words for it, such as `DELETE 5`."""
    return int((await status).rpartition(" ")[2])


def _entry(row: Iterable[Any]) -> Entry:
    entry = Entry._make(row)
    return entry._replace(kind=Kind(entry.kind), step=Step(entry.step))


def _columns(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> list[Sequence[Any]]:
    """Turns rows into an array for each column."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in names]


_ARRAYS: Final = {BigInteger: "bigint[]", SmallInteger: "smallint[]", Text: "text[]", LargeBinary: "bytea[]"}


def _given(names: Sequence[str], first: int) -> str:
    arrays = []
    for number, name in enumerate(names, start=first):
        # What is no column of its own is a step, as the column `step` is.
        column = requests.c.get(name, requests.c.step)
        arrays.append(f"${number}::{_ARRAYS[type(column.type)]}")
    return f"unnest({', '.join(arrays)}) AS given ({', '.join(names)})"


def _write_text() -> str:
    """Returns one statement for all that a batch may hold, with the owner as its first parameter."""
    entry, move, key = statements.ENTRY_COLUMNS, statements.MOVE_COLUMNS, statements.KEY_COLUMNS
    insert = f"{statements.INSERT} SELECT * FROM {_given(entry, 2)} {statements.ON_CONFLICT}"  # noqa: S608 - as below
    moves = _given(move, 2 + len(entry))
    update = f"{statements.MOVE} FROM {moves} {statements.MOVE_WHERE.format(owner='$1::bigint')}"
    keys = _given(key, 2 + len(entry) + len(move))
    remove = (
        f"DELETE FROM requests USING {keys} WHERE requests.account = given.account "  # noqa: S608 - our own columns
        f"AND requests.request_id = given.request_id AND {statements.REMOVE_WHERE.format(owner='$1::bigint')}"
    )
    return (
        f"WITH opened AS ({insert} RETURNING 1), moved AS ({update} RETURNING 1), "  # noqa: S608 - as above
        f"removed AS ({remove} RETURNING 1) "
        "SELECT (SELECT count(*) FROM opened), (SELECT count(*) FROM moved)"
    )


_WRITE: Final = _write_text()
_FIND_TEXT: Final = statements.FIND.format(account="$1", request_id="$2")
