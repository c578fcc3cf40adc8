"""The hot path: setting credits aside, taking them, giving them back."""

# ruff: noqa: A002 - arguments carry the names of the contract's fields, `credits` among them

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta

import grpc.aio
from iap.broker.v1.broker_pb2 import (
    CaptureRequest,
    CaptureResponse,
    ChargeRequest,
    ChargeResponse,
    CheckCreditsRequest,
    CheckCreditsResponse,
    ExtendRequest,
    ExtendResponse,
    GetReservationRequest,
    GetReservationResponse,
    ListReservationsRequest,
    RefundRequest,
    RefundResponse,
    ReleaseRequest,
    ReleaseResponse,
    Reservation,
    ReservationState,
    ReserveRequest,
    ReserveResponse,
)
from iap.broker.v1.broker_pb2_grpc import BrokerServiceStub

from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient


class BrokerClient(ServiceClient):
    """BrokerService, with a provider key.

    A call that moves credits may be repeated with the `request_id` it was first made with and then changes nothing
    more; without one it gets an id of its own, which covers the client's retries only.
    """

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = BrokerServiceStub(channel)

    async def reserve(
        self,
        *,
        account_token: str,
        credits: int,
        ttl: timedelta | None = None,
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> ReserveResponse:
        """Set credits aside; InsufficientCreditsError, with an offer, when the account cannot pay.

        Without a `ttl` the reservation lives as long as the service's reservations do by default.
        """
        request = ReserveRequest(
            request_id=request_id_or_new(request_id),
            account_token=account_token,
            credits=credits,
            ttl=ttl,
            description=description,
            metadata=metadata,
        )
        return await self._call(self._stub.Reserve, request, timeout_seconds)

    async def capture(
        self,
        *,
        reservation_id: str,
        credits: int | None = None,
        keep_open: bool = False,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> CaptureResponse:
        """Take reserved credits, all of them unless `credits` says how many; 0 is allowed.

        The rest is released, or stays reserved with `keep_open`. AmountError when more is asked than is reserved;
        ReservationStateError when the reservation is no longer active.
        """
        request = CaptureRequest(
            request_id=request_id_or_new(request_id),
            reservation_id=reservation_id,
            credits=credits,
            keep_open=keep_open,
        )
        return await self._call(self._stub.Capture, request, timeout_seconds)

    async def release(
        self,
        *,
        reservation_id: str,
        reason: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> ReleaseResponse:
        """Give back all that is reserved; ReservationStateError when the reservation is no longer active."""
        request = ReleaseRequest(request_id=request_id_or_new(request_id), reservation_id=reservation_id, reason=reason)
        return await self._call(self._stub.Release, request, timeout_seconds)

    async def extend(
        self,
        *,
        reservation_id: str,
        ttl: timedelta | None = None,
        additional_credits: int = 0,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> ExtendResponse:
        """Give a reservation a new life of `ttl` from now, more credits, or both."""
        request = ExtendRequest(
            request_id=request_id_or_new(request_id),
            reservation_id=reservation_id,
            ttl=ttl,
            additional_credits=additional_credits,
        )
        return await self._call(self._stub.Extend, request, timeout_seconds)

    async def charge(
        self,
        *,
        account_token: str,
        credits: int,
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> ChargeResponse:
        """Reserve and capture in one step, for work that is done or cannot fail."""
        request = ChargeRequest(
            request_id=request_id_or_new(request_id),
            account_token=account_token,
            credits=credits,
            description=description,
            metadata=metadata,
        )
        return await self._call(self._stub.Charge, request, timeout_seconds)

    async def refund(
        self,
        *,
        reservation_id: str,
        credits: int | None = None,
        reason: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RefundResponse:
        """Give captured credits back, all that is not refunded yet unless `credits` says how many."""
        request = RefundRequest(
            request_id=request_id_or_new(request_id),
            reservation_id=reservation_id,
            credits=credits,
            reason=reason,
        )
        return await self._call(self._stub.Refund, request, timeout_seconds)

    async def check_credits(
        self, *, account_token: str, credits: int, timeout_seconds: float | None = None
    ) -> CheckCreditsResponse:
        """Tell whether the account could pay now, with an offer if not. Changes nothing."""
        request = CheckCreditsRequest(account_token=account_token, credits=credits)
        return await self._call(self._stub.CheckCredits, request, timeout_seconds)

    async def get_reservation(
        self,
        *,
        reservation_id: str = "",
        request_id: str = "",
        account_token: str = "",
        timeout_seconds: float | None = None,
    ) -> GetReservationResponse:
        """Return a reservation, by its id or by the request_id and account token it was made with."""
        request = GetReservationRequest(
            reservation_id=reservation_id, request_id=request_id, account_token=account_token
        )
        return await self._call(self._stub.GetReservation, request, timeout_seconds)

    def list_reservations(
        self,
        *,
        account_token: str,
        state: ReservationState = ReservationState.RESERVATION_STATE_UNSPECIFIED,
        page_size: int = LARGEST_PAGE_SIZE,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Reservation]:
        """Iterate over an account's reservations, newest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Reservation], str]:
            request = ListReservationsRequest(
                account_token=account_token, state=state, page_size=page_size, page_token=page_token
            )
            response = await self._call(self._stub.ListReservations, request, timeout_seconds)
            return response.reservations, response.next_page_token

        return iterate_pages(fetch_page)
