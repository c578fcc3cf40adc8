"""BrokerService: what providers call while they serve."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from iap.broker.v1 import broker_pb2, broker_pb2_grpc

from broker_service.domain.checks import account_of
from broker_service.domain.directory import Role
from broker_service.domain.errors import InsufficientCredits, ReservationNotFound
from broker_service.domain.identities import reservation_id_for
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.storage.ledger_queries import ReservationSelection
from broker_service.transport import operations
from broker_service.transport.endpoint import Caller, Context, Gate, rpc
from broker_service.transport.operations import OperationKind, TermsDirectory, account_of_reservation
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.pipeline import Pipelines, StreamLimits
from broker_service.transport.rendering import RESERVATION_STATES, render_balance, render_reservation
from broker_service.transport.times import instant_of, microseconds_of

Response = TypeVar("Response")

_STATES = {number: state for state, number in RESERVATION_STATES.items()}


class BrokerServicer(broker_pb2_grpc.BrokerServiceServicer):
    """Moves credits through the committer; reads beside it."""

    def __init__(
        self,
        gate: Gate,
        directory: Directory,
        committer: Committer,
        reader: LedgerReader,
        *,
        stream_limits: StreamLimits,
    ) -> None:
        self.gate = gate
        self._committer = committer
        self._reader = reader
        self._terms = TermsDirectory(directory, reader)
        self._pipelines = Pipelines(gate, self._terms, committer, stream_limits)

    @rpc(Role.PROVIDER)
    async def Reserve(self, request: broker_pb2.ReserveRequest, caller: Caller) -> broker_pb2.ReserveResponse:
        """See the contract."""
        return await self._carry_out(operations.RESERVE, request, caller)

    @rpc(Role.PROVIDER)
    async def Capture(self, request: broker_pb2.CaptureRequest, caller: Caller) -> broker_pb2.CaptureResponse:
        """See the contract."""
        return await self._carry_out(operations.CAPTURE, request, caller)

    @rpc(Role.PROVIDER)
    async def Release(self, request: broker_pb2.ReleaseRequest, caller: Caller) -> broker_pb2.ReleaseResponse:
        """See the contract."""
        return await self._carry_out(operations.RELEASE, request, caller)

    @rpc(Role.PROVIDER)
    async def Extend(self, request: broker_pb2.ExtendRequest, caller: Caller) -> broker_pb2.ExtendResponse:
        """See the contract."""
        return await self._carry_out(operations.EXTEND, request, caller)

    @rpc(Role.PROVIDER)
    async def Charge(self, request: broker_pb2.ChargeRequest, caller: Caller) -> broker_pb2.ChargeResponse:
        """See the contract."""
        return await self._carry_out(operations.CHARGE, request, caller)

    @rpc(Role.PROVIDER)
    async def Refund(self, request: broker_pb2.RefundRequest, caller: Caller) -> broker_pb2.RefundResponse:
        """See the contract."""
        return await self._carry_out(operations.REFUND, request, caller)

    @rpc(Role.PROVIDER)
    async def CheckCredits(
        self, request: broker_pb2.CheckCreditsRequest, caller: Caller
    ) -> broker_pb2.CheckCreditsResponse:
        """See the contract."""
        named = await self._terms.own_account(request.account_token, caller)
        account = account_of(await self._reader.book(named.account_id, named.token))
        balance = account.balance
        if request.credits <= balance.available_credits:
            return broker_pb2.CheckCreditsResponse(sufficient=True, balance=render_balance(balance))
        shortfall = InsufficientCredits(
            service=account.service, available=balance.available_credits, required=request.credits
        )
        return broker_pb2.CheckCreditsResponse(
            sufficient=False, balance=render_balance(balance), offer=await self.gate.offer(shortfall)
        )

    @rpc(Role.PROVIDER)
    async def GetReservation(
        self, request: broker_pb2.GetReservationRequest, caller: Caller
    ) -> broker_pb2.GetReservationResponse:
        """See the contract."""
        if request.reservation_id:
            reservation_id = request.reservation_id
            reservation = await self._reader.reservation(account_of_reservation(reservation_id), reservation_id)
        else:
            account = await self._terms.own_account(request.account_token, caller)
            reservation_id = reservation_id_for(account.account_id, "Reserve", request.request_id.lower())
            reservation = await self._reader.reservation(account.account_id, reservation_id, account.token)
        if reservation.provider_id != caller.owner_id:
            raise ReservationNotFound(reservation_id=reservation_id)
        return broker_pb2.GetReservationResponse(reservation=render_reservation(reservation))

    @rpc(Role.PROVIDER)
    async def ListReservations(
        self, request: broker_pb2.ListReservationsRequest, caller: Caller
    ) -> broker_pb2.ListReservationsResponse:
        """See the contract."""
        account = await self._terms.own_account(request.account_token, caller)
        scope = ("ListReservations", account.account_id, request.state)
        cursor = cursor_of(request.page_token, (int, str), *scope)
        limit = page_size(request.page_size)
        found = await self._reader.reservations(
            account.account_id,
            ReservationSelection(
                state=_STATES.get(request.state),
                before=None if cursor is None else (instant_of(cursor[0]), cursor[1]),
                limit=limit + 1,
            ),
            account.token,
        )
        shown = found[:limit]
        next_page_token = ""
        if len(found) > limit:
            last = shown[-1]
            next_page_token = page_token([microseconds_of(last.create_time), last.reservation_id], *scope)
        return broker_pb2.ListReservationsResponse(
            reservations=[render_reservation(reservation) for reservation in shown], next_page_token=next_page_token
        )

    async def Pipeline(  # type: ignore[override]  # it writes by itself, and yields nothing
        self, _requests: AsyncIterator[broker_pb2.PipelineRequest], context: Context
    ) -> None:
        """See the contract."""
        await self._pipelines.run(context)

    async def _carry_out(self, kind: OperationKind[Response], request: Any, caller: Caller) -> Response:
        terms = self._terms.known_terms(kind, request, caller) or await self._terms.terms(kind, request, caller)
        return kind.response(await self._committer.execute(kind.command(request, terms)))
