"""BrokerService: what providers call while they serve."""

from datetime import timedelta

from iap.broker.v1 import broker_pb2, broker_pb2_grpc

from broker_service.domain import commands
from broker_service.domain.checks import account_of
from broker_service.domain.directory import NamedAccount, ProviderState, Role
from broker_service.domain.errors import AccountNotFound, InsufficientCredits, ReservationNotFound
from broker_service.domain.identities import account_id_within, reservation_id_for
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.storage.ledger_queries import ReservationSelection
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.errors import permission_denied
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.rendering import RESERVATION_STATES, render_balance, render_reservation
from broker_service.transport.times import instant_of, microseconds_of, optional_span

_STATES = {number: state for state, number in RESERVATION_STATES.items()}


class BrokerServicer(broker_pb2_grpc.BrokerServiceServicer):
    """Moves credits through the committer; reads beside it."""

    def __init__(self, gate: Gate, directory: Directory, committer: Committer, reader: LedgerReader) -> None:
        self.gate = gate
        self._directory = directory
        self._committer = committer
        self._reader = reader

    @rpc(Role.PROVIDER)
    async def Reserve(self, request: broker_pb2.ReserveRequest, caller: Caller) -> broker_pb2.ReserveResponse:
        """See the contract."""
        account = await self._own_account(request.account_token, caller)
        service = await self._directory.service(account.service)
        result = await self._committer.execute(
            commands.Reserve(
                request_id=request.request_id.lower(),
                account_id=account.account_id,
                provider_id=account.provider_id,
                provider_suspended=await self._is_suspended(account.provider_id),
                credits=request.credits,
                ttl=optional_span(request, "ttl"),
                default_ttl=service.default_ttl,
                max_ttl=service.max_ttl,
                description=request.description,
                metadata=dict(request.metadata),
                token=account.token,
            )
        )
        return broker_pb2.ReserveResponse(
            reservation=render_reservation(result.reservation),
            balance=render_balance(result.balance),
            replayed=result.replayed,
        )

    @rpc(Role.PROVIDER)
    async def Capture(self, request: broker_pb2.CaptureRequest, caller: Caller) -> broker_pb2.CaptureResponse:
        """See the contract."""
        result = await self._committer.execute(
            commands.Capture(
                request_id=request.request_id.lower(),
                account_id=_account_of_reservation(request.reservation_id),
                provider_id=caller.owner_id,
                reservation_id=request.reservation_id,
                credits=request.credits if request.HasField("credits") else None,
                keep_open=request.keep_open,
            )
        )
        return broker_pb2.CaptureResponse(
            reservation=render_reservation(result.reservation),
            captured_credits=result.captured_credits,
            released_credits=result.released_credits,
            balance=render_balance(result.balance),
            replayed=result.replayed,
        )

    @rpc(Role.PROVIDER)
    async def Release(self, request: broker_pb2.ReleaseRequest, caller: Caller) -> broker_pb2.ReleaseResponse:
        """See the contract."""
        result = await self._committer.execute(
            commands.Release(
                request_id=request.request_id.lower(),
                account_id=_account_of_reservation(request.reservation_id),
                provider_id=caller.owner_id,
                reservation_id=request.reservation_id,
                reason=request.reason,
            )
        )
        return broker_pb2.ReleaseResponse(
            reservation=render_reservation(result.reservation),
            balance=render_balance(result.balance),
            replayed=result.replayed,
        )

    @rpc(Role.PROVIDER)
    async def Extend(self, request: broker_pb2.ExtendRequest, caller: Caller) -> broker_pb2.ExtendResponse:
        """See the contract."""
        account_id = _account_of_reservation(request.reservation_id)
        result = await self._committer.execute(
            commands.Extend(
                request_id=request.request_id.lower(),
                account_id=account_id,
                provider_id=caller.owner_id,
                provider_suspended=await self._is_suspended(caller.owner_id),
                reservation_id=request.reservation_id,
                ttl=optional_span(request, "ttl"),
                max_ttl=await self._longest_ttl(account_id, request.reservation_id),
                additional_credits=request.additional_credits,
            )
        )
        return broker_pb2.ExtendResponse(
            reservation=render_reservation(result.reservation),
            balance=render_balance(result.balance),
            replayed=result.replayed,
        )

    @rpc(Role.PROVIDER)
    async def Charge(self, request: broker_pb2.ChargeRequest, caller: Caller) -> broker_pb2.ChargeResponse:
        """See the contract."""
        account = await self._own_account(request.account_token, caller)
        result = await self._committer.execute(
            commands.Charge(
                request_id=request.request_id.lower(),
                account_id=account.account_id,
                provider_id=account.provider_id,
                provider_suspended=await self._is_suspended(account.provider_id),
                credits=request.credits,
                description=request.description,
                metadata=dict(request.metadata),
                token=account.token,
            )
        )
        return broker_pb2.ChargeResponse(
            reservation=render_reservation(result.reservation),
            balance=render_balance(result.balance),
            replayed=result.replayed,
        )

    @rpc(Role.PROVIDER)
    async def Refund(self, request: broker_pb2.RefundRequest, caller: Caller) -> broker_pb2.RefundResponse:
        """See the contract."""
        result = await self._committer.execute(
            commands.Refund(
                request_id=request.request_id.lower(),
                account_id=_account_of_reservation(request.reservation_id),
                provider_id=caller.owner_id,
                reservation_id=request.reservation_id,
                credits=request.credits if request.HasField("credits") else None,
                reason=request.reason,
            )
        )
        return broker_pb2.RefundResponse(
            reservation=render_reservation(result.reservation),
            refunded_credits=result.refunded_credits,
            balance=render_balance(result.balance),
            replayed=result.replayed,
        )

    @rpc(Role.PROVIDER)
    async def CheckCredits(
        self, request: broker_pb2.CheckCreditsRequest, caller: Caller
    ) -> broker_pb2.CheckCreditsResponse:
        """See the contract."""
        named = await self._own_account(request.account_token, caller)
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
            reservation = await self._reader.reservation(_account_of_reservation(reservation_id), reservation_id)
        else:
            account = await self._own_account(request.account_token, caller)
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
        account = await self._own_account(request.account_token, caller)
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

    async def _own_account(self, account_token: str, caller: Caller) -> NamedAccount:
        """Returns a token's account, whose service the caller sells; its `token` is still to be checked.

        Raises AccountNotFound, TokenOutdated, or CallError.
        """
        account = await self._directory.account_of_token(account_token)
        if account.provider_id != caller.owner_id:
            # Nobody learns of an account by a token that has stopped.
            await self._reader.check(account.account_id, account.token)
            raise permission_denied("key of the provider that sells the account's service")
        return account

    async def _is_suspended(self, provider_id: str) -> bool:
        provider = await self._directory.provider(provider_id)
        return provider is not None and provider.state is ProviderState.SUSPENDED

    async def _longest_ttl(self, account_id: str, reservation_id: str) -> timedelta:
        """Returns what the service of a reservation's account allows. Raises ReservationNotFound."""
        try:
            account = await self._directory.account(account_id)
        except AccountNotFound as error:
            raise ReservationNotFound(reservation_id=reservation_id) from error
        return (await self._directory.service(account.service)).max_ttl


def _account_of_reservation(reservation_id: str) -> str:
    account_id = account_id_within(reservation_id, "rsv")
    if account_id is None:
        raise ReservationNotFound(reservation_id=reservation_id)
    return account_id
