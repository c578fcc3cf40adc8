"""Telling those who watch when events have been given their places.

What this process places wakes the watchers at once; what others place is looked for now and then. New events are read
once for all watchers, to wake those whom they concern; each of these then reads its own from where it stands. So a
watcher that is slow, or far behind, costs a page and no more.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from broker_service.domain.directory import Role
from broker_service.domain.records import EventType
from broker_service.domain.webhooks import Audience
from broker_service.engine.writing import with_retries
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from broker_service.storage.events import EventSelection, PlacedEvent, events_after, last_position
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

_PAGE_EVENTS: Final = 100
# New events are looked at one by one up to here; beyond it each watcher looks by itself.
_SIFTED_EVENTS: Final = 500
# Watchers share the database's connections with everybody else.
_READS_AT_ONCE: Final = 4
_EVERYBODY: Final = Audience(Role.OPERATOR, "")


@dataclass(slots=True, eq=False)
class _Watcher:
    """One who watches. `has_news` until it has read all there is; `failure` ends it."""

    audience: Audience
    types: tuple[EventType, ...]
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    has_news: bool = True
    failure: Exception | None = None

    def wants(self, placed: PlacedEvent) -> bool:
        return (not self.types or placed.event.type in self.types) and self.audience.hears(placed.event)


class EventWatch:
    """Those who watch events through this process."""

    def __init__(self, database: Database, *, closing: asyncio.Event, poll_seconds: float) -> None:
        self._database = database
        self._closing = closing
        self._poll_seconds = poll_seconds
        self._watchers: set[_Watcher] = set()
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._looked = asyncio.Event()
        self._latest: int | None = None
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._watchers)

    def start(self) -> None:
        """Looks for new events from now on, until the node is closing."""
        self._looking = asyncio.create_task(self._look_until_closing(), name="event-watch")

    async def close(self) -> None:
        """Returns when nothing of it is running any more; nobody may be watching."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def placed(self) -> None:
        """Takes note that this process has placed events."""
        self._looked.set()

    async def readings(
        self, audience: Audience, types: tuple[EventType, ...], after_position: int | None
    ) -> AsyncGenerator[list[PlacedEvent], None]:
        """Yields an owner's events behind a place (None: the last one given), oldest first, a page at a time.

        And an empty page with every poll. Ends when the node is closing. Raises StorageError.
        """
        watcher = _Watcher(audience, types)
        self._watchers.add(watcher)
        try:
            position = await self._last_position() if after_position is None else after_position
            while not self._closing.is_set():
                watcher.woken.clear()
                page: list[PlacedEvent] = []
                if watcher.has_news:
                    watcher.has_news = False
                    page = await self._read(EventSelection(audience, position, types, _PAGE_EVENTS))
                    watcher.has_news |= len(page) == _PAGE_EVENTS
                yield page
                position = page[-1].position if page else position
                if not watcher.has_news and not self._closing.is_set():
                    await watcher.woken.wait()
                if watcher.failure is not None:
                    raise watcher.failure
        finally:
            self._watchers.discard(watcher)

    async def _look_until_closing(self) -> None:
        poll_time = time.monotonic() + self._poll_seconds
        while not self._closing.is_set():
            await self._news_within(poll_time - time.monotonic())
            self._looked.clear()
            try:
                await self._look()
            except Exception as error:
                if not isinstance(error, StorageError):
                    logger.exception("event_watch.crashed")
                for watcher in self._watchers:
                    watcher.failure = error
            if time.monotonic() >= poll_time:
                poll_time = time.monotonic() + self._poll_seconds
                self._wake(self._watchers)
        self._wake(self._watchers)

    async def _look(self) -> None:
        """Wakes those whom new events concern."""
        before = self._latest
        self._latest = await self._last_position()
        if not self._watchers or self._latest == before:
            return
        new: list[PlacedEvent] = []
        if before is not None:
            new = await self._read(EventSelection(_EVERYBODY, before, (), _SIFTED_EVENTS))
        is_whole = before is not None and len(new) < _SIFTED_EVENTS
        concerned = [it for it in self._watchers if not is_whole or any(map(it.wants, new))]
        for watcher in concerned:
            watcher.has_news = True
        self._wake(concerned)

    async def _news_within(self, seconds: float) -> None:
        """Waits for news or for the end, so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _first_of(self._looked, self._closing)

    async def _last_position(self) -> int:
        return await with_retries(partial(self._database.read, last_position))

    async def _read(self, selection: EventSelection) -> list[PlacedEvent]:
        async with self._reads:
            return await with_retries(partial(self._database.read, partial(events_after, selection=selection)))

    @staticmethod
    def _wake(watchers: "set[_Watcher] | list[_Watcher]") -> None:
        for watcher in watchers:
            watcher.woken.set()


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
