"""A double of an endpoint with the chat completions API, which answers as a test scripts it.

The form of its answers follows https://platform.openai.com/docs/api-reference/chat; what real servers make of that form
is for scripts to imitate.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

KEY = "sk-double-s3cret"
Document = dict[str, Any]


@dataclass(kw_only=True)
class Script:
    """What the double does with one request."""

    pieces: Sequence[str] = ("Hello", " there", "!")
    usage: Document | None = field(
        default_factory=lambda: {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    )
    """Figures for the end; None for a server that has none."""
    finish_reason: str | None = "stop"
    model: str = "double-1"
    is_done: bool = True
    """Whether a stream ends with `[DONE]`."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """The whole answer, as it stands, instead of what the pieces make."""
    cut_bytes: int | None = None
    """Into how many bytes at a time the answer is cut; None: into its events."""
    gate: asyncio.Event | None = None
    """If given, nothing is answered before it is set."""
    delay_seconds: float = 0.0
    """Before each further piece."""
    ends: str = "well"
    """How the response ends: "well", "broken" (the connection is cut) or "never"."""
    hold: asyncio.Event | None = None
    """If given, everything after the first piece waits for it."""
    is_stubborn: bool = False
    """Whether it answers in one piece even where a stream is asked for."""


@dataclass
class Asked:
    """A request that came."""

    path: str
    headers: Mapping[str, str]
    body: Document


class ChatDouble:
    """`scripts` are used up in turn; then each request gets the last one again. `url` is what clients are given."""

    def __init__(self) -> None:
        self.url = ""
        self.scripts: deque[Script] = deque([Script()])
        self.asked: list[Asked] = []
        self.left = asyncio.Event()
        """Set when a client has gone before its answer's end."""

    def play(self, *scripts: Script) -> None:
        self.scripts = deque(scripts)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(Asked(request.path_qs, request.headers, body))
        script = self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]
        try:
            return await self._answer(request, body, script)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise

    async def _answer(self, request: web.Request, body: Document, script: Script) -> web.StreamResponse:
        if script.gate is not None:
            await script.gate.wait()
        is_streamed = body.get("stream") is True and not script.is_stubborn and script.status == 200
        content_type = "text/event-stream" if is_streamed else "application/json"
        response = web.StreamResponse(status=script.status, headers={"Content-Type": content_type, **script.headers})
        await response.prepare(request)
        for index, part in enumerate(_parts(body, script, is_streamed=is_streamed)):
            if index:
                await asyncio.sleep(script.delay_seconds)
            if index and script.hold is not None:
                await script.hold.wait()
            await response.write(part)
        if script.ends == "never":
            await asyncio.Event().wait()
        if script.ends == "broken" and request.transport is not None:
            request.transport.abort()
        return response


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def piece(text: str | None = None, **others: object) -> Document:
    """A chunk of an answer with one choice."""
    delta = {} if text is None else {"content": text}
    choice: Document = {"index": 0, "delta": delta, "finish_reason": others.pop("finish_reason", None)}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **others}


def whole(text: str, **others: object) -> Document:
    """An answer with one choice."""
    message = {"role": "assistant", "content": text}
    choice: Document = {"index": 0, "message": message, "finish_reason": others.pop("finish_reason", "stop")}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], **others}


def _parts(body: Document, script: Script, *, is_streamed: bool) -> list[bytes]:
    if script.body is not None:
        parts = [script.body]
    elif is_streamed:
        parts = list(_stream(body, script))
    else:
        usage = {} if script.usage is None else {"usage": script.usage}
        document = whole("".join(script.pieces), finish_reason=script.finish_reason, model=script.model, **usage)
        parts = [json.dumps(document).encode()]
    if script.cut_bytes is None:
        return parts
    joined = b"".join(parts)
    return [joined[start : start + script.cut_bytes] for start in range(0, len(joined), script.cut_bytes)]


def _stream(body: Document, script: Script) -> list[bytes]:
    events = [event(piece(text, model=script.model)) for text in script.pieces]
    if script.finish_reason is not None:
        events.append(event(piece(model=script.model, finish_reason=script.finish_reason)))
    if script.usage is not None and (body.get("stream_options") or {}).get("include_usage"):
        events.append(event({"choices": [], "model": script.model, "usage": script.usage}))
    return [*events, b"data: [DONE]\n\n"] if script.is_done else events


@asynccontextmanager
async def running_chat_double() -> AsyncIterator[ChatDouble]:
    """Serves the double on a port of its own, below `/v1`."""
    double = ChatDouble()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", double.handle)
    # Without this a handler would not hear of a client that has gone.
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        double.url = f"http://{host}:{port}/v1"
        yield double
    finally:
        await runner.cleanup()
