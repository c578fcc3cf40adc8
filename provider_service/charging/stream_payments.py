"""The calls to the broker for a stream: slices set aside, captures that keep the reservation open, the end."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from iap.broker.v1.broker_pb2 import CaptureResponse

from client_stub.broker import BrokerClient
from client_stub.errors import IapError, RequestIdReusedError
from mesh_runtime.call_errors import CallError
from provider_service.charging.broker_errors import log_unpaid_work, to_call_error
from provider_service.charging.budgets import RESERVE_SECONDS, SETTLE_CALL_SECONDS
from provider_service.charging.confirming import until_confirmed
from provider_service.charging.payments import Payments, Reserved
from provider_service.charging.stream_request import StreamRequest

# How often a first slice is tried with what the account has left, while others spend of it.
_RESERVE_TRIES: Final = 4


class StreamPayments:
    """Makes the broker's calls for streams."""

    def __init__(self, broker: BrokerClient) -> None:
        self._broker = broker
        self._payments = Payments(broker)

    async def reserve(self, request: StreamRequest, *, timeout_seconds: float) -> Reserved:
        """Sets the first slice aside, or what the account has left of it. Raises CallError."""
        for _ in range(_RESERVE_TRIES - 1):
            try:
                return await self._payments.reserve(request, timeout_seconds=timeout_seconds)
            except CallError as error:
                available = available_credits(error)
                if not available or available >= request.credits:
                    raise
                request = replace(request, credits=available)
        return await self._payments.reserve(request, timeout_seconds=timeout_seconds)

    async def extend(self, request: StreamRequest, reserved: Reserved, *, additional_credits: int) -> Reserved:
        """Sets more aside. Raises CallError; one whose answer was lost is found again by the next.

        Its id stands for what was reserved before it, so that a lost one is repeated and not done twice.
        """
        reservation = reserved.reservation
        try:
            response = await self._broker.extend(
                reservation_id=reservation.reservation_id,
                additional_credits=additional_credits,
                request_id=request.operation_id(f"extend {reservation.reserved_credits}"),
                timeout_seconds=RESERVE_SECONDS,
            )
        except RequestIdReusedError as error:
            return await self._find_extended(reserved, error)
        except IapError as error:
            raise to_call_error(error, rpc="Extend") from error
        return replace(reserved, reservation=response.reservation, balance=response.balance)

    async def _find_extended(self, reserved: Reserved, reused: RequestIdReusedError) -> Reserved:
        """Returns the reservation as a lost extension by another amount has left it."""
        try:
            found = await self._broker.get_reservation(
                reservation_id=reserved.reservation.reservation_id, timeout_seconds=RESERVE_SECONDS
            )
        except IapError as error:
            raise to_call_error(error, rpc="GetReservation") from error
        if found.reservation.reserved_credits <= reserved.reservation.reserved_credits:
            raise to_call_error(reused, rpc="Extend") from reused
        return replace(reserved, reservation=found.reservation)

    async def prolong(self, reserved: Reserved, *, ttl: timedelta) -> Reserved:
        """Lets the reservation live for `ttl` from now. Raises CallError."""
        return await self._payments.extend(reserved, credits=0, ttl=ttl)

    async def capture(
        self,
        request: StreamRequest,
        reservation_id: str,
        *,
        captured_before: int,
        additional_credits: int,
        last: bool,
        expiry: Callable[[], float],
    ) -> CaptureResponse:
        """Takes what was delivered since the capture before, and gives the rest back if it is the last one.

        Its id stands for what was captured before it: of two captures of the same credits, this process' and that of
        one which settles its journal, only one takes effect. Repeats the call until the broker confirms it or the
        reservation, which goes on being prolonged, is about to expire. Raises CallError when the credits cannot be
        taken any more.
        """

        async def capture_once() -> CaptureResponse:
            return await self._broker.capture(
                reservation_id=reservation_id,
                credits=additional_credits,
                keep_open=not last,
                request_id=request.operation_id(f"capture {captured_before}"),
                timeout_seconds=SETTLE_CALL_SECONDS,
            )

        try:
            return await until_confirmed(capture_once, rpc="Capture", reservation_id=reservation_id, expiry=expiry)
        except IapError as error:
            if additional_credits:
                log_unpaid_work(error, reservation_id=reservation_id)
            raise to_call_error(error, rpc="Capture") from error

    async def release(self, request: StreamRequest, reserved: Reserved) -> None:
        """Gives all back; goes on until the broker has confirmed it or the reservation has expired."""
        await self._payments.release_in_time(request.request_id, reserved)


def available_credits(error: CallError) -> int | None:
    """Returns what the account has left when it cannot pay; None when the call failed for another reason."""
    return int(error.metadata.get("available", 0)) if error.reason == "INSUFFICIENT_CREDITS" else None
