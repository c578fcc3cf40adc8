"""Writing again when other writers were in the way."""

import asyncio
from typing import TypeVar

from broker_service.storage.database import Database, StorageConflictError, Work

Outcome = TypeVar("Outcome")

_TRIES = 5
_RETRY_SECONDS = 0.02


async def write_with_retries(database: Database, work: Work[Outcome]) -> Outcome:
    """Runs `work` in a transaction, again if it met a conflict; `work` must be safe to run twice.

    Raises StorageConflictError after five tries; other errors as `Database.write`.
    """
    attempt = 1
    while True:
        try:
            return await database.write(work)
        except StorageConflictError:
            if attempt == _TRIES:
                raise
            await asyncio.sleep(_RETRY_SECONDS * attempt)
            attempt += 1
