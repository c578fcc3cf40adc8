"""Keeping a stream's reservation alive."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from mesh_runtime.call_errors import CallError
from provider_service.charging import budgets
from provider_service.charging.stream_refusals import Ending, broker_unavailable, passed_on
from provider_service.charging.stream_slices import Slices

# A lost answer or a restart of the broker is got over many times before half of a ttl has passed.
_TRIES_PER_HALF: Final = 10
_SHORTEST_TTL_SECONDS: Final = 1.0
_FINAL: Final = ("RESERVATION_CAPTURED", "RESERVATION_RELEASED", "RESERVATION_EXPIRED", "RESERVATION_NOT_FOUND")


class Lifetime:
    """Gives the reservation its ttl anew when half of it is gone, and ends the stream in time when that fails."""

    def __init__(self, slices: Slices, *, end: Callable[[Ending], None]) -> None:
        self._slices = slices
        self._end = end
        self._loop = asyncio.get_running_loop()
        reservation = slices.reserved.reservation
        lifetime = reservation.expire_time.ToDatetime() - reservation.create_time.ToDatetime()
        # As long as it was made for, whatever is left of that; and no less than the broker takes.
        self._ttl_seconds = max(lifetime.total_seconds(), _SHORTEST_TTL_SECONDS)
        self._guard: asyncio.TimerHandle | None = None
        self._keeping = self._loop.create_task(self._keep())

    async def set(self, ttl: timedelta) -> None:
        """Gives the reservation another ttl, from now on. Raises CallError."""
        await self._slices.prolong(ttl)
        self._ttl_seconds = ttl.total_seconds()
        self.stop()
        self._keeping = self._loop.create_task(self._keep())

    def stop(self) -> None:
        """Leaves the reservation to its settlement."""
        self._keeping.cancel()
        if self._guard is not None:
            self._guard.cancel()

    async def _keep(self) -> None:
        wait_seconds = max(self._slices.reserved.expiry - self._loop.time(), 0) / 2
        while True:
            self._guard_expiry()
            await asyncio.sleep(wait_seconds)
            wait_seconds = self._ttl_seconds / 2
            try:
                await self._slices.prolong(timedelta(seconds=self._ttl_seconds))
            except CallError as error:
                if error.reason in _FINAL:
                    self._end(passed_on(error))
                    return
                wait_seconds /= _TRIES_PER_HALF

    def _guard_expiry(self) -> None:
        """Sees to it that the stream ends before its reservation does, as it cannot be paid afterwards."""
        if self._guard is not None:
            self._guard.cancel()
        end = budgets.work_end_before_expiry(self._loop.time(), self._slices.reserved.expiry)
        self._guard = self._loop.call_at(end, self._end, broker_unavailable)
