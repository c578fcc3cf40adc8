"""What the broker owes providers, and paying it out."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime

import grpc.aio
from iap.broker.v1.settlement_pb2 import (
    CreatePayoutRequest,
    CreatePayoutResponse,
    GetProviderBalanceRequest,
    GetProviderBalanceResponse,
    GetStatementRequest,
    GetStatementResponse,
    ListPayoutsRequest,
    ListSalesRequest,
    MarkPayoutFailedRequest,
    MarkPayoutFailedResponse,
    MarkPayoutPaidRequest,
    MarkPayoutPaidResponse,
    Payout,
    Sale,
)
from iap.broker.v1.settlement_pb2_grpc import SettlementServiceStub

from client_stub.errors import InvalidArgumentError
from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient


class SettlementClient(ServiceClient):
    """SettlementService: a provider's key for its own figures, an operator's for all and for payouts."""

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = SettlementServiceStub(channel)

    async def get_provider_balance(
        self, *, provider_id: str, timeout_seconds: float | None = None
    ) -> GetProviderBalanceResponse:
        """Return what a provider is owed, and its sales and commission so far, by currency."""
        request = GetProviderBalanceRequest(provider_id=provider_id)
        return await self._call(self._stub.GetProviderBalance, request, timeout_seconds)

    def list_sales(
        self,
        *,
        provider_id: str,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        page_size: int = LARGEST_PAGE_SIZE,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Sale]:
        """Iterate over the paid purchases, oldest first, all pages; the timeout is for each page.

        From `start_time` on and before `end_time`, both aware.
        """

        async def fetch_page(page_token: str) -> tuple[Iterable[Sale], str]:
            request = ListSalesRequest(
                provider_id=provider_id,
                start_time=start_time,
                end_time=end_time,
                page_size=page_size,
                page_token=page_token,
            )
            response = await self._call(self._stub.ListSales, request, timeout_seconds)
            return response.sales, response.next_page_token

        return iterate_pages(fetch_page)

    async def get_statement(
        self, *, provider_id: str, start_time: datetime, end_time: datetime, timeout_seconds: float | None = None
    ) -> GetStatementResponse:
        """Return what moved the payable from `start_time` on and before `end_time`, both aware, and the sums of it.

        InvalidArgumentError names `end_time` when that is more than one answer holds: `iterate_statement` divides.
        """
        request = GetStatementRequest(provider_id=provider_id, start_time=start_time, end_time=end_time)
        return await self._call(self._stub.GetStatement, request, timeout_seconds)

    async def iterate_statement(
        self, *, provider_id: str, start_time: datetime, end_time: datetime, timeout_seconds: float | None = None
    ) -> AsyncIterator[GetStatementResponse]:
        """Iterate over the statement in pieces that each fit into an answer, oldest first.

        A period that is refused is asked for in halves. The timeout is for each answer.
        """
        waiting = [(start_time, end_time)]
        while waiting:
            start, end = waiting.pop()
            middle = start + (end - start) / 2
            try:
                piece = await self.get_statement(
                    provider_id=provider_id, start_time=start, end_time=end, timeout_seconds=timeout_seconds
                )
            except InvalidArgumentError as error:
                if "end_time" not in error.violations or not start < middle < end:
                    raise
                waiting += [(middle, end), (start, middle)]
            else:
                yield piece

    async def create_payout(
        self, *, provider_id: str, currency: str, request_id: str | None = None, timeout_seconds: float | None = None
    ) -> CreatePayoutResponse:
        """Pay out all that is payable in one currency."""
        request = CreatePayoutRequest(
            request_id=request_id_or_new(request_id), provider_id=provider_id, currency=currency
        )
        return await self._call(self._stub.CreatePayout, request, timeout_seconds)

    async def mark_payout_paid(
        self,
        *,
        payout_id: str,
        reference: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> MarkPayoutPaidResponse:
        """Record that a payout arrived, with the bank's reference."""
        request = MarkPayoutPaidRequest(
            request_id=request_id_or_new(request_id), payout_id=payout_id, reference=reference
        )
        return await self._call(self._stub.MarkPayoutPaid, request, timeout_seconds)

    async def mark_payout_failed(
        self, *, payout_id: str, reason: str = "", request_id: str | None = None, timeout_seconds: float | None = None
    ) -> MarkPayoutFailedResponse:
        """Record that a payout failed; its amount is payable again."""
        request = MarkPayoutFailedRequest(request_id=request_id_or_new(request_id), payout_id=payout_id, reason=reason)
        return await self._call(self._stub.MarkPayoutFailed, request, timeout_seconds)

    def list_payouts(
        self, *, provider_id: str, page_size: int = LARGEST_PAGE_SIZE, timeout_seconds: float | None = None
    ) -> AsyncIterator[Payout]:
        """Iterate over a provider's payouts, newest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Payout], str]:
            request = ListPayoutsRequest(provider_id=provider_id, page_size=page_size, page_token=page_token)
            response = await self._call(self._stub.ListPayouts, request, timeout_seconds)
            return response.payouts, response.next_page_token

        return iterate_pages(fetch_page)
