"""What PostgreSQL's errors mean to the broker."""

import asyncpg

from broker_service.domain.errors import InvariantError
from broker_service.storage.errors import (
    ConnectionLostError,
    DuplicateRowError,
    StorageConflictError,
    StorageUnavailableError,
)

# What the driver raises. Its internal error comes when a connection breaks in the midst of what it does.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNIQUE_VIOLATION = "23505"
_CONFLICTS = (
    "40",  # serialization failure, deadlock
    "55P03",  # lock timeout
)
_CONNECTION_LOST = (
    "08",  # connection exception
    "25P03",  # idle in transaction for too long
    "57P",  # the server shuts down, has crashed or is starting
)
_UNAVAILABLE = (
    "25006",  # read only: a standby
    "28",  # not let in
    "3D000",  # no such database
    "42703",  # no such column, and
    "42P01",  # no such table: not the schema that was there at the start
    "53",  # out of disk, memory or connections
    "57014",  # cancelled
    "58",  # system error
    "XX",  # internal error, damaged data
)


def meaning_of(error: Exception) -> Exception:
    """Returns what a driver's error means; itself where it means that our statement was wrong."""
    cause = str(error) or type(error).__name__
    if not isinstance(error, asyncpg.PostgresError):
        # The socket broke, the server fell silent, or the driver found the connection closed.
        # What is an InterfaceError and a ValueError too is a parameter of a wrong type.
        is_lost = isinstance(error, DRIVER_ERRORS) and not isinstance(error, ValueError)
        return ConnectionLostError(cause) if is_lost else error
    state = error.sqlstate or ""
    if state == _UNIQUE_VIOLATION:
        return DuplicateRowError(cause)
    if state.startswith("23"):
        # A row that breaks a CHECK is wrong whoever writes it.
        return InvariantError(cause)
    if state.startswith(_CONFLICTS):
        return StorageConflictError(cause)
    if state.startswith(_CONNECTION_LOST):
        return ConnectionLostError(cause)
    return StorageUnavailableError(cause) if state.startswith(_UNAVAILABLE) else error
