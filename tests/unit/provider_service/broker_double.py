"""A broker of a few hundred lines: real calls, real bookkeeping of credits, and a script for what goes wrong."""

# ruff: noqa: N802 - the methods carry the names of the RPCs

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from google.type import money_pb2
from iap.broker.v1 import broker_pb2, broker_pb2_grpc, catalog_pb2
from iap.broker.v1.broker_pb2 import Reservation, ReservationState

from mesh_runtime.call_errors import CallError, invalid_argument
from mesh_runtime.calls import CallInterceptor
from mesh_runtime.field_rules import check_fields

DOMAIN = "iap.broker"
KEY = "provider-key"

Step = Callable[[], Awaitable[None]]
ACTIVE = ReservationState.RESERVATION_STATE_ACTIVE
CAPTURED = ReservationState.RESERVATION_STATE_CAPTURED
RELEASED = ReservationState.RESERVATION_STATE_RELEASED
EXPIRED = ReservationState.RESERVATION_STATE_EXPIRED


def refusal(code: grpc.StatusCode, reason: str, *details: Message, **metadata: str) -> CallError:
    return CallError(
        code=code, reason=reason, message=f"refused: {reason}", domain=DOMAIN, metadata=metadata, details=details
    )


@dataclass
class Account:
    service: str
    ledger_credits: int = 0
    reserved_credits: int = 0
    suspended: bool = False

    @property
    def balance(self) -> broker_pb2.Balance:
        return broker_pb2.Balance(
            ledger_credits=self.ledger_credits,
            reserved_credits=self.reserved_credits,
            available_credits=self.ledger_credits - self.reserved_credits,
        )


@dataclass
class Booking:
    account: Account
    reservation: Reservation
    request: broker_pb2.ReserveRequest
    settled_by: dict[tuple[str, str], Message] = field(default_factory=dict)
    captured_credits: int = 0
    released_credits: int = 0

    def current(self) -> Reservation:
        if self.reservation.state == ACTIVE and self.reservation.expire_time.ToDatetime(UTC) <= datetime.now(UTC):
            self.settle(EXPIRED, 0)
        return self.reservation

    def settle(self, state: ReservationState, captured_credits: int) -> None:
        reservation = self.reservation
        reservation.state = state
        reservation.captured_credits = captured_credits
        reservation.released_credits = reservation.reserved_credits - captured_credits
        self.account.reserved_credits -= reservation.reserved_credits
        self.account.ledger_credits -= captured_credits


class BrokerDouble(broker_pb2_grpc.BrokerServiceServicer):
    """`before` and `after` hold steps by RPC: run once each, in turn, before or after the call takes effect."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.bookings: dict[str, Booking] = {}
        self.charges: dict[tuple[str, str], tuple[broker_pb2.ChargeRequest, Booking]] = {}
        self.calls: Counter[str] = Counter()
        self.before: dict[str, list[Step]] = {}
        self.after: dict[str, list[Step]] = {}
        self.key = KEY
        self.default_ttl = timedelta(minutes=15)

    def open_account(self, ledger_credits: int, *, service: str = "echo") -> str:
        token = f"token-{uuid.uuid4()}"
        self.accounts[token] = Account(service=service, ledger_credits=ledger_credits)
        return token

    def fail(self, rpc: str, error: CallError, *, times: int = 1, after: bool = False) -> None:
        async def step() -> None:
            raise error

        (self.after if after else self.before).setdefault(rpc, []).extend([step] * times)

    @property
    def reservations(self) -> list[Reservation]:
        return [booking.current() for booking in self.bookings.values()]

    async def Reserve(self, request: broker_pb2.ReserveRequest, context: Any) -> broker_pb2.ReserveResponse:
        await self._begin("Reserve", request, context)
        account = self._account(request.account_token)
        booking = self._find(request)
        replayed = booking is not None
        if booking is None:
            booking = self._reserve(account, request)
        elif booking.request != request:
            raise refusal(
                grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", request_id=request.request_id, rpc="Reserve"
            )
        response = broker_pb2.ReserveResponse(reservation=booking.current(), balance=account.balance, replayed=replayed)
        await self._end("Reserve")
        return response

    async def Capture(self, request: broker_pb2.CaptureRequest, context: Any) -> broker_pb2.CaptureResponse:
        await self._begin("Capture", request, context)
        booking = self._booking(request.reservation_id)
        replayed = ("Capture", request.request_id) in booking.settled_by
        if not replayed:
            self._refuse_unless_active(booking)
            reserved = booking.reservation.reserved_credits
            booking.settle(CAPTURED, request.credits if request.HasField("credits") else reserved)
            booking.settled_by["Capture", request.request_id] = request
        await self._end("Capture")
        return broker_pb2.CaptureResponse(
            reservation=booking.current(),
            captured_credits=booking.reservation.captured_credits,
            balance=booking.account.balance,
            replayed=replayed,
        )

    async def Charge(self, request: broker_pb2.ChargeRequest, context: Any) -> broker_pb2.ChargeResponse:
        await self._begin("Charge", request, context)
        account = self._account(request.account_token)
        known = self.charges.get((request.account_token, request.request_id))
        if known is not None and known[0] != request:
            raise refusal(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", rpc="Charge")
        if known is None:
            made = broker_pb2.ReserveRequest(credits=request.credits, description=request.description)
            booking = self._reserve(account, made)
            booking.settle(CAPTURED, request.credits)
            self.charges[request.account_token, request.request_id] = (request, booking)
        else:
            booking = known[1]
        await self._end("Charge")
        return broker_pb2.ChargeResponse(
            reservation=booking.current(), balance=account.balance, replayed=known is not None
        )

    async def Extend(self, request: broker_pb2.ExtendRequest, context: Any) -> broker_pb2.ExtendResponse:
        await self._begin("Extend", request, context)
        booking = self._booking(request.reservation_id)
        self._refuse_unless_active(booking)
        available, more = booking.account.balance.available_credits, request.additional_credits
        if more > available:
            raise insufficient_credits(booking.account.service, available=available, required=more)
        booking.account.reserved_credits += more
        booking.reservation.reserved_credits += more
        if request.HasField("ttl"):
            booking.reservation.expire_time.CopyFrom(_timestamp(datetime.now(UTC) + request.ttl.ToTimedelta()))
        await self._end("Extend")
        return broker_pb2.ExtendResponse(reservation=booking.current(), balance=booking.account.balance)

    async def Release(self, request: broker_pb2.ReleaseRequest, context: Any) -> broker_pb2.ReleaseResponse:
        await self._begin("Release", request, context)
        booking = self._booking(request.reservation_id)
        if ("Release", request.request_id) not in booking.settled_by:
            self._refuse_unless_active(booking)
            booking.settle(RELEASED, 0)
            booking.settled_by["Release", request.request_id] = request
        await self._end("Release")
        return broker_pb2.ReleaseResponse(reservation=booking.current(), balance=booking.account.balance)

    async def GetReservation(
        self, request: broker_pb2.GetReservationRequest, context: Any
    ) -> broker_pb2.GetReservationResponse:
        await self._begin("GetReservation", request, context)
        if request.reservation_id:
            return broker_pb2.GetReservationResponse(reservation=self._booking(request.reservation_id).current())
        self._account(request.account_token)
        booking = self._find(request)
        if booking is None:
            raise refusal(grpc.StatusCode.NOT_FOUND, "RESERVATION_NOT_FOUND")
        return broker_pb2.GetReservationResponse(reservation=booking.current())

    async def CheckCredits(
        self, request: broker_pb2.CheckCreditsRequest, context: Any
    ) -> broker_pb2.CheckCreditsResponse:
        await self._begin("CheckCredits", request, context)
        account = self._account(request.account_token)
        return broker_pb2.CheckCreditsResponse(sufficient=True, balance=account.balance)

    async def _begin(self, rpc: str, request: Message, context: Any) -> None:
        self.calls[rpc] += 1
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.key}":
            raise refusal(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
        violations = check_fields(request)
        if violations:
            raise invalid_argument(DOMAIN, violations)
        if self.before.get(rpc):
            await self.before[rpc].pop(0)()

    async def _end(self, rpc: str) -> None:
        if self.after.get(rpc):
            await self.after[rpc].pop(0)()

    def _account(self, token: str) -> Account:
        account = self.accounts.get(token)
        if account is None:
            detail = error_details_pb2.ResourceInfo(resource_type="account")
            raise refusal(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND", detail)
        return account

    def _find(self, request: broker_pb2.ReserveRequest | broker_pb2.GetReservationRequest) -> Booking | None:
        for booking in self.bookings.values():
            if (booking.request.account_token, booking.request.request_id) == (
                request.account_token,
                request.request_id,
            ):
                return booking
        return None

    def _booking(self, reservation_id: str) -> Booking:
        booking = self.bookings.get(reservation_id)
        if booking is None:
            raise refusal(grpc.StatusCode.NOT_FOUND, "RESERVATION_NOT_FOUND", reservation_id=reservation_id)
        return booking

    def _reserve(self, account: Account, request: broker_pb2.ReserveRequest) -> Booking:
        if account.suspended:
            raise refusal(grpc.StatusCode.FAILED_PRECONDITION, "ACCOUNT_SUSPENDED", account_id="acc_1")
        available = account.balance.available_credits
        if request.credits > available:
            raise insufficient_credits(account.service, available=available, required=request.credits)
        account.reserved_credits += request.credits
        now = datetime.now(UTC)
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else self.default_ttl
        reservation = Reservation(
            reservation_id=f"rsv_{uuid.uuid4()}",
            service=account.service,
            state=ACTIVE,
            reserved_credits=request.credits,
            create_time=_timestamp(now),
            expire_time=_timestamp(now + ttl),
            description=request.description,
            metadata=request.metadata,
        )
        booking = Booking(account=account, reservation=reservation, request=request)
        self.bookings[reservation.reservation_id] = booking
        return booking

    def _refuse_unless_active(self, booking: Booking) -> None:
        state = booking.current().state
        if state != ACTIVE:
            name = ReservationState.Name(state).removeprefix("RESERVATION_STATE_")
            raise refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"RESERVATION_{name}",
                reservation_id=booking.reservation.reservation_id,
            )


def insufficient_credits(service: str, *, available: int, required: int) -> CallError:
    price = money_pb2.Money(currency_code="EUR", units=5)
    offer = broker_pb2.Offer(
        service=service,
        missing_credits=required - available,
        packs=[catalog_pb2.Pack(pack_id="pck_1", service=service, title="Hundred", credits=100, price=price)],
        message="Buy a pack to go on.",
    )
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type="CREDITS", subject=service, description="not enough credits")
    return refusal(
        grpc.StatusCode.FAILED_PRECONDITION,
        "INSUFFICIENT_CREDITS",
        failure,
        offer,
        available=str(available),
        required=str(required),
        missing=str(required - available),
        purchase_url="",
    )


@asynccontextmanager
async def serving(double: BrokerDouble, *, port: int = 0) -> AsyncIterator[str]:
    """Serves the double and yields its address."""
    server = grpc.aio.server(interceptors=[CallInterceptor(DOMAIN)], options=[("grpc.so_reuseport", 0)])
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(double, server)  # type: ignore[no-untyped-call, unused-ignore]
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(None)


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
