"""Bringing requests to their end without a caller: after a crash, or when nobody came back."""

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from iap.broker.v1.broker_pb2 import Balance, Reservation, ReservationState

from client_stub.errors import (
    IapError,
    NotFoundError,
    RequestIdReusedError,
    ReservationCapturedError,
    ReservationStateError,
)
from mesh_runtime import fault_points
from mesh_runtime.logs import get_logger
from provider_service.charging import budgets
from provider_service.charging.broker_errors import log_unpaid_work
from provider_service.charging.outputs import to_output
from provider_service.charging.payments import Payments, Reserved
from provider_service.charging.running_charge import CreditsRefused, RunningCharge
from provider_service.charging.stream_request import operation_id
from provider_service.journal.entries import Entry, Kind, RequestKey, Step
from provider_service.journal.errors import JournalUnavailableError
from provider_service.journal.journal import Journal
from provider_service.services.service import AfterCrash, InvalidInput, Service, ServiceFailure, after_crash_of

_RETRY_SECONDS: Final = 1.0
_ACTIVE: Final = ReservationState.RESERVATION_STATE_ACTIVE
_CAPTURED: Final = ReservationState.RESERVATION_STATE_CAPTURED
_logger = get_logger("provider_service.charging")


class Settler:
    """Settles this process's open entries, each in a task of its own, until broker and journal have it.

    What was done is captured; what may have been begun goes as its service says; the rest is released.
    """

    def __init__(self, journal: Journal, payments: Payments, services: Iterable[Service]) -> None:
        self._journal = journal
        self._payments = payments
        self._services = {service.name: service for service in services}
        self._running: dict[RequestKey, asyncio.Task[None]] = {}
        # Whether entries are being adopted: some may be this process's already, and not among the running ones yet.
        self.is_adopting = False
        # How often settling an entry has come to an end.
        self.ends = 0

    async def adopt(self) -> int:
        """Takes over what processes that are gone have left open, and begins to settle it; returns how much it is.

        Not all at once: until it is nothing. Raises JournalUnavailableError.
        """
        self.is_adopting = True
        try:
            entries = await self._journal.adopt()
            for entry in entries:
                self.settle(entry.key, entry)
        finally:
            self.is_adopting = False
        return len(entries)

    def settle(self, key: RequestKey, entry: Entry | None = None) -> "asyncio.Task[None]":
        """Begins to settle an entry, if that has not begun; `entry` saves looking it up."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._settle(key, entry))
            task.add_done_callback(lambda _: self._end(key))
        return task

    def _end(self, key: RequestKey) -> None:
        del self._running[key]
        self.ends += 1

    def is_settling(self, key: RequestKey) -> bool:
        """Whether an entry is being settled."""
        return key in self._running

    async def close(self) -> None:
        """Leaves what is not settled yet to the next start."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self, key: RequestKey, entry: Entry | None) -> None:
        while True:
            try:
                current = await self._journal.find(key) if entry is None else entry
                if current is not None and current.is_open:
                    await self._settle_open(current)
            except JournalUnavailableError:
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:
                # The entry stays as it is; a retry of the request, or the next start, tries again.
                _logger.exception("charging.unsettled", request_id=key[1])
                await asyncio.sleep(_RETRY_SECONDS)
                return
            else:
                return

    async def _settle_open(self, entry: Entry) -> None:
        match entry.step:
            case Step.RESERVING:
                await self._settle_reserving(entry)
            case Step.WORKING | Step.DONE if entry.kind is Kind.STREAM:
                await self._settle_stream(entry)
            case Step.WORKING if self._resumed(entry) is not None:
                await self._resume(entry)
            case Step.DONE:
                await self._capture(entry, entry.credits or 0)
            case _:
                await self._release(entry)

    def _resumed(self, entry: Entry) -> Service | None:
        """Returns the service that goes on with an entry's work; None if there is none, or not here any more."""
        service = self._services.get(entry.service)
        is_resumed = service is not None and after_crash_of(service) is AfterCrash.RESUME
        return service if is_resumed and entry.service_input is not None else None

    async def _settle_reserving(self, entry: Entry) -> None:
        """Gives back what may have been reserved; an id that has reserved nothing is free again."""
        try:
            reservation = await self._payments.find_reservation(
                request_id=entry.request_id, account_token=entry.account_token or ""
            )
        except IapError:
            # None was made, or none that this token still leads to: that one is left to expire.
            self._journal.remove(entry.key)
            return
        if reservation.state == _CAPTURED:
            # It is older than this entry, and the broker knows all there is to know.
            self._journal.remove(entry.key)
            return
        await self._release(entry._replace(reservation_id=reservation.reservation_id))

    async def _release(self, entry: Entry) -> None:
        reservation_id = entry.reservation_id or ""
        try:
            await self._payments.release(entry.request_id, reservation_id)
        except ReservationCapturedError:
            await self._note_captured(entry)
            return
        except (ReservationStateError, NotFoundError):
            # Time was quicker: nothing is reserved any more.
            pass
        fault_points.passing("released")
        self._journal.released(entry.key, reservation_id=reservation_id)

    async def _capture(self, entry: Entry, credits: int) -> None:  # noqa: A002 - the contract's word
        reservation_id = entry.reservation_id or ""
        try:
            captured = await self._payments.capture(entry.request_id, reservation_id, credits=credits)
        except (ReservationCapturedError, RequestIdReusedError):
            await self._note_captured(entry)
        except IapError as error:
            log_unpaid_work(error, reservation_id=reservation_id)
            self._journal.unpaid(entry.key)
        else:
            fault_points.passing("captured")
            self._journal.captured(entry.key, reservation_id=reservation_id, credits=captured.captured_credits)

    async def _note_captured(self, entry: Entry) -> None:
        """Writes down what the broker has captured before, in whatever way."""
        reservation_id = entry.reservation_id or ""
        reservation = await self._payments.find_reservation(reservation_id=reservation_id)
        self._journal.captured(entry.key, reservation_id=reservation_id, credits=reservation.captured_credits)

    async def _settle_stream(self, entry: Entry) -> None:
        """Takes what was delivered and not taken yet, and gives back the rest.

        Each capture is named by what was captured before it, as the stream's own are. So of one that is still on its
        way from a process that died and of this one, only one takes effect; then it is looked at again.
        """
        reservation_id = entry.reservation_id or ""
        while True:
            reservation = await self._payments.find_reservation(reservation_id=reservation_id)
            captured_before = reservation.captured_credits
            left = max((entry.credits or 0) - captured_before, 0)
            if reservation.state != _ACTIVE or not (captured_before or left):
                break
            capture_id = operation_id(entry.request_id, f"capture {captured_before}")
            try:
                await self._payments.capture(capture_id, reservation_id, credits=left)
            except (RequestIdReusedError, ReservationStateError):
                continue
            self._journal.captured(entry.key, reservation_id=reservation_id, credits=captured_before + left)
            return
        if captured_before:
            self._journal.captured(entry.key, reservation_id=reservation_id, credits=captured_before)
        else:
            await self._release(entry)

    async def _resume(self, entry: Entry) -> None:
        """Does the work once more, under the same request_id, within what is left of its reservation's life."""
        reservation = await self._payments.find_reservation(reservation_id=entry.reservation_id or "")
        service = self._resumed(entry)
        if reservation.state != _ACTIVE or service is None:
            await self._release(entry)
            return
        charge = RunningCharge(
            entry.request_id, _reserved(reservation), payments=self._payments, extended=lambda _: None
        )
        output = await self._work(service, entry, charge)
        if output is None:
            if await self._journal.failed(entry.key, reservation_id=entry.reservation_id or ""):
                await self._release(entry)
            return
        if await self._journal.done(entry.key, credits=charge.capture_credits, output=output):
            await self._capture(entry, charge.capture_credits)

    async def _work(self, service: Service, entry: Entry, charge: RunningCharge) -> bytes | None:
        """Returns the output; None if the work fails."""
        loop = asyncio.get_running_loop()
        end = budgets.work_end_before_expiry(loop.time(), charge.reserved.expiry)
        _logger.info("charging.resumed", service=service.name, request_id=entry.request_id)
        try:
            async with asyncio.timeout_at(end):
                output = to_output(await service.perform(json.loads(entry.service_input or b"{}"), charge))
        except (ServiceFailure, InvalidInput, CreditsRefused, TimeoutError) as error:
            _logger.warning("charging.resumed_in_vain", request_id=entry.request_id, cause=type(error).__name__)
            return None
        except Exception:
            _logger.exception("service.bug", service=service.name, request_id=entry.request_id)
            return None
        return output.SerializeToString()


def _reserved(reservation: Reservation) -> Reserved:
    left = reservation.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    return Reserved(
        reservation=reservation,
        balance=Balance(),
        replayed=True,
        expiry=asyncio.get_running_loop().time() + left.total_seconds(),
    )
