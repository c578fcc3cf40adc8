"""Calling a completion gateway, and what it must never show."""

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from provider_service.gateways.chat_completions import ChatCompletionsGateway, Patience
from provider_service.gateways.completions import Answer, ChatMessage, CompletionRequest
from provider_service.gateways.gateway_error import GatewayError
from tests.chat_double.double import KEY, ChatDouble

REQUEST = CompletionRequest(
    request_id="11111111-2222-4333-8444-555555555555",
    model="double-1",
    messages=(ChatMessage("system", "Be brief."), ChatMessage("user", "Grüße 😀")),
    max_tokens=16,
)


@dataclass
class Calls:
    """A gateway to a double, and calls of it."""

    gateway: ChatCompletionsGateway
    double: ChatDouble

    async def stream(self, request: CompletionRequest = REQUEST) -> list[Answer]:
        return [piece async for piece in self.gateway.stream(request)]

    async def text(self) -> str:
        return "".join(piece.text for piece in await self.stream())

    async def refused(self, *, is_streamed: bool) -> GatewayError:
        """What the next request fails with; it shows nothing that it should not."""
        with pytest.raises(GatewayError) as caught:
            await (self.stream() if is_streamed else self.gateway.complete(REQUEST))
        shown = "".join(traceback.format_exception(caught.value))
        assert "s3cret" not in shown
        assert "from-the-body" not in shown
        assert "127.0.0.1" not in shown
        return caught.value


@asynccontextmanager
async def calling(double: ChatDouble, **patience: Any) -> AsyncIterator[Calls]:
    gateway = ChatCompletionsGateway(url=double.url, key=KEY, patience=Patience(**patience))
    try:
        yield Calls(gateway, double)
    finally:
        await gateway.close()
