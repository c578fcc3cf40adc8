"""What has happened, as a list, as a stream and by webhooks."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Final

import grpc.aio
from iap.broker.v1.event_pb2 import (
    CreateWebhookRequest,
    CreateWebhookResponse,
    DeleteWebhookRequest,
    Event,
    ListEventsRequest,
    ListWebhooksRequest,
    WatchEventsRequest,
    Webhook,
)
from iap.broker.v1.event_pb2_grpc import EventServiceStub

from client_stub.errors import UnavailableError
from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient, took_too_long

# Not all at once: a server that stops sends all its watchers away in the same moment.
_LONGEST_PAUSE_SECONDS: Final = 0.5
# Nothing may happen for as long as it likes.
_FOR_EVER_SECONDS: Final = 10.0**8


class EventClient(ServiceClient):
    """EventService: with a provider's, a customer's or an operator's key, for what concerns its owner."""

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = EventServiceStub(channel)

    def list_events(
        self,
        *,
        after_position: int = 0,
        types: Sequence[str] = (),
        page_size: int = LARGEST_PAGE_SIZE,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Event]:
        """Iterate over the events behind a position, oldest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Event], str]:
            request = ListEventsRequest(
                after_position=after_position, types=types, page_size=page_size, page_token=page_token
            )
            response = await self._call(self._stub.ListEvents, request, timeout_seconds)
            return response.events, response.next_page_token

        return iterate_pages(fetch_page)

    async def watch_events(
        self,
        *,
        after_position: int | None = None,
        types: Sequence[str] = (),
        patience_seconds: float | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Iterate over the events behind a position, then over new ones as they happen, until the caller stops.

        Each comes once, in order: a stream that is lost with its server goes on at another one, behind the last event
        seen. Without a position it begins with what happens from now on, and until the first event has come, what
        happens between two streams is missed. For longer than the patience (by default the client's timeout) no
        server may be unavailable: then UnavailableError.
        """
        patience = self._timeout_seconds if patience_seconds is None else patience_seconds
        position = after_position
        failing_since: float | None = None
        while True:
            request = WatchEventsRequest(after_position=position, types=types)
            try:
                await self._until_connected(patience)
                async with aclosing(self._stream(self._stub.WatchEvents, request, _FOR_EVER_SECONDS)) as responses:
                    async for response in responses:
                        failing_since = None
                        position = response.event.position
                        yield response.event
            except UnavailableError:
                now = time.monotonic()
                failing_since = now if failing_since is None else failing_since
                if now - failing_since >= patience:
                    raise
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 - nothing secret

    async def _until_connected(self, seconds: float) -> None:
        """Wait for a server; UnavailableError when there is none for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise took_too_long(self._channel, seconds) from error

    async def create_webhook(
        self,
        *,
        url: str,
        types: Sequence[str] = (),
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> CreateWebhookResponse:
        """Have events sent to a URL from now on; a replay gets the same webhook and secret."""
        request = CreateWebhookRequest(request_id=request_id_or_new(request_id), url=url, types=types)
        return await self._call(self._stub.CreateWebhook, request, timeout_seconds)

    def list_webhooks(
        self, *, page_size: int = LARGEST_PAGE_SIZE, timeout_seconds: float | None = None
    ) -> AsyncIterator[Webhook]:
        """Iterate over the key owner's webhooks, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Webhook], str]:
            request = ListWebhooksRequest(page_size=page_size, page_token=page_token)
            response = await self._call(self._stub.ListWebhooks, request, timeout_seconds)
            return response.webhooks, response.next_page_token

        return iterate_pages(fetch_page)

    async def delete_webhook(self, *, webhook_id: str, timeout_seconds: float | None = None) -> None:
        """End a webhook; what has not been delivered never is."""
        request = DeleteWebhookRequest(webhook_id=webhook_id)
        await self._call(self._stub.DeleteWebhook, request, timeout_seconds)
