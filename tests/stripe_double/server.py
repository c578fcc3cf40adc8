"""The double of Stripe as a server that can be reached, and as the sender of its notices."""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.stripe_double.api import Json, StripeApi, shown

WEBHOOK_SECRET = "whsec_of_the_double"


class _DroppingConnection(H11Protocol):
    """A connection that the application may break instead of answering."""

    def handle_events(self) -> None:
        super().handle_events()
        if self.scope is not None:
            scope = cast("dict[str, Any]", self.scope)
            scope.setdefault("extensions", {})["tests.drop"] = self.transport.abort


class StripeDouble:
    """`api` is what it knows; `send` tells a broker of something as Stripe does."""

    def __init__(self, url: str, api: StripeApi) -> None:
        self.url = url
        self.api = api
        self._events = itertools.count(1)

    def event(self, kind: str, subject: Json) -> Json:
        """Returns an event about something as it now is."""
        return {
            "id": f"evt_{next(self._events):06}",
            "object": "event",
            "type": kind,
            "api_version": "2026-10-28.endive",
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": json.loads(json.dumps(shown(subject)))},
        }

    async def send(
        self, broker_url: str, event: Json, *, secret: str = WEBHOOK_SECRET, age_seconds: int = 0
    ) -> tuple[int, Any]:
        """Posts an event to a broker, signed; returns the status and what was answered."""
        body = json.dumps(event).encode()
        signature = sign(body, secret, int(time.time()) - age_seconds)
        return await post_notice(broker_url, body, {"stripe-signature": signature})


def sign(body: bytes, secret: str, timestamp: int) -> str:
    """Returns the header Stripe-Signature (https://docs.stripe.com/webhooks#verify-manually)."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signed},v0={'0' * 64}"


async def post_notice(broker_url: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{broker_url}/notices/stripe", data=body, headers={"content-type": "application/json", **headers}
        ) as response,
    ):
        return response.status, await response.json()


@asynccontextmanager
async def running_stripe() -> AsyncIterator[StripeDouble]:
    """Serves the double on a port of its own."""
    api = StripeApi()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await api.app(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = _Server(
            uvicorn.Config(app, http=_DroppingConnection, ws="none", lifespan="off", log_config=None, log_level="error")
        )
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await server.serving.wait()
            yield StripeDouble(f"http://127.0.0.1:{listening.getsockname()[1]}", api)
        finally:
            server.should_exit = True
            server.force_exit = True
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await running


class _Server(uvicorn.Server):
    def __init__(self, configuration: uvicorn.Config) -> None:
        super().__init__(configuration)
        self.serving = asyncio.Event()

    def capture_signals(self) -> Any:
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.serving.set()
