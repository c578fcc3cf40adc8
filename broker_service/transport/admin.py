"""AdminService: what the operator does."""

import uuid
from typing import Any

from iap.broker.v1 import account_pb2, admin_pb2

from broker_service.domain import commands
from broker_service.domain.directory import ProviderState, Role
from broker_service.domain.records import DEFAULT_PRIORITY, AccountState, GrantKind
from broker_service.engine.auditing import Auditor
from broker_service.engine.committer import Committer
from broker_service.engine.directory import OPERATOR_ID, Directory
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.payment_notices import PaymentNoticeServicer
from broker_service.transport.rendering import (
    render_account,
    render_balance,
    render_customer,
    render_grant,
    render_key,
    render_provider,
)
from broker_service.transport.times import instant_of, microseconds_of, optional_instant
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)


class AdminServicer(PaymentNoticeServicer):
    """Keeps parties and their keys in the directory; changes accounts through the committer; audits the books."""

    def __init__(
        self, gate: Gate, directory: Directory, committer: Committer, desk: PaymentDesk, auditor: Auditor
    ) -> None:
        super().__init__(gate, desk)
        self._directory = directory
        self._committer = committer
        self._auditor = auditor

    @rpc(Role.OPERATOR)
    async def RegisterProvider(
        self, request: admin_pb2.RegisterProviderRequest, _caller: Caller
    ) -> admin_pb2.RegisterProviderResponse:
        """See the contract."""
        provider, provider_key = await self._directory.register_provider(
            request_id=request.request_id.lower(),
            name=request.name,
            commission_basis_points=_commission(request),
        )
        return admin_pb2.RegisterProviderResponse(
            provider=render_provider(provider), provider_key=provider_key, replayed=not provider_key
        )

    @rpc(Role.OPERATOR)
    async def RegisterCustomer(
        self, request: admin_pb2.RegisterCustomerRequest, _caller: Caller
    ) -> admin_pb2.RegisterCustomerResponse:
        """See the contract."""
        customer, customer_key = await self._directory.register_customer(
            request_id=request.request_id.lower(), name=request.name, email=request.email
        )
        return admin_pb2.RegisterCustomerResponse(
            customer=render_customer(customer), customer_key=customer_key, replayed=not customer_key
        )

    # Keys.

    @rpc(Role.OPERATOR)
    async def IssueKey(self, request: admin_pb2.IssueKeyRequest, _caller: Caller) -> admin_pb2.IssueKeyResponse:
        """See the contract."""
        role, owner_id = _owner(request) or (Role.OPERATOR, OPERATOR_ID)
        key, secret = await self._directory.issue_key(
            request_id=request.request_id.lower(), role=role, owner_id=owner_id, title=request.title
        )
        return admin_pb2.IssueKeyResponse(key=render_key(key), secret=secret, replayed=not secret)

    @rpc(Role.OPERATOR)
    async def RevokeKey(self, request: admin_pb2.RevokeKeyRequest, _caller: Caller) -> admin_pb2.RevokeKeyResponse:
        """See the contract."""
        key = await self._directory.revoke_key(request.key_id)
        return admin_pb2.RevokeKeyResponse(key=render_key(key))

    @rpc(Role.OPERATOR)
    async def ListKeys(self, request: admin_pb2.ListKeysRequest, _caller: Caller) -> admin_pb2.ListKeysResponse:
        """See the contract."""
        owner = _owner(request)
        scope = ("ListKeys", str(owner))
        cursor = cursor_of(request.page_token, (int, str), *scope)
        limit = page_size(request.page_size)
        after = None if cursor is None else (instant_of(cursor[0]), cursor[1])
        found = await self._directory.keys_after(owner, after, limit + 1)
        shown = found[:limit]
        next_page_token = ""
        if len(found) > limit:
            last = shown[-1]
            next_page_token = page_token([microseconds_of(last.create_time), last.key_id], *scope)
        return admin_pb2.ListKeysResponse(keys=[render_key(key) for key in shown], next_page_token=next_page_token)

    # Accounts.

    @rpc(Role.OPERATOR)
    async def GrantCredits(
        self, request: admin_pb2.GrantCreditsRequest, _caller: Caller
    ) -> admin_pb2.GrantCreditsResponse:
        """See the contract."""
        is_trial = request.kind == account_pb2.GRANT_KIND_TRIAL
        result = await self._committer.execute(
            commands.GrantCredits(
                request_id=request.request_id.lower(),
                account_id=request.account_id,
                credits=request.credits,
                kind=GrantKind.TRIAL if is_trial else GrantKind.PROMOTIONAL,
                priority=request.priority if request.HasField("priority") else DEFAULT_PRIORITY,
                expire_time=optional_instant(request, "expire_time"),
                reason=request.reason,
            )
        )
        return admin_pb2.GrantCreditsResponse(
            grant=render_grant(result.grant), balance=render_balance(result.balance), replayed=result.replayed
        )

    @rpc(Role.OPERATOR)
    async def SuspendAccount(
        self, request: admin_pb2.SuspendAccountRequest, _caller: Caller
    ) -> admin_pb2.SuspendAccountResponse:
        """See the contract."""
        command = commands.ChangeAccountState(
            request.account_id, AccountState.SUSPENDED, request.reason, change_id=uuid.uuid4().hex
        )
        result = await self._committer.execute(command)
        return admin_pb2.SuspendAccountResponse(account=render_account(result.account))

    @rpc(Role.OPERATOR)
    async def ResumeAccount(
        self, request: admin_pb2.ResumeAccountRequest, _caller: Caller
    ) -> admin_pb2.ResumeAccountResponse:
        """See the contract."""
        command = commands.ChangeAccountState(
            request.account_id, AccountState.ACTIVE, reason="", change_id=uuid.uuid4().hex
        )
        result = await self._committer.execute(command)
        return admin_pb2.ResumeAccountResponse(account=render_account(result.account))

    # Providers.

    @rpc(Role.OPERATOR)
    async def SuspendProvider(
        self, request: admin_pb2.SuspendProviderRequest, _caller: Caller
    ) -> admin_pb2.SuspendProviderResponse:
        """See the contract."""
        provider = await self._directory.change_provider(request.provider_id, state=ProviderState.SUSPENDED)
        logger.info("provider.suspended", provider_id=provider.provider_id, cause=request.reason)
        return admin_pb2.SuspendProviderResponse(provider=render_provider(provider))

    @rpc(Role.OPERATOR)
    async def ResumeProvider(
        self, request: admin_pb2.ResumeProviderRequest, _caller: Caller
    ) -> admin_pb2.ResumeProviderResponse:
        """See the contract."""
        provider = await self._directory.change_provider(request.provider_id, state=ProviderState.ACTIVE)
        return admin_pb2.ResumeProviderResponse(provider=render_provider(provider))

    @rpc(Role.OPERATOR)
    async def SetCommission(
        self, request: admin_pb2.SetCommissionRequest, _caller: Caller
    ) -> admin_pb2.SetCommissionResponse:
        """See the contract."""
        provider = await self._directory.change_provider(
            request.provider_id, commission_basis_points=_commission(request)
        )
        return admin_pb2.SetCommissionResponse(provider=render_provider(provider))

    @rpc(Role.OPERATOR)
    async def ListProviders(
        self, request: admin_pb2.ListProvidersRequest, _caller: Caller
    ) -> admin_pb2.ListProvidersResponse:
        """See the contract."""
        cursor = cursor_of(request.page_token, (str,), "ListProviders")
        limit = page_size(request.page_size)
        found = await self._directory.providers_after("" if cursor is None else cursor[0], limit + 1)
        shown = found[:limit]
        return admin_pb2.ListProvidersResponse(
            providers=[render_provider(provider) for provider in shown],
            next_page_token=page_token([shown[-1].provider_id], "ListProviders") if len(found) > limit else "",
        )

    # The books.

    @rpc(Role.OPERATOR)
    async def AuditLedger(
        self, _request: admin_pb2.AuditLedgerRequest, _caller: Caller
    ) -> admin_pb2.AuditLedgerResponse:
        """See the contract."""
        found = await self._auditor.audit()
        return admin_pb2.AuditLedgerResponse(
            accounts_checked=found.accounts_checked,
            entries_checked=found.entries_checked,
            violations=[
                admin_pb2.AuditViolation(account_id=it.account_id, rule=it.rule, description=it.description)
                for it in found.violations
            ],
        )


def _commission(request: admin_pb2.RegisterProviderRequest | admin_pb2.SetCommissionRequest) -> int | None:
    return request.commission_basis_points if request.HasField("commission_basis_points") else None


def _owner(request: Any) -> tuple[Role, str] | None:
    """Returns whose keys a request's oneof `owner` means; None if it is not set."""
    match request.WhichOneof("owner"):
        case "provider_id":
            return Role.PROVIDER, request.provider_id
        case "customer_id":
            return Role.CUSTOMER, request.customer_id
        case "operator":
            return Role.OPERATOR, OPERATOR_ID
        case _:
            return None
