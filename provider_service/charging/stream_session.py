"""One stream: reserve, work and meter, capture."""

import asyncio
import math
from dataclasses import dataclass
from typing import Any, Final

from iap.broker.v1.broker_pb2 import Balance, ReservationState

from mesh_runtime.call_errors import CallError, internal
from mesh_runtime.logs import get_logger
from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging import budgets, refusals, stream_refusals
from provider_service.charging.budgets import CallTimes, clamp_seconds
from provider_service.charging.payments import Reserved
from provider_service.charging.refusals import DOMAIN
from provider_service.charging.stream_captures import Captures
from provider_service.charging.stream_charge import MeteredCharge
from provider_service.charging.stream_handover import Handover
from provider_service.charging.stream_lifetime import Lifetime
from provider_service.charging.stream_payments import StreamPayments
from provider_service.charging.stream_record import StreamRecord
from provider_service.charging.stream_refusals import Ending
from provider_service.charging.stream_request import HOLDER_LABEL, StreamRequest
from provider_service.charging.stream_slices import Slices
from provider_service.charging.stream_work import StreamWork

# A chunk that is being written when the stream ends has this long to be written, and so to be paid.
LAST_WRITE_SECONDS: Final = 0.25
# How long a service that is told to end may take before its stream is settled without it.
UNWIND_SECONDS: Final = 1.0
_logger = get_logger("provider_service.charging")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """What has become of a stream. `balance` is None when it is not known."""

    error: CallError | None
    charged_credits: int = 0
    reservation_id: str = ""
    balance: Balance | None = None


class StreamSession:
    """A request being answered in chunks.

    `run` goes on in a task of its own, which no caller's leaving ends. It asks the service for chunks in a further
    task, and hands them over at `handover` to the caller's own. Whoever knows a reason for the stream to end says so
    with `end`; the first one counts.
    """

    def __init__(
        self,
        request: StreamRequest,
        times: CallTimes,
        *,
        payments: StreamPayments,
        pending: PendingTasks,
        record: StreamRecord,
    ) -> None:
        self.request = request
        self.handover = Handover()
        self._payments = payments
        self._pending = pending
        self._record = record
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[Ending] = self._loop.create_future()
        self._outcome: asyncio.Future[StreamEnd] = self._loop.create_future()

    def end(self, ending: Ending) -> None:
        """Ends the stream, unless it has ended already."""
        if not self._ending.done():
            self._ending.set_result(ending)

    def leave(self) -> None:
        """Ends the stream because nobody takes its chunks any more."""
        self.handover.break_off()
        self.end(stream_refusals.left)

    async def outcome(self) -> StreamEnd:
        """Waits for the outcome of `run`, once the chunks are over; the settlement goes on if it takes too long."""
        return await asyncio.shield(self._outcome)

    async def run(self) -> None:
        """Reserves, works and settles. Keeps every failure for `outcome`."""
        deadline = self._limit_time()
        try:
            self._conclude(await self._stream())
        except CallError as error:
            self._conclude(StreamEnd(error=error))
        except Exception:
            _logger.exception("charging.bug", request_id=self.request.request_id)
            self._conclude(StreamEnd(error=internal(DOMAIN)))
        finally:
            if deadline is not None:
                deadline.cancel()
            self.handover.close()
            self._outcome.cancel()

    def _conclude(self, end: StreamEnd) -> None:
        if not self._outcome.done():
            self._outcome.set_result(end)

    def _limit_time(self) -> asyncio.TimerHandle | None:
        if math.isinf(self._times.work_end):
            return None
        out_of_time = stream_refusals.out_of_time(self.request.service.name)
        return self._loop.call_at(self._times.work_end, self.end, out_of_time)

    async def _stream(self) -> StreamEnd:
        reserved = await self._open()
        slices = Slices(self.request, reserved, payments=self._payments)
        lifetime = Lifetime(slices, end=self.end)
        captures = Captures(self.request, slices, payments=self._payments, pending=self._pending, end=self.end)
        charge = MeteredCharge(self.request, slices, lifetime)

        async def deliver(total_credits: int) -> None:
            captures.deliver(total_credits)
            await self._record.delivered(total_credits)

        work = StreamWork(self.request, charge, self.handover, reserved.reservation.reservation_id, deliver=deliver)
        try:
            ending = await self._have_work_done(work)
        finally:
            charge.stop()
            slices.stop()
            lifetime.stop()
            self.handover.close()
        return await self._settle(slices, captures, ending)

    async def _open(self) -> Reserved:
        """Sets the first slice aside, and has it on record. Raises CallError."""
        reserved = await self._reserve()
        try:
            await self._record.opened(reserved)
        except BaseException:
            await self._payments.release(self.request, reserved)
            await self._record.closed(0)
            raise
        return reserved

    async def _reserve(self) -> Reserved:
        """Sets the first slice aside. Raises CallError, also when the request_id was used before."""
        seconds = clamp_seconds(self._times.work_end - self._loop.time(), cap_seconds=budgets.RESERVE_SECONDS)
        reserved = await self._payments.reserve(self.request, timeout_seconds=seconds)
        reservation = reserved.reservation
        is_active = reservation.state == ReservationState.RESERVATION_STATE_ACTIVE
        # Of this process, and not running: an earlier Reserve of it that was never answered.
        is_own = reservation.metadata.get(HOLDER_LABEL) == self.request.holder and not reservation.captured_credits
        if reservation.service != self.request.service.name:
            if is_active and is_own:
                await self._payments.release(self.request, reserved)
            raise refusals.account_of_other_service(
                service=self.request.service.name, account_service=reservation.service
            )
        if not is_active:
            raise stream_refusals.ended_before(reservation)
        if not is_own:
            raise stream_refusals.stream_running(self.request.request_id, self.request.service.name)
        return reserved

    async def _have_work_done(self, work: StreamWork) -> Ending | None:
        """Waits until the service or something else ends the stream; returns None if it ended well."""
        if self._ending.done():
            return self._ending.result()
        working = self._loop.create_task(work.run())
        ends: set[asyncio.Future[Any]] = {working, self._ending}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await self._end_work(work, working)
        return self._ending.result() if self._ending.done() else working.result()

    async def _end_work(self, work: StreamWork, working: "asyncio.Task[Ending | None]") -> None:
        work.end()
        if self.handover.busy:
            await asyncio.wait({working}, timeout=LAST_WRITE_SECONDS)
        work.close()
        working.cancel()
        await asyncio.wait({working}, timeout=UNWIND_SECONDS)
        if not working.done():
            # Its stream is settled without it; the end of the process waits for it all the same.
            _logger.warning("service.slow_to_end", service=self.request.service.name)
            self._pending.run_shielded(_outlast(working))

    async def _settle(self, slices: Slices, captures: Captures, ending: Ending | None) -> StreamEnd:
        """Has what was delivered paid, and gives back the rest. The answer waits for it only so long."""
        owed = captures.delivered_credits
        reservation_id = slices.reserved.reservation.reservation_id
        seconds = min(max(self._times.answer_end - self._loop.time(), 0), budgets.SETTLE_SECONDS)

        def conclude(charged: int, balance: Balance | None, error: CallError | None) -> StreamEnd:
            return StreamEnd(error=error, charged_credits=charged, reservation_id=reservation_id, balance=balance)

        def conclude_unsettled() -> None:
            self._conclude(conclude(owed, None, None if ending is None else ending(owed)))

        patience = self._loop.call_later(seconds, conclude_unsettled)
        try:
            balance = await captures.settle(keep_captured=ending is None)
        except CallError as error:
            charged = captures.captured_credits
            await self._record.closed(charged)
            why = ending or stream_refusals.passed_on(error)
            return conclude(charged, None, why(charged))
        finally:
            patience.cancel()
        await self._record.closed(owed)
        return conclude(owed, balance, None if ending is None else ending(owed))


async def _outlast(working: "asyncio.Task[Ending | None]") -> None:
    await asyncio.wait({working})
