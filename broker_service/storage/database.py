"""The database behind a broker: a SQLite file, or a PostgreSQL server.

Work is a plain function of a SQLAlchemy Core connection, so that the same SQL serves both. The hot path, a batch of
the ledger, goes through a lane instead (ledger.py), in each database's fastest way.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from broker_service.storage import sqlite
from broker_service.storage.errors import DatabaseUnusableError
from broker_service.storage.ledger import LedgerLane

Outcome = TypeVar("Outcome")
Work = Callable[[Connection], Outcome]

_FORMS = "sqlite:///path/to/file.db or postgresql+asyncpg://user:password@host:port/name"


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

    def lane(self, shard_id: int) -> LedgerLane:
        """Returns what commits the batches of one shard."""
        ...

    async def close(self) -> None:
        """Finishes what is running and closes all connections."""
        ...


def open_database(database_url: str) -> Database:
    """Opens an existing database. Raises DatabaseUnusableError, one line for the operator."""
    url = _parse(database_url)
    if is_postgresql(database_url):
        database: Database = _postgresql().open_database(url)
        return database
    return sqlite.open_database(url)


def create_database(database_url: str, work: Work[Outcome]) -> Outcome:
    """Runs `work` in a transaction on a database that may be empty, or on SQLite not even there yet.

    Must not be called on a running event loop. Raises DatabaseUnusableError.
    """
    url = _parse(database_url)
    if is_postgresql(database_url):
        outcome: Outcome = _postgresql().create_database(url, work)
        return outcome
    return sqlite.create_database(url, work)


def is_postgresql(database_url: str) -> bool:
    """Tells a PostgreSQL server's URL from a SQLite file's. Raises DatabaseUnusableError if it is neither."""
    url = _parse(database_url)
    if url.drivername in ("postgresql", "postgresql+asyncpg"):
        return True
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:" or url.query:
        raise DatabaseUnusableError(f"the database URL {url!r} is not of the form {_FORMS}")
    return False


def _postgresql() -> ModuleType:
    """Imported only where it is used: a broker on SQLite needs no PostgreSQL driver."""
    try:
        from broker_service.storage import postgresql  # noqa: PLC0415 - see above
    except ImportError as error:
        raise DatabaseUnusableError("PostgreSQL needs a driver: install iap-mesh[postgres]") from error
    return postgresql


def _parse(database_url: str) -> URL:
    try:
        return make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseUnusableError(f"the database URL is not of the form {_FORMS}") from error
