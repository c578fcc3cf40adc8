"""One attempt at one request: reserve, work, capture."""

import asyncio
from collections.abc import Mapping
from datetime import UTC
from typing import Final

from google.protobuf.struct_pb2 import Struct
from iap.broker.v1.broker_pb2 import ReservationState

from client_stub.structs import to_struct
from mesh_runtime.call_errors import CallError, internal
from mesh_runtime.logs import get_logger
from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging import budgets, refusals
from provider_service.charging.budgets import CallTimes, clamp_seconds
from provider_service.charging.outcomes import Outcome, Refused, Served
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.payments import Payments, Reserved
from provider_service.charging.refusals import DOMAIN
from provider_service.charging.running_charge import CreditsRefused, RunningCharge
from provider_service.services.service import InvalidInput, ServiceFailure

# Callers take no more than 4 MiB in one message; the rest of the response is small.
_OUTPUT_LIMIT_BYTES: Final = 4 * 1024 * 1024 - 16 * 1024
_logger = get_logger("provider_service.charging")


class Attempt:
    """A request being served for all callers that came with its id.

    `run` is to go on in a task of its own, which no caller's leaving ends: it is the number of callers that counts.
    When the last one leaves before the work is done, the work is cancelled and its credits are released. Once it is
    done, the capture goes on without them.
    """

    def __init__(self, request: PaidRequest, *, payments: Payments, pending: PendingTasks) -> None:
        self.request = request
        self._payments = payments
        self._pending = pending
        self._loop = asyncio.get_running_loop()
        self._callers = 0
        self._work_end = 0.0
        self._answer_end = 0.0
        self._expiry_work_end = float("inf")
        self._work_limit: asyncio.Timeout | None = None
        self._given_up = False
        self._work_done: asyncio.Future[None] = self._loop.create_future()

    async def answer(self, outcome: asyncio.Future[Outcome], times: CallTimes) -> Outcome:
        """Waits, as one of the callers, for the outcome of `run`. Raises CallError if there is none in time."""
        self._join(times)
        try:
            await self._wait({outcome, self._work_done}, times.answer_end - self._loop.time())
            await self._wait({outcome}, min(times.answer_end - self._loop.time(), budgets.SETTLE_SECONDS))
        finally:
            self._leave()
        if outcome.done():
            return outcome.result()
        raise refusals.not_settled()

    async def run(self) -> Outcome:
        """Reserves, works and captures. Returns every failure instead of raising it: several callers may wait."""
        try:
            return await self._serve()
        except CallError as error:
            return Refused(error=error)
        except Exception:
            # Logged here once, however many callers wait.
            _logger.exception("charging.bug", request_id=self.request.request_id)
            return Refused(error=internal(DOMAIN))

    def _join(self, times: CallTimes) -> None:
        self._callers += 1
        self._work_end = max(self._work_end, times.work_end)
        self._answer_end = max(self._answer_end, times.answer_end)
        self._limit_work(min(self._work_end, self._expiry_work_end))

    def _leave(self) -> None:
        self._callers -= 1
        if not self._callers and self._limit_work(self._loop.time()):
            self._given_up = True

    def _limit_work(self, end: float) -> bool:
        """Moves the end of work that is going on, unless it has come; returns whether that was done."""
        if self._work_limit is None or self._work_limit.expired() or self._given_up:
            return False
        self._work_limit.reschedule(end)
        return True

    def _limit_by_expiry(self, reserved: Reserved) -> None:
        """Ends the work before its reservation expires, whatever time callers have left."""
        self._expiry_work_end = budgets.work_end_before_expiry(self._loop.time(), reserved.expiry)
        self._limit_work(min(self._work_end, self._expiry_work_end))

    async def _wait(self, futures: "set[asyncio.Future[Outcome] | asyncio.Future[None]]", seconds: float) -> None:
        if not any(future.done() for future in futures):
            await asyncio.wait(futures, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)

    async def _serve(self) -> Outcome:
        timeout_seconds = clamp_seconds(self._work_end - self._loop.time(), cap_seconds=budgets.RESERVE_SECONDS)
        reserved = await self._payments.reserve(self.request, timeout_seconds=timeout_seconds)
        if reserved.reservation.service != self.request.service.name:
            return await self._refuse_account(reserved)
        if reserved.reservation.state != ReservationState.RESERVATION_STATE_ACTIVE:
            return _settled_before(reserved)
        if not self._callers and reserved.replayed:
            # Another process may be at work on it: not ours to give back.
            raise refusals.not_settled()
        charge = RunningCharge(self.request, reserved, payments=self._payments, extended=self._limit_by_expiry)
        try:
            if not self._callers:
                raise refusals.reservation_released(reserved.reservation.reservation_id)
            output = await self._work(charge)
        except CallError as error:
            await self._release(charge.reserved)
            return Refused(error=error, released_reservation_id=reserved.reservation.reservation_id)
        self._work_done.set_result(None)
        captured = await self._payments.capture(self.request, charge.reserved, credits=charge.capture_credits)
        return Served(
            output=output,
            reservation_id=captured.reservation.reservation_id,
            charged_credits=captured.captured_credits,
            balance=captured.balance,
        )

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
            await self._release(reserved)
        return Refused(error=error)

    async def _work(self, charge: RunningCharge) -> Struct:
        """Does the work within its time. Raises CallError, whatever goes wrong."""
        self._limit_by_expiry(charge.reserved)
        limit = asyncio.timeout_at(min(self._work_end, self._expiry_work_end))
        try:
            async with limit:
                self._work_limit = limit
                output = await self.request.service.perform(self.request.service_input, charge)
            return _to_output(output)
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
        finally:
            self._work_limit = None

    def _explain_timeout(self, reserved: Reserved, limit: asyncio.Timeout) -> CallError:
        # A service may raise the same error for reasons of its own.
        if not limit.expired():
            return self._explain_bug()
        if self._given_up:
            return refusals.reservation_released(reserved.reservation.reservation_id)
        return refusals.out_of_time(self.request.service.name)

    def _explain_bug(self) -> CallError:
        """Logs the exception being handled, which is the service's, and returns what callers are told."""
        _logger.exception("service.bug", service=self.request.service.name, request_id=self.request.request_id)
        return internal(DOMAIN)

    async def _release(self, reserved: Reserved) -> None:
        """Gives the credits back; waits for it as long as callers can, and leaves the rest to the background."""
        releasing = self._pending.run_shielded(self._payments.release(self.request, reserved))
        # Half of the time that is left, so that the answer is in time even when the release is not.
        seconds = min(self._answer_end - self._loop.time(), budgets.SETTLE_SECONDS) / 2
        await asyncio.wait({releasing}, timeout=max(seconds, 0))


def _settled_before(reserved: Reserved) -> Served:
    """Answers from the reservation alone what another process, or this one before a restart, has settled."""
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


def _to_output(output: object) -> Struct:
    """Returns a service's output as it is sent; raises for what cannot be sent, before anything is charged."""
    if not isinstance(output, Mapping):
        raise TypeError(f"a service's output must be a mapping, not {type(output).__name__}")
    struct = to_struct(output)
    if struct.ByteSize() > _OUTPUT_LIMIT_BYTES:
        raise ValueError(f"a service's output must be at most {_OUTPUT_LIMIT_BYTES} bytes, not {struct.ByteSize()}")
    return struct


def _is_own_cancellation(error: BaseException) -> bool:
    """Whether the attempt itself is being cancelled, as the event loop does when it closes."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
