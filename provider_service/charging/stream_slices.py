"""Keeping credits set aside ahead of a stream's meter."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Final

from mesh_runtime.call_errors import CallError
from mesh_runtime.logs import get_logger
from provider_service.charging.payments import Reserved
from provider_service.charging.stream_payments import StreamPayments, available_credits
from provider_service.charging.stream_request import StreamRequest

# How long the broker is left alone after it could not be used.
_PAUSE_SECONDS: Final = 1.0
_logger = get_logger("provider_service.charging")


class Slices:
    """The reservation of a stream, and the next slice of it, set aside before it is needed.

    `reserved` is the reservation as it now stands. A slice ahead is asked for when no more than half a slice is left,
    by a task that goes on while the service works; the meter waits only when it is beyond what is set aside.
    """

    def __init__(self, request: StreamRequest, reserved: Reserved, *, payments: StreamPayments) -> None:
        self.reserved = reserved
        self._request = request
        self._payments = payments
        self._loop = asyncio.get_running_loop()
        self._ahead: asyncio.Task[None] | None = None
        # The account had nothing left for a whole slice: asked again only when the meter needs more.
        self._exhausted = reserved.reservation.reserved_credits < request.credits
        self._paused_until = 0.0

    @property
    def credits(self) -> int:
        """Whole credits set aside so far, captured ones included."""
        return self.reserved.reservation.reserved_credits

    async def cover(self, total_credits: int) -> None:
        """Returns when so many credits are set aside in all. Raises CallError when they cannot be."""
        while self.credits < total_credits:
            if self._ahead is not None:
                await asyncio.wait({self._ahead})
            else:
                await self._extend(total_credits, needed=total_credits - self.credits)

    def look_ahead(self, metered_credits: int) -> None:
        """Begins to set the next slice aside, if it is time to."""
        left = self.credits - metered_credits
        if self._ahead is not None or self._exhausted or 2 * left > self._request.slice_credits:
            return
        if self._size(metered_credits) and self._loop.time() >= self._paused_until:
            self._ahead = self._loop.create_task(self._extend_ahead(metered_credits))

    async def add(self, additional_credits: int) -> None:
        """Sets so much more aside, whatever is there. Raises CallError."""
        await self.cover(self.credits + additional_credits)

    async def prolong(self, ttl: timedelta) -> None:
        """Lets the reservation live for `ttl` from now. Raises CallError."""
        prolonged = await self._payments.prolong(self.reserved, ttl=ttl)
        self.reserved = replace(self._newer(prolonged), expiry=prolonged.expiry)

    def stop(self) -> None:
        """Ends what is under way; what it still sets aside goes back with the rest."""
        if self._ahead is not None:
            self._ahead.cancel()

    async def _extend_ahead(self, metered_credits: int) -> None:
        try:
            await self._extend(metered_credits, needed=0)
        except CallError as error:
            # The meter says so when it needs more. What there is may well be enough.
            self._paused_until = self._loop.time() + _PAUSE_SECONDS
            _logger.info("stream.no_slice_ahead", request_id=self._request.request_id, reason=error.reason)
        finally:
            self._ahead = None

    async def _extend(self, metered_credits: int, *, needed: int) -> None:
        """Sets a slice aside; if the account cannot pay that, what it has left, but no less than what is needed."""
        amount = max(needed, self._size(metered_credits))
        exhausted = False
        while amount:
            try:
                extended = await self._payments.extend(self._request, self.reserved, additional_credits=amount)
            except CallError as error:
                available = available_credits(error)
                if available is None or amount == needed:
                    raise
                amount, exhausted = max(needed, min(available, amount - 1)), True
            else:
                self.reserved = self._newer(extended)
                break
        self._exhausted = exhausted

    def _size(self, metered_credits: int) -> int:
        """Tells how much is set aside next: nothing beyond the quote until the meter is beyond it."""
        if metered_credits > self._request.quoted_credits:
            return self._request.slice_credits
        return max(min(self._request.slice_credits, self._request.quoted_credits - self.credits), 0)

    def _newer(self, answer: Reserved) -> Reserved:
        """Returns what is reserved after an answer; two calls under way at once may be answered in either order."""
        answered, known = answer.reservation, self.reserved.reservation
        newer = answered if answered.reserved_credits >= known.reserved_credits else known
        return replace(self.reserved, reservation=newer)
