"""The calls to the broker around one request: setting credits aside, taking them, giving them back."""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from iap.broker.v1.broker_pb2 import Balance, CaptureResponse, ChargeResponse, GetReservationResponse, Reservation

from client_stub.broker import BrokerClient
from client_stub.errors import IapError, RequestIdReusedError, ReservationNotFoundError, ReservationStateError
from mesh_runtime.logs import get_logger
from provider_service.charging.broker_errors import to_call_error
from provider_service.charging.budgets import RESERVE_SECONDS, SETTLE_CALL_SECONDS, clamp_seconds
from provider_service.charging.confirming import NEVER, until_confirmed
from provider_service.charging.paid_request import DIGEST_LABEL, PaidRequest

_RELEASE_REASON: Final = "the work was not done"
_logger = get_logger("provider_service.charging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A reservation as the broker answered it. `expiry` is a reading of the event loop's clock."""

    reservation: Reservation
    balance: Balance
    replayed: bool
    expiry: float


class Payments:
    """Makes the broker's calls for requests. All calls for one request carry its id, whose scope is the RPC."""

    def __init__(self, broker: BrokerClient) -> None:
        self._broker = broker

    async def reserve(self, request: PaidRequest, *, timeout_seconds: float) -> Reserved:
        """Sets the price aside. Raises CallError.

        The broker takes a retry for the same request only if every parameter is the same, so none may depend on
        the moment: there is no ttl here, and reservations live as long as the service's do by default. The digest
        makes the broker refuse the id for another input even when this process knows nothing of the first. Price and
        title may have changed since then, however: a request with the same digest goes on from its reservation, at
        the price that was set aside.

        Whether an unanswered call has reserved is unknown. It is not released then, so that a retry can go on.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        try:
            response = await self._broker.reserve(
                account_token=request.account_token,
                credits=request.credits,
                description=request.service.title,
                metadata=request.labels,
                request_id=request.request_id,
                timeout_seconds=timeout_seconds,
            )
        except RequestIdReusedError as error:
            return await self._find_reserved(request, error, end=end)
        except IapError as error:
            raise to_call_error(error, rpc="Reserve") from error
        lifetime_seconds = _lifetime_seconds(response.reservation, replayed=response.replayed)
        return Reserved(
            reservation=response.reservation,
            balance=response.balance,
            replayed=response.replayed,
            # Counted from the time before the call: rather too early than too late.
            expiry=end - timeout_seconds + lifetime_seconds,
        )

    async def _find_reserved(self, request: PaidRequest, reused: RequestIdReusedError, *, end: float) -> Reserved:
        """Returns the reservation of this very request, made when it cost something else or was called otherwise.

        `end` is a reading of the event loop's clock. Raises CallError, REQUEST_ID_REUSED for another request's.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await self._broker.get_reservation(
                request_id=request.request_id,
                account_token=request.account_token,
                timeout_seconds=clamp_seconds(end - loop.time(), cap_seconds=RESERVE_SECONDS),
            )
        except ReservationNotFoundError:
            raise to_call_error(reused, rpc="Reserve") from reused
        except IapError as error:
            raise to_call_error(error, rpc="GetReservation") from error
        now, reservation = loop.time(), found.reservation
        if reservation.metadata.get(DIGEST_LABEL) != request.digest:
            raise to_call_error(reused, rpc="Reserve") from reused
        return Reserved(
            reservation=reservation,
            balance=await self.read_balance(
                request.account_token, timeout_seconds=clamp_seconds(end - now, cap_seconds=RESERVE_SECONDS)
            ),
            replayed=True,
            expiry=now + _lifetime_seconds(reservation, replayed=True),
        )

    async def extend(
        self,
        reserved: Reserved,
        *,
        credits: int,  # noqa: A002 - the contract's word
        ttl: timedelta | None,
    ) -> Reserved:
        """Reserves more, for a life of `ttl` from now, or both; returns what is reserved then. Raises CallError.

        Each extension has an id of its own: what one whose answer was lost has added goes back with the rest.
        """
        start = asyncio.get_running_loop().time()
        try:
            response = await self._broker.extend(
                reservation_id=reserved.reservation.reservation_id,
                additional_credits=credits,
                ttl=ttl,
                timeout_seconds=RESERVE_SECONDS,
            )
        except IapError as error:
            raise to_call_error(error, rpc="Extend") from error
        return replace(
            reserved,
            reservation=response.reservation,
            balance=response.balance,
            expiry=reserved.expiry if ttl is None else start + ttl.total_seconds(),
        )

    async def capture(
        self,
        request_id: str,
        reservation_id: str,
        *,
        credits: int,  # noqa: A002 - the contract's word
        expiry: float = NEVER,
    ) -> CaptureResponse:
        """Takes so many of the credits reserved, and gives the rest back, repeating the call until the broker decides.

        Or until `expiry`, when an earlier try may still have taken them. Raises IapError.
        """

        async def capture_once() -> CaptureResponse:
            return await self._broker.capture(
                reservation_id=reservation_id,
                credits=credits,
                request_id=request_id,
                timeout_seconds=SETTLE_CALL_SECONDS,
            )

        return await until_confirmed(capture_once, rpc="Capture", reservation_id=reservation_id, expiry=lambda: expiry)

    async def release(self, request_id: str, reservation_id: str, *, expiry: float = NEVER) -> None:
        """Gives all back, repeating the call until the broker decides, or until `expiry`. Raises IapError."""

        async def release_once() -> None:
            await self._broker.release(
                reservation_id=reservation_id,
                reason=_RELEASE_REASON,
                request_id=request_id,
                timeout_seconds=SETTLE_CALL_SECONDS,
            )

        await until_confirmed(release_once, rpc="Release", reservation_id=reservation_id, expiry=lambda: expiry)

    async def release_in_time(self, request_id: str, reserved: Reserved) -> None:
        """Gives all back, repeating the call until the broker confirms it or the reservation has expired."""
        reservation_id = reserved.reservation.reservation_id
        try:
            await self.release(request_id, reservation_id, expiry=reserved.expiry)
        except ReservationStateError:
            # Somebody else or time was quicker: nothing is reserved any more.
            return
        except IapError as error:
            _logger.warning("charging.left_to_expire", reservation_id=reservation_id, reason=error.reason)

    async def find_reservation(
        self, *, reservation_id: str = "", request_id: str = "", account_token: str = ""
    ) -> Reservation:
        """Returns a reservation by its id, or by what it was made with; repeats the call until the broker answers.

        Raises IapError for one that there is not.
        """

        async def find_once() -> GetReservationResponse:
            return await self._broker.get_reservation(
                reservation_id=reservation_id,
                request_id=request_id,
                account_token=account_token,
                timeout_seconds=SETTLE_CALL_SECONDS,
            )

        found = await until_confirmed(
            find_once, rpc="GetReservation", reservation_id=reservation_id, expiry=lambda: NEVER
        )
        return found.reservation

    async def charge(
        self,
        request: PaidRequest,
        *,
        credits: int,  # noqa: A002 - the contract's word
        timeout_seconds: float,
    ) -> ChargeResponse:
        """Reserves and takes in one step, for work that is done. Raises CallError.

        As in `reserve`, no parameter may differ in a retry.
        """
        try:
            return await self._broker.charge(
                account_token=request.account_token,
                credits=credits,
                description=request.service.name,
                metadata=request.labels,
                request_id=request.request_id,
                timeout_seconds=timeout_seconds,
            )
        except IapError as error:
            raise to_call_error(error, rpc="Charge") from error

    async def read_balance(self, account_token: str, *, timeout_seconds: float) -> Balance:
        """Returns the balance of an account as it now stands. Raises CallError."""
        try:
            response = await self._broker.check_credits(
                account_token=account_token, credits=1, timeout_seconds=timeout_seconds
            )
        except IapError as error:
            raise to_call_error(error, rpc="CheckCredits") from error
        return response.balance


def _lifetime_seconds(reservation: Reservation, *, replayed: bool) -> float:
    """Tells how long a reservation lives from now on, by the broker's clock alone where that is possible."""
    start_seconds = time.time() if replayed else _unix_seconds(reservation.create_time)
    return _unix_seconds(reservation.expire_time) - start_seconds


def _unix_seconds(timestamp: Timestamp) -> float:
    """Returns a time in seconds; less than a microsecond is lost."""
    return timestamp.seconds + timestamp.nanos / 1e9
