"""Paying for a piece of work: reserve before it, capture after it, release when it fails.

    async with charge(broker, account_token=token, credits=3, request_id=request_id) as paying:
        segments_sent = await send(message)
        paying.capture(segments_sent)

Credits are never taken for a body that fails, and never given back by one that succeeds. What is unfinished when the
caller is cancelled or gets no answer is finished in the background; `drain_charges` waits for it when the process
stops. What even that does not reach, the reservation's ttl gives back.

Which charge gives a reservation back, when several use one request_id: the one whose body fails, whoever reserved. One
that does not come to its body does so only if the reservation can be nobody else's: with a request_id that `charge`
made itself, or when the broker answers the first Reserve and says that it is new. Any other is left to the charge that
may be at work on it, to a retry with the id, or to expire. So of two charges that work at once with one id, the one
that fails releases what the other then cannot capture.
"""

# ruff: noqa: A002 - arguments carry the names of the contract's fields, `credits` among them

import asyncio
import functools
import logging
import operator
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Final

import grpc
from iap.broker.v1.broker_pb2 import (
    Balance,
    CaptureResponse,
    ReleaseResponse,
    Reservation,
    ReservationState,
    ReserveResponse,
)

from client_stub import background_tasks
from client_stub.broker import BrokerClient
from client_stub.errors import (
    IapError,
    ReservationCapturedError,
    ReservationExpiredError,
    ReservationReleasedError,
    ReservationStateError,
)
from client_stub.request_ids import request_id_or_new
from client_stub.reserving import Reserving
from client_stub.service_client import DEFAULT_TIMEOUT_SECONDS

_BROKER_DOMAIN: Final = "iap.broker"
_logger = logging.getLogger(__name__)
_ERROR_BY_STATE: Final[Mapping[ReservationState, type[ReservationStateError]]] = MappingProxyType(
    {
        error_class.state: error_class
        for error_class in (ReservationCapturedError, ReservationReleasedError, ReservationExpiredError)
    }
)


class Charge:
    """A reservation while its work is being done, and what became of it.

    `replayed`: its request_id had reserved before, so that the work may have been begun before. `balance` is the
    account's after the last answer of the broker. `captured_credits` is None until the end, then what was taken: 0
    after a release.
    """

    def __init__(self, response: ReserveResponse, *, request_id: str) -> None:
        self.request_id = request_id
        self.reservation: Reservation = response.reservation
        self.replayed: bool = response.replayed
        self.balance: Balance = response.balance
        self.captured_credits: int | None = None
        self._capture_credits: int | None = None

    @property
    def capture_credits(self) -> int | None:
        """How many whole credits to take at the end; None for all that is reserved."""
        return self._capture_credits

    @capture_credits.setter
    def capture_credits(self, credits: int | None) -> None:
        # All checks happen here: an error at the end would come when the work is done and cannot be undone.
        if credits is not None and not 0 <= operator.index(credits) <= self._open_credits:
            raise ValueError(f"cannot capture {credits} credits: {self._open_credits} are reserved")
        self._capture_credits = credits

    def capture(self, credits: int) -> None:
        """Take this many whole credits at the end, 0 included; ValueError for more than is reserved."""
        self.capture_credits = credits

    @property
    def _open_credits(self) -> int:
        reservation = self.reservation
        return reservation.reserved_credits - reservation.captured_credits - reservation.released_credits


@asynccontextmanager
async def charge(
    broker: BrokerClient,
    *,
    account_token: str,
    credits: int,
    request_id: str | None = None,
    ttl: timedelta | None = None,
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> AsyncIterator[Charge]:
    """Run the body with the credits reserved; capture them after it, release them if it raises.

    With the same `request_id` nothing is charged twice; whether the body runs again then depends on how far it came:
    it does while the reservation is active (`replayed`), and raises ReservationStateError once it was captured,
    released or has expired. InsufficientCreditsError, with an offer, when the account cannot pay.

    When reserving ends without a clear answer, credits may be reserved all the same. Without a `request_id` they are
    looked for in the background and given back. With one they are left as they are, for a retry with it; without
    that they come back when the reservation expires.

    An error of the body is raised as it is, even when the release fails too. When the capture fails, its error is
    raised: then the work is done and not paid, and the capture may be repeated. When the task is cancelled during the
    capture, that goes on in the background. Each of the broker's calls has `timeout_seconds` of its own.
    """
    own_id, request_id = request_id is None, request_id_or_new(request_id)
    reserve = functools.partial(
        broker.reserve,
        account_token=account_token,
        credits=credits,
        ttl=ttl,
        description=description,
        metadata=metadata,
        request_id=request_id,
        timeout_seconds=timeout_seconds,
    )
    reserving = Reserving(reserve, request_id=request_id, own_id=own_id)
    settlement = _Settlement(broker, request_id=request_id, timeout_seconds=timeout_seconds)
    charging = Charge(await settlement.reserve(reserving), request_id=request_id)
    _check_active(charging.reservation)
    try:
        yield charging
    except GeneratorExit:
        settlement.release_later(charging.reservation)
        raise
    except BaseException as error:
        await settlement.release_after(error, charging)
        raise
    await settlement.capture(charging)


async def drain_charges(timeout_seconds: float) -> int:
    """Wait until no charge has work left on this event loop; return how many pieces of it were not done in time.

    To be called when the process stops, before the broker's channel is closed. What is left is not cancelled.
    """
    return await background_tasks.drain(timeout_seconds)


class _Settlement:
    """Makes the broker's calls for one charge, in tasks of their own: cancelling the caller does not cut them short.

    All use one request_id; its scope is the RPC.
    """

    def __init__(self, broker: BrokerClient, *, request_id: str, timeout_seconds: float) -> None:
        self._broker = broker
        self._request_id = request_id
        self._timeout_seconds = timeout_seconds

    async def reserve(self, reserving: Reserving) -> ReserveResponse:
        """Reserve; when that fails, or the caller is cancelled meanwhile, give back what comes of it all the same."""
        task = background_tasks.start(reserving.call())
        try:
            return await asyncio.shield(task)
        except (asyncio.CancelledError, IapError):
            background_tasks.start(self._release_unwanted(reserving, task))
            raise

    async def capture(self, charging: Charge) -> None:
        """Take what the body decided; it goes on when the caller is cancelled meanwhile."""
        response = await asyncio.shield(background_tasks.start(self._capture(charging)))
        charging.reservation = response.reservation
        charging.balance = response.balance
        charging.captured_credits = response.captured_credits

    async def release_after(self, body_error: BaseException, charging: Charge) -> None:
        """Give all back because the body raised; when that fails, the body's error gets a note of it.

        Waits for the release even when it is a cancellation that ended the body; a further one ends the wait.
        """
        task = background_tasks.start(self._release(charging.reservation))
        try:
            response = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                # The loop or the channel is being closed; that is not for the caller.
                return
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the body's own error comes first
            body_error.add_note(f"and reservation {charging.reservation.reservation_id} was not released: {error}")
            return
        charging.captured_credits = 0
        if response is not None:
            charging.reservation = response.reservation
            charging.balance = response.balance

    def release_later(self, reservation: Reservation) -> None:
        """Give all back without waiting, for a body that is being closed and must not wait any more."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            _log("charge.left_to_expire", reservation, "no event loop is running")
            return
        background_tasks.start(self._release(reservation))

    async def _capture(self, charging: Charge) -> CaptureResponse:
        try:
            return await self._broker.capture(
                reservation_id=charging.reservation.reservation_id,
                credits=charging.capture_credits,
                request_id=self._request_id,
                timeout_seconds=self._timeout_seconds,
            )
        except BaseException as error:
            _log("charge.capture_failed", charging.reservation, error)
            raise

    async def _release(self, reservation: Reservation) -> ReleaseResponse | None:
        """Release; None when nothing is reserved any more, because somebody or the time was quicker."""
        try:
            return await self._broker.release(
                reservation_id=reservation.reservation_id,
                request_id=self._request_id,
                timeout_seconds=self._timeout_seconds,
            )
        except ReservationStateError:
            return None
        except BaseException as error:
            _log("charge.release_failed", reservation, error)
            raise

    async def _release_unwanted(self, reserving: Reserving, task: asyncio.Task[ReserveResponse]) -> None:
        reservation = await reserving.find_unwanted(task)
        if reservation is not None:
            await self._release(reservation)


def _check_active(reservation: Reservation) -> None:
    if reservation.state == ReservationState.RESERVATION_STATE_ACTIVE:
        return
    error_class = _ERROR_BY_STATE.get(reservation.state, ReservationStateError)
    state = ReservationState.Name(error_class.state).removeprefix("RESERVATION_STATE_")
    raise error_class(
        f"the reservation of this request was {state.lower()} before",
        reason=f"RESERVATION_{state}",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        domain=_BROKER_DOMAIN,
        metadata={"reservation_id": reservation.reservation_id},
    )


def _log(event: str, reservation: Reservation, cause: object) -> None:
    _logger.warning("%s reservation_id=%s cause=%r", event, reservation.reservation_id, cause)
