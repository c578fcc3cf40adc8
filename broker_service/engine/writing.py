"""Writing again when other writers were in the way, or the connection broke."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker_service.storage.database import Database, Work
from broker_service.storage.errors import ConnectionLostError, StorageConflictError

Outcome = TypeVar("Outcome")

_TRIES = 5
_RETRY_SECONDS = 0.02
# A server that crashed is back within a second or two, or not so soon.
_RECONNECT_SECONDS = 0.2


async def with_retries(write: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Awaits a transaction, and another one if it met a conflict or lost its connection; it must be safe to run twice.

    Raises what the fifth try raises; other errors at once.
    """
    attempt = 1
    while True:
        try:
            return await write()
        except (StorageConflictError, ConnectionLostError) as error:
            if attempt == _TRIES:
                raise
            pause_seconds = _RECONNECT_SECONDS if isinstance(error, ConnectionLostError) else _RETRY_SECONDS
        await asyncio.sleep(pause_seconds * attempt)
        attempt += 1


async def write_with_retries(database: Database, work: Work[Outcome]) -> Outcome:
    """Runs `work` in a transaction as `with_retries` does; errors as `Database.write`."""
    return await with_retries(lambda: database.write(work))
