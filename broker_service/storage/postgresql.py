"""A PostgreSQL server: each lane holds a connection of its own, all else shares a few.

Several brokers may use one database. A batch locks its accounts' rows first and reads everything else after, so it
sees what others committed before it got the locks (READ COMMITTED).
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import asyncpg
import msgspec
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from broker_service.domain.decide import Verdict
from broker_service.domain.references import References
from broker_service.storage.errors import (
    ConnectionLostError,
    DatabaseUnusableError,
    StorageConflictError,
    StorageUnavailableError,
)
from broker_service.storage.ledger import Decide, Now, Steps, commit_steps
from broker_service.storage.ledger_rows import PlainRow
from broker_service.storage.ledger_statements import LoadSteps, WriteStep, WriteSteps
from broker_service.storage.postgresql_errors import DRIVER_ERRORS, meaning_of
from broker_service.storage.postgresql_statements import parameters_of, text_of

Outcome = TypeVar("Outcome")
Work = Callable[[Connection], Outcome]

_LISTS_OF_ROWS = msgspec.json.Decoder(list[list[list[Any]] | None])
_POOLED_CONNECTIONS = 8
_CONNECT_SECONDS = 5.0
# A server that says nothing for so long counts as gone.
_SILENCE_SECONDS = 30.0
_SETTINGS = {
    "application_name": "iap-broker",
    # Row locks are held for the time of a batch; whoever holds one longer is stuck.
    "lock_timeout": "2s",
    # A broker that stalls in the midst of a batch loses its locks, so that others can go on.
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
}
# Each of a lane's statements finds its rows by an index, and an update hashes what it is given. One plan serves arrays
# of any length.
_LANE_SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
}
# What is acknowledged is on the disk. Stronger settings, such as waiting for replicas, stay.
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


class PostgresqlDatabase:
    """See Database."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine = _engine(url)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._lanes: list[PostgresqlLane] = []

    async def write(self, work: Work[Outcome]) -> Outcome:
        """See Database."""
        return await _transact(self._engine, work)

    async def read(self, work: Work[Outcome]) -> Outcome:
        """See Database."""
        try:
            return await _transact(self._reading, work)
        except ConnectionLostError:
            # A pooled connection may have died since it was used last; reading twice does no harm.
            return await _transact(self._reading, work)

    def lane(self, shard_id: int) -> "PostgresqlLane":
        """See Database."""
        lane = PostgresqlLane(self._url, shard_id)
        self._lanes.append(lane)
        return lane

    async def close(self) -> None:
        """See Database."""
        for lane in self._lanes:
            await lane.close()
        await self._engine.dispose()


class PostgresqlLane:
    """See LedgerLane. Keeps a connection for each batch that may be under way."""

    # While one waits for the server, the other is decided.
    parallel_batches = 2

    def __init__(self, url: URL, shard_id: int) -> None:
        self._url = url
        self._shard_id = shard_id
        self._idle: list[_LaneConnection] = []

    async def commit(self, references: References, now: Now, decide: Decide) -> Verdict:
        """See LedgerLane."""
        held: _LaneConnection | None = None
        try:
            held = await self._connected()
            return await held.transact(self._shard_id, commit_steps(references, now, decide))
        except DRIVER_ERRORS as error:
            raise meaning_of(error) from error
        finally:
            if held is not None and held.is_usable():
                self._idle.append(held)

    async def close(self) -> None:
        """Closes the connections; nothing may be running."""
        while self._idle:
            await self._idle.pop().close()

    async def _connected(self) -> "_LaneConnection":
        while self._idle:
            held = self._idle.pop()
            if held.is_usable():
                return held
        return _LaneConnection(await _connect(self._url, _SETTINGS | _LANE_SETTINGS))


class _LaneConnection:
    """Speaks to the driver directly, with statements prepared once."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._prepared: dict[str, PreparedStatement[Any]] = {}
        self._batch_count = 0

    async def transact(self, shard_id: int, batch: Steps) -> Verdict:
        """Goes through a batch in one transaction. Raises the driver's errors, StorageConflictError, InvariantError."""
        self._plan_anew_as_tables_grow()
        await self._connection.execute("BEGIN")
        try:
            verdict = await self._run(shard_id, batch)
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            # Nobody at the other end, or nobody who speaks; dropping the connection rolls back.
            raise
        except Exception:
            await self._connection.execute("ROLLBACK")
            raise
        await self._connection.execute("COMMIT")
        return verdict

    def is_usable(self) -> bool:
        """Tells whether it is plainly between two transactions; drops the connection if it is not."""
        if self._connection.is_closed():
            return False
        if self._connection.is_in_transaction():
            self._connection.terminate()
            return False
        return True

    async def close(self) -> None:
        """Closes the connection; nothing may be running."""
        with contextlib.suppress(*DRIVER_ERRORS):
            await self._connection.close(timeout=_CONNECT_SECONDS)

    async def _run(self, shard_id: int, batch: Steps) -> Verdict:
        steps = next(batch)
        while True:
            found = await self._do(shard_id, steps)
            try:
                steps = batch.send(found)
            except StopIteration as end:
                verdict: Verdict = end.value
                return verdict

    async def _do(self, shard_id: int, steps: LoadSteps | WriteSteps) -> Sequence[Iterable[PlainRow]]:
        """Does steps in one round trip; returns the rows of each load."""
        text = text_of(steps)
        statement = self._prepared.get(text)
        if statement is None:
            statement = self._prepared[text] = await self._connection.prepare(text)
        rows: list[Any] = await statement.fetch(*parameters_of(shard_id, steps))
        if isinstance(steps[0], WriteStep):
            _expect_written(steps, rows[0])
            return ()
        return (rows,) if len(steps) == 1 else [loaded or () for loaded in _LISTS_OF_ROWS.decode(rows[0][0])]

    def _plan_anew_as_tables_grow(self) -> None:
        """Drops all plans after 1, 2, 4, 8 … batches.

        In a small table one index looks as good as another, and a plan that was made then would go on reading all of a
        shard long after it has become large.
        """
        self._batch_count += 1
        if self._batch_count & (self._batch_count - 1) == 0:
            self._prepared = {}


def _expect_written(steps: LoadSteps | WriteSteps, counts: Sequence[int]) -> None:
    """Raises StorageConflictError unless as many rows were written as were given."""
    for step, count in zip(steps, counts, strict=True):
        if isinstance(step, WriteStep) and count != len(step.rows):
            raise StorageConflictError(f"{len(step.rows) - count} rows of {step.write.table.name} are gone")


def open_database(url: URL) -> PostgresqlDatabase:
    """Returns a database that connects when it is first asked for something."""
    return PostgresqlDatabase(url)


def create_database(url: URL, work: Work[Outcome]) -> Outcome:
    """Runs `work` in a transaction on a database that is there. Raises DatabaseUnusableError."""

    async def run() -> Outcome:
        engine = _engine(url)
        try:
            return await _transact(engine, work)
        finally:
            await engine.dispose()

    try:
        # On a thread of its own, since the caller may be on an event loop already.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(lambda: asyncio.run(run())).result()
    except StorageUnavailableError as error:
        raise DatabaseUnusableError(str(error)) from error


async def _transact(engine: AsyncEngine, work: Work[Outcome]) -> Outcome:
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except DBAPIError as error:
        raise meaning_of(_driver_error(error)) from error
    except DRIVER_ERRORS as error:
        raise meaning_of(error) from error


def _driver_error(error: DBAPIError) -> Exception:
    """Returns what asyncpg itself has raised, from inside of SQLAlchemy's two wrappings."""
    orig = error.orig
    cause = None if orig is None else orig.__cause__
    return cause if isinstance(cause, Exception) else error


def _engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        async_creator=lambda: _connect(url, _SETTINGS),
        pool_size=_POOLED_CONNECTIONS,
        max_overflow=0,
        # A pool that is used up makes callers wait, and in the end be told.
        pool_timeout=_SILENCE_SECONDS,
    )


async def _connect(url: URL, settings: dict[str, str]) -> "asyncpg.Connection[Any]":
    """Returns a connection whose commits are durable. Raises ConnectionLostError."""
    arguments = url.set(drivername="postgresql+asyncpg").translate_connect_args(username="user") | dict(url.query)
    place = f"{arguments.get('host', 'localhost')}:{arguments.get('port', 5432)}/{url.database}"
    try:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            **arguments, server_settings=settings, timeout=_CONNECT_SECONDS, command_timeout=_SILENCE_SECONDS
        )
        try:
            await connection.execute(_DURABLE)
        except BaseException:
            # Being cancelled, too: nobody else would close it.
            connection.terminate()
            raise
    except DRIVER_ERRORS as error:
        raise ConnectionLostError(f"cannot connect to the database at {place}: {error}") from error
    return connection
