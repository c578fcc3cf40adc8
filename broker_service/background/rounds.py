"""Work that is done in rounds, now and then, for as long as a broker serves."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from broker_service.engine.committer import HaltedError, OverloadedError
from broker_service.storage.errors import StorageError
from mesh_runtime.logs import get_logger
from mesh_runtime.waiting import happens_within

logger = get_logger(__name__)

# A round that hangs on the outside is not waited for any longer than this when the broker stops.
_STOP_SECONDS = 5.0


class Rounds:
    """Runs `work` about every `interval_seconds` until it is stopped; what it fails with is logged, and it goes on.

    Several brokers of a database may each have one; they are not to work all at the same instant, so `chance`, from 0
    to 1, varies the pauses. `work` returns how much it did; it is logged unless it is nothing.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[int]],
        *,
        interval_seconds: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.stopping = asyncio.Event()
        self._name = name
        self._work = work
        self._interval_seconds = interval_seconds
        self._chance = chance
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Works from now on, the first time after a pause; never, if the interval is 0."""
        if self._interval_seconds > 0:
            self._running = asyncio.create_task(self._run_again_and_again(), name=self._name)

    async def stop(self) -> None:
        """Returns when nothing of it is running any more; a round under way is waited for a little."""
        self.stopping.set()
        if self._running is None:
            return
        _, running = await asyncio.wait([self._running], timeout=_STOP_SECONDS)
        if running:
            self._running.cancel()
            await asyncio.wait(running)

    async def _run_again_and_again(self) -> None:
        while not self.stopping.is_set():
            await happens_within(self.stopping, self._interval_seconds * (0.5 + self._chance()))
            try:
                done = await self._work()
            except (StorageError, OverloadedError, HaltedError) as error:
                logger.warning("round.failed", work=self._name, cause=str(error) or type(error).__name__)
            except Exception:
                # Whatever has happened, it must not end for ever.
                logger.exception("round.crashed", work=self._name)
            else:
                if done:
                    logger.info("round.done", work=self._name, done=done)
