"""Sending events to webhooks, again and again until each has arrived or three days are over.

Every broker of a database does it: what one has claimed, the others leave alone, until its lease is over. A webhook's
events for one account go one after the other; one that fails holds back those behind it, and no other account's. An
event may arrive twice, when a process dies between the receiver's answer and the note of it.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

from sqlalchemy import Connection

from broker_service.domain.webhooks import next_attempt
from broker_service.engine.clock import Clock
from broker_service.engine.writing import write_with_retries
from broker_service.storage.database import Database
from broker_service.storage.deliveries import Claim, Outcome, claim_due, has_due, record_outcomes
from broker_service.storage.errors import StorageError
from mesh_runtime.logs import get_logger
from mesh_runtime.waiting import happens_within

logger = get_logger(__name__)

# Longer than a try can take.
LEASE: Final = timedelta(seconds=30)
_LONGEST_PAUSE_SECONDS: Final = 30.0
_WARNING_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0


class Sender(Protocol):
    """Delivers events: to webhooks, or as a test has it."""

    async def send(self, claim: Claim) -> str:
        """Delivers an event; returns why it was not delivered, or "" if it was."""
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """How many deliveries of one process may be on their way, in all and to each webhook."""

    in_all: int = 32
    to_each: int = 4


class EventDelivery:
    """Claims what is due, sends it, and notes what came of it."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        clock: Clock,
        *,
        poll_seconds: float,
        limits: DeliveryLimits | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sender = sender
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._limits = limits or DeliveryLimits()
        self._chance = chance
        self._sending: dict[asyncio.Task[None], Claim] = {}
        # What has been tried and is not written down yet.
        self._outcomes: list[Outcome] = []
        self._woken = asyncio.Event()
        self._stopping = False
        self._warned_at: float | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Delivers from now on, until it is stopped."""
        self._running = asyncio.create_task(self._deliver_again_and_again(), name="event-delivery")

    def wake(self) -> None:
        """Looks at once: there may be something to deliver."""
        self._woken.set()

    async def stop(self) -> None:
        """Lets what is on its way arrive, within limits, gives the rest back, and returns when nothing is running."""
        self._stopping = True
        self._woken.set()
        if self._running is not None:
            await _end(self._running)
        if self._sending:
            await asyncio.wait(self._sending, timeout=_STOP_SECONDS)
        for task in list(self._sending):
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)
        # What cannot be written now is tried again by others when its lease is over.
        with contextlib.suppress(StorageError):
            await self._turn()
        await self._sender.close()

    async def _deliver_again_and_again(self) -> None:
        pause_seconds = self._poll_seconds
        while not self._stopping:
            try:
                await self._turn()
            except Exception as error:  # noqa: BLE001 - whatever has happened, it must not end for ever
                self._warn(error)
                pause_seconds = min(2 * pause_seconds, max(_LONGEST_PAUSE_SECONDS, self._poll_seconds))
            else:
                pause_seconds, self._warned_at = self._poll_seconds, None
            await happens_within(self._woken, pause_seconds)
            self._woken.clear()

    async def _turn(self) -> None:
        """Writes down what has been tried, and claims and sends what is due. Raises StorageError."""
        now, outcomes = self._clock(), list(self._outcomes)
        free = 0 if self._stopping else self._limits.in_all - len(self._sending)
        if not outcomes and (free <= 0 or not await self._database.read(partial(has_due, now=now))):
            return
        busy = Counter(claim.webhook_id for claim in self._sending.values())

        def work(connection: Connection) -> list[Claim]:
            if outcomes:
                record_outcomes(connection, outcomes, now)
            if free <= 0:
                return []
            return claim_due(connection, now, LEASE, limit=free, limit_each=self._limits.to_each, busy=busy)

        claims = await write_with_retries(self._database, work)
        del self._outcomes[: len(outcomes)]
        for claim in claims:
            self._send(claim)

    def _send(self, claim: Claim) -> None:
        task = asyncio.create_task(self._try(claim))
        self._sending[task] = claim

    async def _try(self, claim: Claim) -> None:
        try:
            error = await self._sender.send(claim)
        except asyncio.CancelledError:
            self._outcomes.append(Outcome(claim, delivered=False, next_attempt_time=self._clock()))
            raise
        except Exception:
            logger.exception("events.delivery_crashed", webhook_id=claim.webhook_id)
            self._outcomes.append(self._outcome_of(claim, "the broker could not send it"))
        else:
            self._outcomes.append(self._outcome_of(claim, error))
        finally:
            # At once, and not when the task is done: who is woken must not take it for running.
            if (task := asyncio.current_task()) is not None:
                self._sending.pop(task, None)
            self._woken.set()

    def _outcome_of(self, claim: Claim, error: str) -> Outcome:
        if not error:
            return Outcome(claim, delivered=True)
        next_time = next_attempt(claim.create_time, claim.attempts, self._clock(), self._chance())
        if next_time is None:
            logger.warning("events.given_up", webhook_id=claim.webhook_id, event_id=claim.event.event_id, cause=error)
        return Outcome(claim, delivered=False, next_attempt_time=next_time, error=error)

    def _warn(self, error: Exception) -> None:
        """Logs what keeps it from delivering: an outage once a minute, a bug of ours each time."""
        if not isinstance(error, StorageError):
            logger.error("events.delivery_crashed", exc_info=error)
        elif self._warned_at is None or time.monotonic() - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("events.delivery_failed", cause=str(error))


async def _end(task: asyncio.Task[None]) -> None:
    """Waits for a task that has been told to end, and cancels it if it takes too long."""
    _, running = await asyncio.wait([task], timeout=_STOP_SECONDS)
    if running:
        task.cancel()
        await asyncio.wait(running)
