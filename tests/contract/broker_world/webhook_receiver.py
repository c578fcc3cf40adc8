"""A real HTTP server that webhooks can be sent to, which answers as a test tells it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from client_stub.webhooks import verify

PATIENCE_SECONDS = 20.0

Answer = Callable[["Delivery"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that came in."""

    headers: dict[str, str]
    body: bytes
    event: dict[str, Any]


async def accept(_delivery: Delivery) -> web.StreamResponse:
    return web.Response(status=204)


@dataclass
class Receiver:
    """Keeps every delivery, in the order of arrival; `answer` may be changed at any time.

    With a secret it verifies each delivery, at the time that `now_seconds` tells.
    """

    url: str = ""
    answer: Answer = accept
    secret: str = ""
    now_seconds: Callable[[], float] = lambda: 0.0
    deliveries: list[Delivery] = field(default_factory=list)
    unverified: list[Exception] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that came, each as often as it did."""
        return [delivery.event for delivery in self.deliveries]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Waits for so many deliveries and returns their events; there must be no more."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.arrived:
            await self.arrived.wait_for(lambda: len(self.deliveries) >= count)
        assert len(self.deliveries) == count, self.events
        return self.events

    async def receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        delivery = Delivery({name.lower(): value for name, value in request.headers.items()}, body, {})
        try:
            event = verify(self.secret, request.headers, body, now_seconds=self.now_seconds())
        except Exception as error:  # noqa: BLE001 - the test shall see it
            self.unverified.append(error)
            return web.Response(status=400)
        delivery = Delivery(delivery.headers, body, event)
        async with self.arrived:
            self.deliveries.append(delivery)
            self.arrived.notify_all()
        return await self.answer(delivery)


@asynccontextmanager
async def receiving(*, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Receiver]:
    """Serves a receiver on loopback."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.receive)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    receiver.url = f"http://{host}:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
