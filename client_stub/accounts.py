"""Customers' credit accounts."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money
from iap.broker.v1.account_pb2 import (
    Entry,
    GetAutoTopUpRequest,
    GetAutoTopUpResponse,
    GetBalanceRequest,
    GetBalanceResponse,
    ListEntriesRequest,
    OpenAccountRequest,
    OpenAccountResponse,
    RotateAccountTokenRequest,
    RotateAccountTokenResponse,
    SetAutoTopUpRequest,
    SetAutoTopUpResponse,
    SetLowBalanceAlertRequest,
    SetLowBalanceAlertResponse,
    WatchBalanceRequest,
    WatchBalanceResponse,
)
from iap.broker.v1.account_pb2_grpc import AccountServiceStub

from client_stub.errors import UnavailableError
from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient

# Not all at once: a server that stops sends all its watchers away in the same moment.
_LONGEST_PAUSE_SECONDS: Final = 0.5


class AccountClient(ServiceClient):
    """AccountService: with a customer key by `account_id`, or without a key by `account_token`."""

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = AccountServiceStub(channel)

    async def open_account(
        self, *, service: str, request_id: str | None = None, timeout_seconds: float | None = None
    ) -> OpenAccountResponse:
        """Open an account for a service. Its token is in the first answer only: a replay has none."""
        request = OpenAccountRequest(request_id=request_id_or_new(request_id), service=service)
        return await self._call(self._stub.OpenAccount, request, timeout_seconds)

    async def get_balance(
        self,
        *,
        account_id: str | None = None,
        account_token: str | None = None,
        timeout_seconds: float | None = None,
    ) -> GetBalanceResponse:
        """Return the account, its balance and the grants it consists of."""
        request = GetBalanceRequest(account_id=account_id, account_token=account_token)
        return await self._call(self._stub.GetBalance, request, timeout_seconds)

    async def watch_balance(
        self,
        *,
        account_id: str | None = None,
        account_token: str | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[WatchBalanceResponse, None]:
        """Iterate over the balance, as it is now and after each change, until the caller stops.

        What was lost with a server is asked of the next one; changes meanwhile are told as one. The timeout is for how
        long there may be none: then UnavailableError or DeadlineExceededError.
        """
        request = WatchBalanceRequest(account_id=account_id, account_token=account_token)
        patience_seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        end = time.monotonic() + patience_seconds
        latest = None
        while True:
            try:
                async with aclosing(self._stream(self._stub.WatchBalance, request, timeout_seconds)) as responses:
                    async for response in responses:
                        if response.balance != latest:
                            latest = response.balance
                            yield response
                        end = time.monotonic() + patience_seconds
            except UnavailableError:
                if time.monotonic() >= end:
                    raise
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 - nothing secret

    async def rotate_account_token(
        self,
        *,
        account_id: str,
        overlap: timedelta = timedelta(0),
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RotateAccountTokenResponse:
        """Give the account another token, in the first answer only; those it has go on working for `overlap`."""
        span = Duration()
        span.FromTimedelta(overlap)
        request = RotateAccountTokenRequest(
            request_id=request_id_or_new(request_id), account_id=account_id, overlap=span
        )
        return await self._call(self._stub.RotateAccountToken, request, timeout_seconds)

    async def set_low_balance_alert(
        self,
        *,
        account_id: str,
        threshold_credits: int,
        webhook_url: str = "",
        timeout_seconds: float | None = None,
    ) -> SetLowBalanceAlertResponse:
        """Have the event balance.low told when ledger credits fall below a threshold; 0 turns it off."""
        request = SetLowBalanceAlertRequest(
            account_id=account_id, threshold_credits=threshold_credits, webhook_url=webhook_url
        )
        return await self._call(self._stub.SetLowBalanceAlert, request, timeout_seconds)

    async def set_auto_top_up(
        self,
        *,
        account_id: str,
        pack_id: str,
        threshold_credits: int = 0,
        monthly_cap: Money | None = None,
        consent: str = "",
        timeout_seconds: float | None = None,
    ) -> SetAutoTopUpResponse:
        """Have a pack bought whenever available credits are below a threshold; an empty `pack_id` turns it off.

        `consent` is what the customer was shown and agreed to.
        """
        request = SetAutoTopUpRequest(
            account_id=account_id,
            pack_id=pack_id,
            threshold_credits=threshold_credits,
            monthly_cap=monthly_cap,
            consent=consent,
        )
        return await self._call(self._stub.SetAutoTopUp, request, timeout_seconds)

    async def get_auto_top_up(self, *, account_id: str, timeout_seconds: float | None = None) -> GetAutoTopUpResponse:
        """Return how an account is topped up by itself."""
        return await self._call(self._stub.GetAutoTopUp, GetAutoTopUpRequest(account_id=account_id), timeout_seconds)

    def list_entries(
        self,
        *,
        account_id: str | None = None,
        account_token: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        page_size: int = LARGEST_PAGE_SIZE,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Entry]:
        """Iterate over the statement, oldest first, all pages; the timeout is for each page.

        From `start_time` on and before `end_time`, both aware.
        """

        async def fetch_page(page_token: str) -> tuple[Iterable[Entry], str]:
            request = ListEntriesRequest(
                account_id=account_id,
                account_token=account_token,
                start_time=start_time,
                end_time=end_time,
                page_size=page_size,
                page_token=page_token,
            )
            response = await self._call(self._stub.ListEntries, request, timeout_seconds)
            return response.entries, response.next_page_token

        return iterate_pages(fetch_page)
