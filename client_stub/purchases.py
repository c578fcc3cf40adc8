"""Buying packs."""

from collections.abc import AsyncIterator, Iterable

import grpc.aio
from iap.broker.v1.purchase_pb2 import (
    CompleteSandboxPaymentRequest,
    CompleteSandboxPaymentResponse,
    CreatePurchaseRequest,
    CreatePurchaseResponse,
    GetPurchaseRequest,
    GetPurchaseResponse,
    ListPurchasesRequest,
    Purchase,
    RefundPurchaseRequest,
    RefundPurchaseResponse,
    SandboxOutcome,
)
from iap.broker.v1.purchase_pb2_grpc import PurchaseServiceStub

from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient


class PurchaseClient(ServiceClient):
    """PurchaseService: with a customer key by `account_id`, or without a key by `account_token`."""

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = PurchaseServiceStub(channel)

    async def create_purchase(
        self,
        *,
        pack_id: str,
        account_id: str | None = None,
        account_token: str | None = None,
        return_url: str = "",
        save_payment_method: bool = False,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> CreatePurchaseResponse:
        """Start buying a pack; its terms are frozen from here on. Paying is the `checkout_url`'s part.

        `save_payment_method`, with the customer's key only, keeps how it is paid for automatic top-ups.
        """
        request = CreatePurchaseRequest(
            request_id=request_id_or_new(request_id),
            pack_id=pack_id,
            account_id=account_id,
            account_token=account_token,
            return_url=return_url,
            save_payment_method=save_payment_method,
        )
        return await self._call(self._stub.CreatePurchase, request, timeout_seconds)

    async def get_purchase(
        self, *, purchase_id: str, account_token: str = "", timeout_seconds: float | None = None
    ) -> GetPurchaseResponse:
        """Return one purchase; without the token of its account the customer's key is needed."""
        request = GetPurchaseRequest(purchase_id=purchase_id, account_token=account_token)
        return await self._call(self._stub.GetPurchase, request, timeout_seconds)

    def list_purchases(
        self,
        *,
        account_id: str | None = None,
        account_token: str | None = None,
        page_size: int = LARGEST_PAGE_SIZE,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Purchase]:
        """Iterate over an account's purchases, newest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Purchase], str]:
            request = ListPurchasesRequest(
                account_id=account_id, account_token=account_token, page_size=page_size, page_token=page_token
            )
            response = await self._call(self._stub.ListPurchases, request, timeout_seconds)
            return response.purchases, response.next_page_token

        return iterate_pages(fetch_page)

    async def refund_purchase(
        self, *, purchase_id: str, reason: str = "", request_id: str | None = None, timeout_seconds: float | None = None
    ) -> RefundPurchaseResponse:
        """Refund what is unspent of a purchase, with the customer's key or an operator's."""
        request = RefundPurchaseRequest(
            request_id=request_id_or_new(request_id), purchase_id=purchase_id, reason=reason
        )
        return await self._call(self._stub.RefundPurchase, request, timeout_seconds)

    async def complete_sandbox_payment(
        self,
        *,
        purchase_id: str,
        outcome: SandboxOutcome = SandboxOutcome.SANDBOX_OUTCOME_SUCCEEDED,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> CompleteSandboxPaymentResponse:
        """Play the payer's part at a broker with the sandbox gateway; no real money moves."""
        request = CompleteSandboxPaymentRequest(
            request_id=request_id_or_new(request_id), purchase_id=purchase_id, outcome=outcome
        )
        return await self._call(self._stub.CompleteSandboxPayment, request, timeout_seconds)
