"""Language models reached over the chat completions API of OpenAI, which most model servers offer as well."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from provider_service.gateways.bounded_reading import read_bounded
from provider_service.gateways.chat_answers import read_answer
from provider_service.gateways.chat_errors import (
    explain_failures,
    failure_in_answer,
    has_error,
    parse_complaint,
    read_complaint,
    refusal,
)
from provider_service.gateways.chat_requests import Dialect, render_request
from provider_service.gateways.chat_stream import AnswerStream
from provider_service.gateways.completions import Answer, CompletionRequest

ANSWER_MAXIMUM_BYTES: Final = 3 * 1024 * 1024
REFUSAL_MAXIMUM_BYTES: Final = 64 * 1024
# Some model servers close connections that have been idle for five seconds, and a request must not meet that.
_KEEPALIVE_SECONDS: Final = 4.0
# How long to wait for the end of a response whose answer has ended, so that its connection can serve again.
_LINGER_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited for what, in seconds."""

    connect_seconds: float = 10.0
    """For a connection, the name lookup and TLS included."""
    first_token_seconds: float = 60.0
    """For the first event of a streamed answer, the connection included."""
    idle_seconds: float = 60.0
    """For each further event."""
    whole_seconds: float = 300.0
    """For an answer in one piece, the connection included."""


class ChatCompletionsGateway:
    """Posts each request to `{url}/chat/completions`, with the key as bearer token.

    429, 5xx, silence and broken connections are worth a retry; other refusals are not. Nothing is tried again here
    but the form of a request: a refusal that names a parameter teaches the endpoint's dialect (`chat_requests`), for
    each model. Redirects are not followed: they would carry the prompt elsewhere.
    """

    def __init__(self, *, url: str, key: str | None = None, patience: Patience | None = None) -> None:
        self._url = completions_url(url)
        self._headers = {"Accept-Encoding": "identity"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._patience = Patience() if patience is None else patience
        self._dialects: dict[str, Dialect] = {}
        self._session: aiohttp.ClientSession | None = None

    async def complete(self, request: CompletionRequest) -> Answer:
        """Returns the whole answer."""
        with explain_failures(model=request.model):
            async with asyncio.timeout(self._patience.whole_seconds):
                response = await self._open(request, is_streamed=False)
                try:
                    return await _read_whole(response, model=request.model)
                finally:
                    response.close()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Answer, None]:
        """Yields the answer in pieces; in one, if the endpoint does not stream."""
        first_end = asyncio.get_running_loop().time() + self._patience.first_token_seconds
        with explain_failures(model=request.model):
            async with asyncio.timeout_at(first_end):
                response = await self._open(request, is_streamed=True)
        try:
            if response.content_type == "application/json":
                yield await self._read_unstreamed(response, model=request.model)
                return
            pieces = AnswerStream(
                response.content,
                first_end=first_end,
                idle_seconds=self._patience.idle_seconds,
                model=request.model,
            )
            while (piece := await pieces.read()) is not None:
                yield piece
            await _linger(response)
        finally:
            # Also when the caller leaves: that ends the work at the endpoint.
            response.close()

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def _open(self, request: CompletionRequest, *, is_streamed: bool) -> aiohttp.ClientResponse:
        """Posts the request in the form that the endpoint takes; returns its answer, which is to be closed."""
        headers = {
            "Accept": "text/event-stream" if is_streamed else "application/json",
            # For whoever looks a request up in the endpoint's logs. It makes nothing idempotent.
            "X-Client-Request-Id": request.request_id,
        }
        while True:
            dialect = self._dialects.get(request.model, Dialect())
            response = await self._open_session().post(
                self._url,
                json=render_request(request, dialect, is_streamed=is_streamed),
                headers=headers,
                allow_redirects=False,
            )
            if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                return response
            body = await _read_refusal(response)
            learned = dialect.learn(response.status, body.decode(errors="replace"))
            if learned is None:
                raise refusal(response.status, parse_complaint(body), response.headers, model=request.model)
            self._dialects[request.model] = learned

    async def _read_unstreamed(self, response: aiohttp.ClientResponse, *, model: str) -> Answer:
        with explain_failures(model=model):
            async with asyncio.timeout(self._patience.whole_seconds):
                return await _read_whole(response, model=model)

    def _open_session(self) -> aiohttp.ClientSession:
        """Returns the session, made on first use because it belongs to the event loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                # How many requests run is the server's limit, and not for a pool to decide.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._patience.connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small compressed answer could unpack to a huge one
            )
        return self._session


def completions_url(url: str) -> str:
    """Returns where to post, from the URL that clients of this API are given; a query is kept."""
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions").geturl()


async def _read_whole(response: aiohttp.ClientResponse, *, model: str) -> Answer:
    """Returns the answer. Raises GatewayError, ValueError for what is none, and what aiohttp raises."""
    document = json.loads(await read_bounded(response.content, maximum_bytes=ANSWER_MAXIMUM_BYTES))
    if has_error(document):
        raise failure_in_answer(read_complaint(document), model=model)
    return read_answer(document)


async def _read_refusal(response: aiohttp.ClientResponse) -> bytes:
    """Returns what came with a refusal, and nothing when that is too long or broken off: the status says enough."""
    try:
        return await read_bounded(response.content, maximum_bytes=REFUSAL_MAXIMUM_BYTES)
    except (aiohttp.ClientError, ValueError):
        return b""
    finally:
        response.close()


async def _linger(response: aiohttp.ClientResponse) -> None:
    """Reads to the end of the response, if it is near."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while await response.content.readany():
                pass
