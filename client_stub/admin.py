"""What the operator of a broker does."""

# ruff: noqa: A002 - arguments carry the names of the contract's fields, `credits` among them

from collections.abc import AsyncIterator, Iterable
from datetime import datetime

import grpc.aio
from iap.broker.v1.account_pb2 import GrantKind
from iap.broker.v1.admin_pb2 import (
    AuditLedgerRequest,
    AuditLedgerResponse,
    GrantCreditsRequest,
    GrantCreditsResponse,
    IssueKeyRequest,
    IssueKeyResponse,
    Key,
    ListKeysRequest,
    ListOwedRefundsRequest,
    ListPaymentNoticesRequest,
    ListProvidersRequest,
    MarkRefundPaidRequest,
    MarkRefundPaidResponse,
    PaymentNotice,
    PaymentNoticeOutcome,
    Provider,
    PurchaseRefund,
    RegisterCustomerRequest,
    RegisterCustomerResponse,
    RegisterProviderRequest,
    RegisterProviderResponse,
    ResumeAccountRequest,
    ResumeAccountResponse,
    ResumeProviderRequest,
    ResumeProviderResponse,
    RevokeKeyRequest,
    RevokeKeyResponse,
    SetCommissionRequest,
    SetCommissionResponse,
    SuspendAccountRequest,
    SuspendAccountResponse,
    SuspendProviderRequest,
    SuspendProviderResponse,
)
from iap.broker.v1.admin_pb2_grpc import AdminServiceStub

from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient


class AdminClient(ServiceClient):
    """AdminService, with an operator key."""

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = AdminServiceStub(channel)

    async def register_provider(
        self,
        *,
        name: str,
        commission_basis_points: int | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RegisterProviderResponse:
        """Register a provider. Its key is in the first answer only: a replay has none."""
        request = RegisterProviderRequest(
            request_id=request_id_or_new(request_id), name=name, commission_basis_points=commission_basis_points
        )
        return await self._call(self._stub.RegisterProvider, request, timeout_seconds)

    async def register_customer(
        self,
        *,
        name: str,
        email: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RegisterCustomerResponse:
        """Register a customer. Its key is in the first answer only: a replay has none."""
        request = RegisterCustomerRequest(request_id=request_id_or_new(request_id), name=name, email=email)
        return await self._call(self._stub.RegisterCustomer, request, timeout_seconds)

    def list_providers(
        self, *, page_size: int = LARGEST_PAGE_SIZE, timeout_seconds: float | None = None
    ) -> AsyncIterator[Provider]:
        """Iterate over the providers by their ids, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Provider], str]:
            request = ListProvidersRequest(page_size=page_size, page_token=page_token)
            response = await self._call(self._stub.ListProviders, request, timeout_seconds)
            return response.providers, response.next_page_token

        return iterate_pages(fetch_page)

    async def issue_key(
        self,
        *,
        provider_id: str | None = None,
        customer_id: str | None = None,
        operator: bool = False,
        title: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> IssueKeyResponse:
        """Make a further key for one owner. Its secret is in the first answer only: a replay has none."""
        request = IssueKeyRequest(
            request_id=request_id_or_new(request_id),
            provider_id=provider_id,
            customer_id=customer_id,
            title=title,
        )
        if operator:
            request.operator = True
        return await self._call(self._stub.IssueKey, request, timeout_seconds)

    async def revoke_key(self, *, key_id: str, timeout_seconds: float | None = None) -> RevokeKeyResponse:
        """Make a key useless for good."""
        return await self._call(self._stub.RevokeKey, RevokeKeyRequest(key_id=key_id), timeout_seconds)

    def list_keys(
        self,
        *,
        provider_id: str | None = None,
        customer_id: str | None = None,
        operator: bool = False,
        page_size: int = LARGEST_PAGE_SIZE,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Key]:
        """Iterate over an owner's keys, or everybody's, oldest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Key], str]:
            request = ListKeysRequest(
                provider_id=provider_id, customer_id=customer_id, page_size=page_size, page_token=page_token
            )
            if operator:
                request.operator = True
            response = await self._call(self._stub.ListKeys, request, timeout_seconds)
            return response.keys, response.next_page_token

        return iterate_pages(fetch_page)

    async def grant_credits(
        self,
        *,
        account_id: str,
        credits: int,
        kind: GrantKind = GrantKind.GRANT_KIND_UNSPECIFIED,
        priority: int | None = None,
        expire_time: datetime | None = None,
        reason: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> GrantCreditsResponse:
        """Put credits on an account without a purchase; they expire at `expire_time`, aware, if it is given."""
        request = GrantCreditsRequest(
            request_id=request_id_or_new(request_id),
            account_id=account_id,
            credits=credits,
            kind=kind,
            priority=priority,
            expire_time=expire_time,
            reason=reason,
        )
        return await self._call(self._stub.GrantCredits, request, timeout_seconds)

    async def suspend_account(
        self, *, account_id: str, reason: str = "", timeout_seconds: float | None = None
    ) -> SuspendAccountResponse:
        """Stop new reservations, charges and purchases of an account."""
        request = SuspendAccountRequest(account_id=account_id, reason=reason)
        return await self._call(self._stub.SuspendAccount, request, timeout_seconds)

    async def resume_account(self, *, account_id: str, timeout_seconds: float | None = None) -> ResumeAccountResponse:
        """Let an account be used again."""
        return await self._call(self._stub.ResumeAccount, ResumeAccountRequest(account_id=account_id), timeout_seconds)

    async def suspend_provider(
        self, *, provider_id: str, reason: str = "", timeout_seconds: float | None = None
    ) -> SuspendProviderResponse:
        """Stop new reservations, charges, purchases and payouts of a provider."""
        request = SuspendProviderRequest(provider_id=provider_id, reason=reason)
        return await self._call(self._stub.SuspendProvider, request, timeout_seconds)

    async def resume_provider(
        self, *, provider_id: str, timeout_seconds: float | None = None
    ) -> ResumeProviderResponse:
        """Let a provider sell again."""
        request = ResumeProviderRequest(provider_id=provider_id)
        return await self._call(self._stub.ResumeProvider, request, timeout_seconds)

    async def set_commission(
        self, *, provider_id: str, commission_basis_points: int | None, timeout_seconds: float | None = None
    ) -> SetCommissionResponse:
        """Set a provider's commission rate for purchases to come; None is the broker's."""
        request = SetCommissionRequest(provider_id=provider_id, commission_basis_points=commission_basis_points)
        return await self._call(self._stub.SetCommission, request, timeout_seconds)

    def list_payment_notices(
        self,
        *,
        outcome: PaymentNoticeOutcome = PaymentNoticeOutcome.PAYMENT_NOTICE_OUTCOME_UNSPECIFIED,
        purchase_id: str = "",
        page_size: int = LARGEST_PAGE_SIZE,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[PaymentNotice]:
        """Iterate over what payment gateways have told, newest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[PaymentNotice], str]:
            request = ListPaymentNoticesRequest(
                outcome=outcome, purchase_id=purchase_id, page_size=page_size, page_token=page_token
            )
            response = await self._call(self._stub.ListPaymentNotices, request, timeout_seconds)
            return response.notices, response.next_page_token

        return iterate_pages(fetch_page)

    def list_owed_refunds(
        self, *, page_size: int = LARGEST_PAGE_SIZE, timeout_seconds: float | None = None
    ) -> AsyncIterator[PurchaseRefund]:
        """Iterate over the refunds that no gateway has paid, oldest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[PurchaseRefund], str]:
            request = ListOwedRefundsRequest(page_size=page_size, page_token=page_token)
            response = await self._call(self._stub.ListOwedRefunds, request, timeout_seconds)
            return response.refunds, response.next_page_token

        return iterate_pages(fetch_page)

    async def mark_refund_paid(
        self,
        *,
        refund_id: str,
        reference: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> MarkRefundPaidResponse:
        """Record that the customer got an owed refund's money by another way than the gateway."""
        request = MarkRefundPaidRequest(
            request_id=request_id_or_new(request_id), refund_id=refund_id, reference=reference
        )
        return await self._call(self._stub.MarkRefundPaid, request, timeout_seconds)

    async def audit_ledger(self, *, timeout_seconds: float | None = None) -> AuditLedgerResponse:
        """Have the books recomputed, and each difference named."""
        return await self._call(self._stub.AuditLedger, AuditLedgerRequest(), timeout_seconds)
