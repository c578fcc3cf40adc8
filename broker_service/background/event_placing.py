"""Giving events their places, soon after they were written.

Every broker of a database does it, one at a time: who comes second finds nothing left to place.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from broker_service.domain.decide import Verdict
from broker_service.engine.clock import Clock
from broker_service.engine.writing import write_with_retries
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from broker_service.storage.events import has_unplaced, place_events
from mesh_runtime.logs import get_logger
from mesh_runtime.waiting import happens_within

logger = get_logger(__name__)

# Commits that follow each other closely are placed together: on SQLite they share the one writer with the ledger.
_BURST_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 30.0
_WARNING_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0


class EventPlacing:
    """Places events when this process has committed some, and looks now and then for those of others."""

    def __init__(self, database: Database, clock: Clock, *, poll_seconds: float, on_placed: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._on_placed = on_placed
        self._woken = asyncio.Event()
        self._stopping = False
        self._warned_at: float | None = None
        self._placing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Places from now on, until it is stopped."""
        self._placing = asyncio.create_task(self._place_again_and_again(), name="event-placing")

    async def stop(self) -> None:
        """Places what has been committed until now, and returns when nothing of it is running any more."""
        self._stopping = True
        self._woken.set()
        if self._placing is None:
            return
        _, running = await asyncio.wait([self._placing], timeout=_STOP_SECONDS)
        if running:
            self._placing.cancel()
            await asyncio.wait(running)

    def committed(self, verdict: Verdict) -> None:
        """Takes note of what this process has committed."""
        if any(changes.events for changes in verdict.changes):
            self._woken.set()

    def wake(self) -> None:
        """Looks at once: somebody has written an event by another way than the committer."""
        self._woken.set()

    async def place(self) -> int:
        """Places all there is; returns how many events that were. Raises StorageError."""
        total = 0
        while await self._database.read(has_unplaced):
            placed = await write_with_retries(self._database, partial(place_events, now=self._clock()))
            total += placed
            if not placed:
                break
            self._on_placed()
        return total

    async def _place_again_and_again(self) -> None:
        pause_seconds = self._poll_seconds
        while not self._stopping:
            await self._pause(pause_seconds)
            try:
                await self.place()
            except Exception as error:  # noqa: BLE001 - whatever has happened, it must not end for ever
                self._warn(error)
                pause_seconds = min(2 * pause_seconds, max(_LONGEST_PAUSE_SECONDS, self._poll_seconds))
            else:
                pause_seconds, self._warned_at = self._poll_seconds, None

    async def _pause(self, seconds: float) -> None:
        await happens_within(self._woken, seconds)
        if not self._stopping:
            await asyncio.sleep(_BURST_SECONDS)
        self._woken.clear()

    def _warn(self, error: Exception) -> None:
        """Logs what keeps it from placing: an outage once a minute, a bug of ours each time."""
        if not isinstance(error, StorageError):
            logger.error("events.placing_crashed", exc_info=error)
        elif self._warned_at is None or time.monotonic() - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("events.placing_failed", cause=str(error))
