"""The callers who wait for one request, and how long its work may take for them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from provider_service.charging import budgets
from provider_service.charging.budgets import CallTimes


class Callers:
    """Those who came with the same request_id. It is their number that counts: the last to leave ends the work.

    Work goes on until the latest of the times at which they need it, or shortly before its reservation expires.
    """

    def __init__(self) -> None:
        self.count = 0
        self.answer_end = 0.0
        # Whether the last caller has left while the work was going on.
        self.given_up = False
        self._loop = asyncio.get_running_loop()
        self._work_end = 0.0
        self._expiry_work_end = float("inf")
        self._work_limit: asyncio.Timeout | None = None

    @property
    def work_end(self) -> float:
        """When the work has to be done; a reading of the event loop's clock."""
        return min(self._work_end, self._expiry_work_end)

    def join(self, times: CallTimes) -> None:
        """Takes another caller's times into account."""
        self.count += 1
        self._work_end = max(self._work_end, times.work_end)
        self.answer_end = max(self.answer_end, times.answer_end)
        self._limit_work(self.work_end)

    def leave(self) -> None:
        """Ends the work that is going on if this was the last caller."""
        self.count -= 1
        if not self.count and self._limit_work(self._loop.time()):
            self.given_up = True

    def seconds_left(self) -> float:
        """Tells how long anybody will wait for an answer; 0 when nobody does."""
        return max(self.answer_end - self._loop.time(), 0.0) if self.count else 0.0

    def limit_by_expiry(self, expiry: float) -> None:
        """Ends the work before its reservation expires, whatever time callers have left."""
        self._expiry_work_end = budgets.work_end_before_expiry(self._loop.time(), expiry)
        self._limit_work(self.work_end)

    @contextmanager
    def work_time(self) -> Iterator[asyncio.Timeout]:
        """Gives a timeout for the work, which moves as callers come and go."""
        self._work_limit = limit = asyncio.timeout_at(self.work_end)
        try:
            yield limit
        finally:
            self._work_limit = None

    def _limit_work(self, end: float) -> bool:
        """Moves the end of work that is going on, unless it has come; returns whether that was done."""
        if self._work_limit is None or self._work_limit.expired() or self.given_up:
            return False
        self._work_limit.reschedule(end)
        return True
