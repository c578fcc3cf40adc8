"""One attempt at one request: reserve, work, capture, each step in the journal before the next."""

import asyncio
from datetime import UTC
from typing import Final

from google.protobuf.struct_pb2 import Struct
from iap.broker.v1.broker_pb2 import CaptureResponse, ReservationState

from client_stub.errors import IapError, ReservationCapturedError
from mesh_runtime import fault_points
from mesh_runtime.call_errors import CallError, internal
from mesh_runtime.logs import get_logger
from mesh_runtime.pending_tasks import PendingTasks
from mesh_runtime.waiting import wait_until_done
from provider_service.charging import budgets, refusals
from provider_service.charging.broker_errors import is_refusal, log_unpaid_work
from provider_service.charging.budgets import CallTimes, clamp_seconds
from provider_service.charging.callers import Callers
from provider_service.charging.confirming import is_decided
from provider_service.charging.earlier_requests import EarlierRequests
from provider_service.charging.outcomes import Outcome, Refused, Served
from provider_service.charging.outputs import to_output
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.payments import Payments, Reserved
from provider_service.charging.refusals import DOMAIN
from provider_service.charging.running_charge import CreditsRefused, RunningCharge
from provider_service.journal.entries import Entry
from provider_service.journal.errors import JournalUnavailableError
from provider_service.journal.journal import Journal
from provider_service.services.service import AfterCrash, InvalidInput, ServiceFailure, after_crash_of

_JOURNAL_DELAY_SECONDS: Final = 0.2
_logger = get_logger("provider_service.charging")


class Attempt:
    """A request being served for all callers that came with its id.

    `run` is to go on in a task of its own, which no caller's leaving ends. When the last caller leaves before the work
    is done, the work is cancelled and its credits are released. Once it is done, the capture goes on without them.

    `is_unsettled` says, once it has run, that its entry is still open with nobody at it.
    """

    def __init__(
        self,
        request: PaidRequest,
        *,
        journal: Journal,
        payments: Payments,
        earlier: EarlierRequests,
        pending: PendingTasks,
    ) -> None:
        self.request = request
        self.is_unsettled = False
        self._journal = journal
        self._payments = payments
        self._earlier = earlier
        self._pending = pending
        self._loop = asyncio.get_running_loop()
        self._callers = Callers()
        # A reading of the event loop's clock.
        self._work_done_time: float | None = None

    async def answer(self, outcome: asyncio.Future[Outcome], times: CallTimes) -> Outcome:
        """Waits, as one of the callers, for the outcome of `run`. Raises CallError if there is none in time."""
        self._callers.join(times)
        join_time = self._loop.time()
        try:
            while not outcome.done() and (seconds := self._seconds_to_wait(times, join_time)) > 0:
                await wait_until_done(outcome, seconds)
        finally:
            self._callers.leave()
        if outcome.done():
            return outcome.result()
        raise refusals.not_settled()

    async def run(self) -> Outcome:
        """Reserves, works and captures. Returns every failure instead of raising it: several callers may wait."""
        try:
            return await self._serve()
        except CallError as error:
            return Refused(error=error)
        except JournalUnavailableError:
            return Refused(error=refusals.journal_unavailable())
        except Exception:
            # Logged here once, however many callers wait.
            self.is_unsettled = True
            _logger.exception("charging.bug", request_id=self.request.request_id)
            return Refused(error=internal(DOMAIN))

    def _seconds_to_wait(self, times: CallTimes, join_time: float) -> float:
        """Tells how long a caller waits at least, if no outcome comes: work that is done has to be settled in time.

        While it is not done, that time has not begun, and the caller asks again.
        """
        now = self._loop.time()
        settle_start = now if self._work_done_time is None else max(self._work_done_time, join_time)
        return min(times.answer_end, settle_start + budgets.SETTLE_SECONDS) - now

    async def _serve(self) -> Outcome:
        earlier = await self._earlier.resolve(self.request, self._callers.seconds_left)
        if isinstance(earlier, Served):
            return earlier
        reserved = await self._reserve()
        if reserved.reservation.service != self.request.service.name:
            return await self._refuse_account(reserved)
        if reserved.reservation.state != ReservationState.RESERVATION_STATE_ACTIVE:
            self._journal.remove(self.request.key)
            return _settled_before(reserved)
        if not self._callers.count:
            return await self._give_up_unbegun(reserved, earlier)
        return await self._serve_reserved(reserved)

    async def _serve_reserved(self, reserved: Reserved) -> Outcome:
        await self._begin_work(reserved)
        charge = RunningCharge(
            self.request.request_id,
            reserved,
            payments=self._payments,
            extended=lambda extended: self._callers.limit_by_expiry(extended.expiry),
        )
        try:
            output = await self._work(charge)
        except CallError as error:
            return await self._give_up(charge.reserved, error)
        fault_points.passing("worked")
        self._work_done_time = self._loop.time()
        if not await self._store(charge, output):
            return await self._give_up(charge.reserved, refusals.not_settled())
        captured = await self._capture(charge)
        return Served(
            output=output,
            reservation_id=captured.reservation.reservation_id,
            charged_credits=captured.captured_credits,
            balance=captured.balance,
        )

    async def _reserve(self) -> Reserved:
        seconds = self._callers.work_end - self._loop.time()
        timeout_seconds = clamp_seconds(seconds, cap_seconds=budgets.RESERVE_SECONDS)
        try:
            reserved = await self._payments.reserve(self.request, timeout_seconds=timeout_seconds)
        except CallError as error:
            if is_refusal(error):
                self._journal.remove(self.request.key)
            else:
                self.is_unsettled = True
            raise
        fault_points.passing("reserved")
        return reserved

    async def _refuse_account(self, reserved: Reserved) -> Outcome:
        """Refuses an account of another service of this provider, which only a reservation on it tells.

        No id is burnt that could have served: an account's service never changes, so the same call gets this answer
        every time, here and in any other process, and the right account is another scope of ids. Who keeps account
        and id and changes the service makes another request, for which an id was never to be kept.
        """
        error = refusals.account_of_other_service(
            service=self.request.service.name, account_service=reserved.reservation.service
        )
        if reserved.reservation.state == ReservationState.RESERVATION_STATE_ACTIVE:
            await self._release(reserved, is_removed=True)
        else:
            self._journal.remove(self.request.key)
        return Refused(error=error)

    async def _give_up_unbegun(self, reserved: Reserved, earlier: Entry | None) -> Outcome:
        """Gives back what was reserved for callers who have left meanwhile."""
        if reserved.replayed and earlier is None:
            # Whoever has reserved it keeps another journal, and may be at work on it: not ours to give back.
            self._journal.remove(self.request.key)
            raise refusals.not_settled()
        return await self._give_up(reserved, refusals.reservation_released(reserved.reservation.reservation_id))

    async def _begin_work(self, reserved: Reserved) -> None:
        reservation_id = reserved.reservation.reservation_id
        try:
            is_ours = await self._journal.working(self.request.key, reservation_id=reservation_id)
        except JournalUnavailableError:
            self.is_unsettled = True
            raise
        if not is_ours:
            raise refusals.not_settled()

    async def _work(self, charge: RunningCharge) -> Struct:
        """Does the work within its time. Raises CallError, whatever goes wrong."""
        self._callers.limit_by_expiry(charge.reserved.expiry)
        with self._callers.work_time() as limit:
            try:
                async with limit:
                    output = await self.request.service.perform(self.request.service_input, charge)
                return to_output(output)
            except TimeoutError as error:
                raise self._explain_timeout(charge.reserved, limit) from error
            except CreditsRefused as refused:
                raise refused.error from refused
            except ServiceFailure as failure:
                raise refusals.service_failed(self.request.service.name, failure) from failure
            except InvalidInput as error:
                raise refusals.invalid_input(error) from error
            except (Exception, asyncio.CancelledError) as error:
                if _is_own_cancellation(error):
                    raise
                raise self._explain_bug() from error

    def _explain_timeout(self, reserved: Reserved, limit: asyncio.Timeout) -> CallError:
        # A service may raise the same error for reasons of its own.
        if not limit.expired():
            return self._explain_bug()
        if self._callers.given_up:
            return refusals.reservation_released(reserved.reservation.reservation_id)
        return refusals.out_of_time(self.request.service.name)

    def _explain_bug(self) -> CallError:
        """Logs the exception being handled, which is the service's, and returns what callers are told."""
        _logger.exception("service.bug", service=self.request.service.name, request_id=self.request.request_id)
        return internal(DOMAIN)

    async def _store(self, charge: RunningCharge, output: Struct) -> bool:
        """Keeps the output before it is paid. Tries as long as it could still be paid; returns whether it is kept.

        An output that is given away without being kept could be charged for and lost; one that is kept is not charged
        before the journal has it. Raises CallError if another process took this one for dead and settles the request.
        """
        stored = output.SerializeToString()
        while True:
            try:
                is_ours = await self._journal.done(self.request.key, credits=charge.capture_credits, output=stored)
            except JournalUnavailableError:
                left_seconds = charge.reserved.expiry - budgets.SETTLE_SECONDS - self._loop.time()
                if left_seconds <= 0:
                    return False
                await asyncio.sleep(min(_JOURNAL_DELAY_SECONDS, left_seconds))
            else:
                if not is_ours:
                    raise refusals.not_settled()
                return True

    async def _capture(self, charge: RunningCharge) -> CaptureResponse:
        """Takes the credits. Raises CallError when that fails: the output is withheld until a retry has it paid."""
        key, reserved = self.request.key, charge.reserved
        reservation_id = reserved.reservation.reservation_id
        try:
            captured = await self._payments.capture(
                self.request.request_id, reservation_id, credits=charge.capture_credits, expiry=reserved.expiry
            )
        except IapError as error:
            log_unpaid_work(error, reservation_id=reservation_id)
            if is_decided(error) and not isinstance(error, ReservationCapturedError):
                self._journal.unpaid(key)
            else:
                # An earlier try may have taken them.
                self.is_unsettled = True
            raise refusals.not_settled() from error
        fault_points.passing("captured")
        self._journal.captured(key, reservation_id=reservation_id, credits=captured.captured_credits)
        return captured

    async def _give_up(self, reserved: Reserved, error: CallError) -> Outcome:
        """Has the credits released, and only then lets callers hear why: nothing may be charged after that."""
        reservation_id = reserved.reservation.reservation_id
        try:
            is_ours = await self._journal.failed(self.request.key, reservation_id=reservation_id)
        except JournalUnavailableError:
            if after_crash_of(self.request.service) is AfterCrash.RESUME:
                # A crash before the release would have the work done and charged after all.
                error = refusals.not_settled()
            is_ours = True
        if not is_ours:
            return Refused(error=refusals.not_settled())
        await self._release(reserved)
        return Refused(error=error)

    async def _release(self, reserved: Reserved, *, is_removed: bool = False) -> None:
        """Gives the credits back; waits for it as long as callers can, and leaves the rest to the background."""
        releasing = self._pending.run_shielded(self._release_all(reserved, is_removed=is_removed))
        # Half of the time that is left, so that the answer is in time even when the release is not.
        seconds = min(self._callers.answer_end - self._loop.time(), budgets.SETTLE_SECONDS) / 2
        await asyncio.wait({releasing}, timeout=max(seconds, 0))

    async def _release_all(self, reserved: Reserved, *, is_removed: bool) -> None:
        await self._payments.release_in_time(self.request.request_id, reserved)
        fault_points.passing("released")
        if is_removed:
            self._journal.remove(self.request.key)
        else:
            self._journal.released(self.request.key, reservation_id=reserved.reservation.reservation_id)


def _settled_before(reserved: Reserved) -> Served:
    """Answers from the reservation alone what the journal does not know, or not any more."""
    reservation = reserved.reservation
    match reservation.state:
        case ReservationState.RESERVATION_STATE_CAPTURED:
            return Served(
                output=None,
                reservation_id=reservation.reservation_id,
                charged_credits=reservation.captured_credits,
                balance=reserved.balance,
                replayed=True,
            )
        case ReservationState.RESERVATION_STATE_RELEASED:
            raise refusals.reservation_released(reservation.reservation_id)
        case _:
            raise refusals.reservation_expired(reservation.reservation_id, reservation.expire_time.ToDatetime(UTC))


def _is_own_cancellation(error: BaseException) -> bool:
    """Whether the attempt itself is being cancelled, as the event loop does when it closes."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
