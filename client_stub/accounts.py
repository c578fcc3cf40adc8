"""Customers' credit accounts."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Final

import grpc.aio
from iap.broker.v1.account_pb2 import (
    Entry,
    GetBalanceRequest,
    GetBalanceResponse,
    ListEntriesRequest,
    OpenAccountRequest,
    OpenAccountResponse,
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
