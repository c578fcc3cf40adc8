"""Taking the credits of a stream as it goes."""

import asyncio
from collections.abc import Callable
from typing import Final

from iap.broker.v1.broker_pb2 import Balance

from mesh_runtime.call_errors import CallError
from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging.stream_payments import StreamPayments
from provider_service.charging.stream_refusals import Ending, passed_on
from provider_service.charging.stream_request import StreamRequest
from provider_service.charging.stream_slices import Slices

# What was delivered is captured after this time even if it is less than a slice: a crash costs no more than that.
CAPTURE_SECONDS: Final = 30.0
# Of what is left of the reservation's life, so that a short one is captured in time, too.
_CAPTURE_SHARE: Final = 0.25


class Captures:
    """Captures what was delivered: a slice at a time or after a while, and the rest in the end.

    One capture runs at a time, each of something, and named by what was captured before it. One that the broker does
    not confirm goes on in `pending`, and the end waits for it. `end` is told when credits cannot be captured any more.
    """

    def __init__(
        self,
        request: StreamRequest,
        slices: Slices,
        *,
        payments: StreamPayments,
        pending: PendingTasks,
        end: Callable[[Ending], None],
    ) -> None:
        self.delivered_credits = 0
        self.captured_credits = slices.reserved.reservation.captured_credits
        self._request = request
        self._slices = slices
        self._payments = payments
        self._pending = pending
        self._end = end
        self._failure: CallError | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._capturing: asyncio.Future[None] | None = None
        self._settling = False

    def deliver(self, total_credits: int) -> None:
        """Counts what is owed in all."""
        self.delivered_credits = total_credits
        if total_credits - self.captured_credits >= self._request.slice_credits:
            self._begin()
        elif total_credits > self.captured_credits and self._timer is None:
            life_seconds = self._slices.reserved.expiry - self._loop.time()
            self._timer = self._loop.call_later(min(CAPTURE_SECONDS, life_seconds * _CAPTURE_SHARE), self._begin)

    async def settle(self, *, keep_captured: bool) -> Balance | None:
        """Captures the rest of what is owed and gives back what is not; returns the balance then, if it is known.

        Nothing is captured of a stream that owes nothing, unless `keep_captured` says that it has ended well. Raises
        CallError when the credits cannot be taken any more.
        """
        self._settling = True
        self._stop_timer()
        if self._capturing is not None:
            await self._capturing
        if self._failure is not None:
            raise self._failure
        if not self.delivered_credits and not keep_captured:
            await self._payments.release(self._request, self._slices.reserved)
            return None
        return await self._capture(last=True)

    def _begin(self) -> None:
        self._stop_timer()
        # What the timer was set for may have been captured since; one of nothing would take the next one's name.
        if self._capturing is None and self.delivered_credits > self.captured_credits:
            self._capturing = self._pending.run_shielded(self._capture_ahead())

    async def _capture_ahead(self) -> None:
        try:
            await self._capture(last=False)
        except CallError as error:
            self._failure = error
            self._end(passed_on(error))
        else:
            self._capturing = None
            if not self._settling:
                # For what was delivered meanwhile.
                self.deliver(self.delivered_credits)

    async def _capture(self, *, last: bool) -> Balance:
        captured = await self._payments.capture(
            self._request,
            self._slices.reserved.reservation.reservation_id,
            captured_before=self.captured_credits,
            additional_credits=self.delivered_credits - self.captured_credits,
            last=last,
            expiry=lambda: self._slices.reserved.expiry,
        )
        self.captured_credits += captured.captured_credits
        return captured.balance

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
