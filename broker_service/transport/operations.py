"""The operations that move credits: from a request to a command, and from its result to a response.

A call carries one of them, a message of a pipeline many; what becomes of them is the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from iap.broker.v1 import broker_pb2
from msgspec import Struct

from broker_service.domain import commands
from broker_service.domain.directory import NamedAccount, Provider, ProviderState, Service
from broker_service.domain.errors import AccountNotFound, ReservationNotFound
from broker_service.domain.identities import account_id_within
from broker_service.domain.outcomes import ReservationResult
from broker_service.engine.directory import Directory
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.transport.endpoint import Caller
from broker_service.transport.errors import permission_denied
from broker_service.transport.rendering import render_balance, render_reservation
from broker_service.transport.times import optional_span

Response = TypeVar("Response")
Value = TypeVar("Value")

MovingCommand = (
    commands.Reserve | commands.Capture | commands.Release | commands.Extend | commands.Charge | commands.Refund
)


class Terms(Struct, frozen=True):
    """What an operation depends on beside its own fields. `account` and `service` are there if its kind needs them."""

    provider_id: str
    account: NamedAccount | None = None
    service: Service | None = None
    provider_suspended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationKind(Generic[Response]):
    """One of the operations. `names` is the field of its request that leads to the account, if terms depend on it.

    `command` raises Refusal for what only it finds wrong with a request.
    """

    command: Callable[[Any, Terms], MovingCommand]
    response: Callable[[ReservationResult], Response]
    names: str = ""
    needs_service: bool = False


class TermsDirectory:
    """Finds the terms of operations: those it remembers at once, others after a look."""

    def __init__(self, directory: Directory, reader: LedgerReader) -> None:
        self._directory = directory
        self._reader = reader

    def known_terms(self, kind: OperationKind[Any], request: Any, caller: Caller) -> Terms | None:
        """Returns the terms of an operation if all of them are remembered and the caller may do it, else None."""
        if not kind.names:
            return Terms(caller.owner_id)
        account = self._known_account(kind, request)
        if account is None or account.provider_id != caller.owner_id:
            return None
        service = self._directory.known_service(account.service) if kind.needs_service else None
        provider = self._directory.known_provider(account.provider_id)
        if provider is None or (kind.needs_service and service is None):
            return None
        return Terms(account.provider_id, account, service, _is_suspended(provider))

    async def terms(self, kind: OperationKind[Any], request: Any, caller: Caller) -> Terms:
        """Returns the terms of an operation.

        Raises AccountNotFound, ReservationNotFound, TokenOutdated, StorageError, or CallError if it is not the
        caller's to do.
        """
        if not kind.names:
            return Terms(caller.owner_id)
        if kind.names == "account_token":
            account = await self.own_account(request.account_token, caller)
        else:
            account = await self._account_of(request.reservation_id)
        service = await self._directory.service(account.service) if kind.needs_service else None
        # Who asks: the reservation's own provider, or one to whom the command will be refused.
        provider = await self._directory.provider(caller.owner_id)
        return Terms(caller.owner_id, account, service, provider is not None and _is_suspended(provider))

    async def own_account(self, account_token: str, caller: Caller) -> NamedAccount:
        """Returns a token's account, whose service the caller sells; its `token` is still to be checked.

        Raises AccountNotFound, TokenOutdated, or CallError.
        """
        account = await self._directory.account_of_token(account_token)
        if account.provider_id != caller.owner_id:
            # Nobody learns of an account by a token that has stopped.
            await self._reader.check(account.account_id, account.token)
            raise permission_denied("key of the provider that sells the account's service")
        return account

    def _known_account(self, kind: OperationKind[Any], request: Any) -> NamedAccount | None:
        if kind.names == "account_token":
            return self._directory.known_account_of_token(request.account_token)
        account_id = account_id_within(request.reservation_id, "rsv")
        return None if account_id is None else self._directory.known_account(account_id)

    async def _account_of(self, reservation_id: str) -> NamedAccount:
        try:
            return await self._directory.account(account_of_reservation(reservation_id))
        except AccountNotFound as error:
            raise ReservationNotFound(reservation_id=reservation_id) from error


def account_of_reservation(reservation_id: str) -> str:
    """Returns the account that a reservation's id carries. Raises ReservationNotFound."""
    account_id = account_id_within(reservation_id, "rsv")
    if account_id is None:
        raise ReservationNotFound(reservation_id=reservation_id)
    return account_id


def _is_suspended(provider: Provider) -> bool:
    return provider.state is ProviderState.SUSPENDED


def _reserve(request: broker_pb2.ReserveRequest, terms: Terms) -> commands.Reserve:
    account, service = _given(terms.account), _given(terms.service)
    return commands.Reserve(
        request_id=request.request_id.lower(),
        account_id=account.account_id,
        provider_id=terms.provider_id,
        provider_suspended=terms.provider_suspended,
        credits=request.credits,
        ttl=optional_span(request, "ttl"),
        default_ttl=service.default_ttl,
        max_ttl=service.max_ttl,
        description=request.description,
        metadata=dict(request.metadata),
        token=account.token,
    )


def _capture(request: broker_pb2.CaptureRequest, terms: Terms) -> commands.Capture:
    return commands.Capture(
        request_id=request.request_id.lower(),
        account_id=account_of_reservation(request.reservation_id),
        provider_id=terms.provider_id,
        reservation_id=request.reservation_id,
        credits=request.credits if request.HasField("credits") else None,
        keep_open=request.keep_open,
    )


def _release(request: broker_pb2.ReleaseRequest, terms: Terms) -> commands.Release:
    return commands.Release(
        request_id=request.request_id.lower(),
        account_id=account_of_reservation(request.reservation_id),
        provider_id=terms.provider_id,
        reservation_id=request.reservation_id,
        reason=request.reason,
    )


def _extend(request: broker_pb2.ExtendRequest, terms: Terms) -> commands.Extend:
    return commands.Extend(
        request_id=request.request_id.lower(),
        account_id=account_of_reservation(request.reservation_id),
        provider_id=terms.provider_id,
        provider_suspended=terms.provider_suspended,
        reservation_id=request.reservation_id,
        ttl=optional_span(request, "ttl"),
        max_ttl=_given(terms.service).max_ttl,
        additional_credits=request.additional_credits,
    )


def _charge(request: broker_pb2.ChargeRequest, terms: Terms) -> commands.Charge:
    account = _given(terms.account)
    return commands.Charge(
        request_id=request.request_id.lower(),
        account_id=account.account_id,
        provider_id=terms.provider_id,
        provider_suspended=terms.provider_suspended,
        credits=request.credits,
        description=request.description,
        metadata=dict(request.metadata),
        token=account.token,
    )


def _refund(request: broker_pb2.RefundRequest, terms: Terms) -> commands.Refund:
    return commands.Refund(
        request_id=request.request_id.lower(),
        account_id=account_of_reservation(request.reservation_id),
        provider_id=terms.provider_id,
        reservation_id=request.reservation_id,
        credits=request.credits if request.HasField("credits") else None,
        reason=request.reason,
    )


def _reserved(result: ReservationResult) -> broker_pb2.ReserveResponse:
    return broker_pb2.ReserveResponse(
        reservation=render_reservation(result.reservation),
        balance=render_balance(result.balance),
        replayed=result.replayed,
    )


def _captured(result: ReservationResult) -> broker_pb2.CaptureResponse:
    return broker_pb2.CaptureResponse(
        reservation=render_reservation(result.reservation),
        captured_credits=result.captured_credits,
        released_credits=result.released_credits,
        balance=render_balance(result.balance),
        replayed=result.replayed,
    )


def _released(result: ReservationResult) -> broker_pb2.ReleaseResponse:
    return broker_pb2.ReleaseResponse(
        reservation=render_reservation(result.reservation),
        balance=render_balance(result.balance),
        replayed=result.replayed,
    )


def _extended(result: ReservationResult) -> broker_pb2.ExtendResponse:
    return broker_pb2.ExtendResponse(
        reservation=render_reservation(result.reservation),
        balance=render_balance(result.balance),
        replayed=result.replayed,
    )


def _charged(result: ReservationResult) -> broker_pb2.ChargeResponse:
    return broker_pb2.ChargeResponse(
        reservation=render_reservation(result.reservation),
        balance=render_balance(result.balance),
        replayed=result.replayed,
    )


def _refunded(result: ReservationResult) -> broker_pb2.RefundResponse:
    return broker_pb2.RefundResponse(
        reservation=render_reservation(result.reservation),
        refunded_credits=result.refunded_credits,
        balance=render_balance(result.balance),
        replayed=result.replayed,
    )


def _given(value: Value | None) -> Value:
    """Returns what the terms of an operation's kind always have."""
    if value is None:
        raise TypeError("these are the terms of another kind of operation")
    return value


RESERVE: Final = OperationKind(command=_reserve, response=_reserved, names="account_token", needs_service=True)
CAPTURE: Final = OperationKind(command=_capture, response=_captured)
RELEASE: Final = OperationKind(command=_release, response=_released)
EXTEND: Final = OperationKind(command=_extend, response=_extended, names="reservation_id", needs_service=True)
CHARGE: Final = OperationKind(command=_charge, response=_charged, names="account_token")
REFUND: Final = OperationKind(command=_refund, response=_refunded)

# By the names that a pipeline's messages have for them.
OPERATIONS: Final[Mapping[str, OperationKind[Any]]] = MappingProxyType(
    {
        "reserve": RESERVE,
        "capture": CAPTURE,
        "release": RELEASE,
        "extend": EXTEND,
        "charge": CHARGE,
        "refund": REFUND,
    }
)
