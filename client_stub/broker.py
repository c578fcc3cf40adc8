"""The hot path: setting credits aside, taking them, giving them back."""

# ruff: noqa: A002 - arguments carry the names of the contract's fields, `credits` among them

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Literal, Self, TypeAlias, TypeVar

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

from client_stub.channel import TlsOptions, open_channel
from client_stub.errors import ConfigurationError
from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.pipeline import MAX_MESSAGE_BYTES, Pipeline, TraceMetadata
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import DEFAULT_TIMEOUT_SECONDS, ServiceClient

Request = TypeVar("Request")
Response = TypeVar("Response")
Transport: TypeAlias = Literal["unary", "pipelined"]

TRANSPORTS: tuple[Transport, ...] = ("unary", "pipelined")


class BrokerClient(ServiceClient):
    """BrokerService, with a provider key.

    A call that moves credits may be repeated with the `request_id` it was first made with and then changes nothing
    more; without one it gets an id of its own, which covers the client's retries only.

    `transport` says how such calls go: each by itself ("unary"), or as operations of streams that carry many of them
    ("pipelined"), with the same outcomes, errors, timeouts and retries, for much less CPU time on both sides. All other
    calls are unary. A stream stays with one server: a client from `connect` opens as many streams as it is given
    `connections`, each on a connection of its own; one on a channel of the caller's has one stream.

    `trace_metadata` is asked for what to send along with each operation of a stream for tracing, such as a
    `traceparent`: interceptors of the channel see the stream as one call.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: Transport = "unary",
        trace_metadata: TraceMetadata | None = None,
    ) -> None:
        super().__init__(channel, key=key, timeout_seconds=timeout_seconds)
        self._more_channels: Sequence[grpc.aio.Channel] = ()
        self._pipeline: Pipeline | None = None
        if check_transport(transport) == "pipelined":
            self._open_pipeline([channel], trace_metadata)

    @classmethod
    def connect(
        cls,
        target: str,
        *,
        key: str | None = None,
        tls: TlsOptions | None = None,
        insecure: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: Transport = "unary",
        connections: int = 1,
        trace_metadata: TraceMetadata | None = None,
    ) -> Self:
        """Return a client with a channel of its own, or several; see `open_channel`. Close it, or use `async with`."""
        is_pipelined = check_transport(transport) == "pipelined"
        if connections < 1 or (connections > 1 and not is_pipelined):
            raise ConfigurationError("connections must be at least 1, and more than 1 only with pipelined transport")
        own_connection = connections > 1
        channels = [
            open_channel(target, tls=tls, insecure=insecure, own_connection=own_connection) for _ in range(connections)
        ]
        client = cls(channels[0], key=key, timeout_seconds=timeout_seconds)
        client._owns_channel = True
        client._more_channels = channels[1:]
        if is_pipelined:
            client._open_pipeline(channels, trace_metadata)
        return client

    async def close(self) -> None:
        """End the streams, and close the channels that are the client's own; calls that still run are cancelled."""
        if self._pipeline is not None:
            await self._pipeline.close()
        for channel in self._more_channels:
            await channel.close()
        await super().close()

    def _open_pipeline(self, channels: Sequence[grpc.aio.Channel], trace_metadata: TraceMetadata | None) -> None:
        self._pipeline = Pipeline(channels, metadata=self._metadata, trace_metadata=trace_metadata)

    async def _move(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None,
    ) -> Response:
        """Move credits by a call, or by an operation of a stream; IapError when it is refused or fails."""
        # One that no message has room for goes by itself, and so harms no others when it is refused.
        if self._pipeline is None or request.ByteSize() > MAX_MESSAGE_BYTES:  # type: ignore[attr-defined]  # a message
            return await self._call(method, request, timeout_seconds)
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        response: Response = await self._pipeline.carry_out(request, timeout)
        return response

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
        return await self._move(self._stub.Reserve, request, timeout_seconds)

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
        return await self._move(self._stub.Capture, request, timeout_seconds)

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
        return await self._move(self._stub.Release, request, timeout_seconds)

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
        return await self._move(self._stub.Extend, request, timeout_seconds)

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
        return await self._move(self._stub.Charge, request, timeout_seconds)

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
        return await self._move(self._stub.Refund, request, timeout_seconds)

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


def check_transport(transport: str) -> Transport:
    """Return a transport that there is. Raises ConfigurationError."""
    for known in TRANSPORTS:
        if transport == known:
            return known
    raise ConfigurationError(f"invalid transport {transport!r}: expected one of {', '.join(TRANSPORTS)}")
