"""What every RPC has in common: who calls, whether the fields keep their rules, and how it ends when it is refused.

The checks come in the contract's order: credentials, field rules; then the kind of key, before anything is looked up,
so that a key of the wrong kind learns nothing of what exists.
"""

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from iap.broker.v1 import broker_pb2

from broker_service.domain.directory import NamedAccount, Role
from broker_service.domain.errors import InsufficientCredits, TokenOutdated
from broker_service.engine.directory import Directory
from broker_service.storage.errors import StorageError
from broker_service.transport.errors import (
    DOMAIN,
    EXPECTED_ERRORS,
    credentials_invalid,
    credentials_missing,
    permission_denied,
    to_call_error,
)
from broker_service.transport.rendering import render_offer
from mesh_runtime.call_errors import CallError, invalid_argument
from mesh_runtime.field_rules import FieldRules, FieldViolation

RequestMessage = TypeVar("RequestMessage", bound=Message)
ResponseMessage = TypeVar("ResponseMessage", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]

_BEARER = "bearer "
_KEY_NAMES = {Role.OPERATOR: "operator's key", Role.PROVIDER: "provider's key", Role.CUSTOMER: "customer's key"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key came with the call; `role` None: no key came."""

    role: Role | None
    owner_id: str

    def is_customer(self, customer_id: str) -> bool:
        """Whether the key is this customer's."""
        return (self.role, self.owner_id) == (Role.CUSTOMER, customer_id)


NOBODY = Caller(None, "")


class Gate:
    """Lets calls in, and explains why one was refused."""

    def __init__(self, directory: Directory, rules: FieldRules, *, purchase_url: str = "") -> None:
        self._directory = directory
        self._rules = rules
        self._purchase_url = purchase_url

    async def admit(self, context: Context, request: Message, roles: tuple[Role, ...]) -> Caller:
        """Returns who calls. `roles` are those whose keys will do; empty: no key is needed.

        Raises CallError: CREDENTIALS_MISSING, CREDENTIALS_INVALID, INVALID_ARGUMENT, PERMISSION_DENIED.
        """
        caller = await self._caller(context)
        if caller.role is None and (roles or _needs_key(request)):
            raise credentials_missing()
        violations = self._rules.violations(request)
        if violations:
            raise invalid_argument(DOMAIN, violations)
        if roles and caller.role not in roles:
            raise permission_denied(_KEY_NAMES[roles[0]])
        return caller

    async def caller_with_key(self, context: Context) -> Caller:
        """Returns who calls. Raises CallError: CREDENTIALS_MISSING, CREDENTIALS_INVALID."""
        caller = await self._caller(context)
        if caller.role is None:
            raise credentials_missing()
        return caller

    def admit_one(self, caller: Caller, request: Message, role: Role) -> None:
        """Lets one request of a stream in, as `admit` does. Raises CallError: INVALID_ARGUMENT, PERMISSION_DENIED."""
        violations = self._rules.violations(request)
        if violations:
            raise invalid_argument(DOMAIN, violations)
        if caller.role is not role:
            raise permission_denied(_KEY_NAMES[role])

    def check_message(self, message: Message) -> None:
        """Raises CallError if a message of a stream breaks its own field rules."""
        violations = self._rules.violations(message)
        if violations:
            raise invalid_argument(DOMAIN, violations)

    async def account(self, request: Any) -> NamedAccount:
        """Returns the account that a request's oneof `account` names. Raises AccountNotFound.

        What is then asked of the account has to check its `token`, and may find that TokenOutdated.
        """
        if request.WhichOneof("account") == "account_token":
            return await self._directory.account_of_token(request.account_token)
        return await self._directory.account(request.account_id)

    def forget_token(self, request: Any) -> None:
        """Looks the account token of a request up again the next time: what is known of it is out of date."""
        self._directory.forget_token(request.account_token)

    def check_customer(self, account: NamedAccount, caller: Caller, *, or_operator: bool = False) -> None:
        """Raises CallError unless the caller may act for the account's customer.

        The token does, when the request names the account by it; else it takes the customer's key, or an operator's
        where that is enough.
        """
        by_token = account.token is not None
        if not (by_token or caller.is_customer(account.customer_id) or (or_operator and caller.role is Role.OPERATOR)):
            raise permission_denied("key of the account's customer")

    async def readable_account(self, request: Any, caller: Caller) -> NamedAccount:
        """Returns the account that a request names for reading; operators may read all. Raises as the two above."""
        account = await self.account(request)
        self.check_customer(account, caller, or_operator=True)
        return account

    def check(self, message: Message, within: str) -> None:
        """Raises CallError if a message that stands for the field `within` of a request breaks its own field rules."""
        violations = self._rules.violations(message)
        if violations:
            raise invalid_argument(
                DOMAIN, [FieldViolation(f"{within}.{found.field}", found.description) for found in violations]
            )

    async def explain(self, error: Exception) -> CallError:
        """Returns what the caller is told of one of EXPECTED_ERRORS."""
        if not isinstance(error, InsufficientCredits):
            return to_call_error(error)
        return to_call_error(error, await self.offer(error))

    async def offer(self, shortfall: InsufficientCredits) -> broker_pb2.Offer:
        """Returns what the customer can buy to go on; without packs if the storage does not answer."""
        try:
            packs = await self._directory.offered_packs(shortfall.service)
        except StorageError:
            packs = []
        return render_offer(shortfall, packs, self._purchase_url)

    async def _caller(self, context: Context) -> Caller:
        for name, value in context.invocation_metadata() or ():
            if name != "authorization":
                continue
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if text[: len(_BEARER)].lower() != _BEARER:
                raise credentials_invalid()
            key = await self._directory.key(text[len(_BEARER) :].strip())
            if key is None:
                raise credentials_invalid()
            return Caller(key.role, key.owner_id)
        return NOBODY


def _needs_key(request: Any) -> bool:
    """Tells whether a request names what it is about by an id, and not by a token, which is its own credential."""
    if "account" in request.DESCRIPTOR.oneofs_by_name:
        return bool(request.WhichOneof("account") == "account_id")
    return "account_token" in request.DESCRIPTOR.fields_by_name and not request.account_token


class Gated(Protocol):
    """A servicer behind a gate."""

    gate: Gate


Servicer = TypeVar("Servicer", bound=Gated)
Handler = Callable[[Servicer, RequestMessage, Caller], Awaitable[ResponseMessage]]
Method = Callable[[Servicer, RequestMessage, Context], Awaitable[ResponseMessage]]
Admit = Callable[[], Awaitable[Caller]]
StreamHandler = Callable[[Servicer, RequestMessage, Admit], AsyncGenerator[ResponseMessage, None]]
StreamMethod = Callable[[Servicer, RequestMessage, Context], AsyncGenerator[ResponseMessage, None]]


def rpc(
    *roles: Role,
) -> Callable[[Handler[Servicer, RequestMessage, ResponseMessage]], Method[Servicer, RequestMessage, ResponseMessage]]:
    """Makes an RPC of a method that takes a request and its Caller; `roles` whose keys will do, none: no key needed."""

    def decorate(
        handler: Handler[Servicer, RequestMessage, ResponseMessage],
    ) -> Method[Servicer, RequestMessage, ResponseMessage]:
        @functools.wraps(handler)
        async def method(servicer: Servicer, request: RequestMessage, context: Context) -> ResponseMessage:
            try:
                caller = await servicer.gate.admit(context, request, roles)
                try:
                    return await handler(servicer, request, caller)
                except TokenOutdated:
                    # Nothing has been done. Once more, with the token as it is now.
                    servicer.gate.forget_token(request)
                    return await handler(servicer, request, caller)
            except EXPECTED_ERRORS as error:
                raise await servicer.gate.explain(error) from error

        return method

    return decorate


def stream_rpc(
    *roles: Role,
) -> Callable[
    [StreamHandler[Servicer, RequestMessage, ResponseMessage]], StreamMethod[Servicer, RequestMessage, ResponseMessage]
]:
    """Makes an RPC of a method that answers one request with many messages; `roles` as in `rpc`.

    It takes the request and `admit`, which says who calls: again and again, for a key may be revoked meanwhile.
    """

    def decorate(
        handler: StreamHandler[Servicer, RequestMessage, ResponseMessage],
    ) -> StreamMethod[Servicer, RequestMessage, ResponseMessage]:
        @functools.wraps(handler)
        async def method(
            servicer: Servicer, request: RequestMessage, context: Context
        ) -> AsyncGenerator[ResponseMessage, None]:
            admit = functools.partial(servicer.gate.admit, context, request, roles)
            try:
                # Before the handler does anything at all.
                await admit()
                async with aclosing(handler(servicer, request, admit)) as responses:
                    async for response in responses:
                        yield response
            except EXPECTED_ERRORS as error:
                raise await servicer.gate.explain(error) from error

        return method

    return decorate
