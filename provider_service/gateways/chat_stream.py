"""Reading a streamed answer, whatever the server makes of the format."""

import json
from collections import deque
from dataclasses import replace
from typing import Final

import aiohttp

from provider_service.gateways.chat_answers import SurrogateMender, read_piece
from provider_service.gateways.chat_errors import (
    explain_failures,
    failure_in_answer,
    has_error,
    read_complaint,
)
from provider_service.gateways.completions import Answer
from provider_service.gateways.event_reader import EventReader
from provider_service.gateways.gateway_error import GatewayError

# After its finish reason an answer lacks at most its usage, and is not to fail for that.
USAGE_SECONDS: Final = 5.0
_LAST_EVENT: Final = "[DONE]"


class AnswerStream:
    """The pieces of a streamed answer.

    It has ended with the event `[DONE]`, or with the end of the response if a piece gave a finish reason. An end
    without either is a failure: the connection was cut.
    """

    def __init__(self, content: aiohttp.StreamReader, *, first_end: float, idle_seconds: float, model: str) -> None:
        self._reader = EventReader(content, first_end=first_end, idle_seconds=idle_seconds)
        self._model = model
        self._events: deque[str] = deque()
        self._mender = SurrogateMender()
        self._is_finished = False

    async def read(self) -> Answer | None:
        """Returns the next piece, or None at the end. Raises GatewayError."""
        if not self._events:
            self._events.extend(await self._read_events())
        if not self._events and not self._is_finished:
            raise GatewayError("the language model broke off its answer", retryable=True)
        if not self._events or self._events[0].strip() == _LAST_EVENT:
            return None
        piece = self._parse(self._events.popleft())
        if piece.finish_reason is not None:
            self._is_finished = True
            self._reader.idle_seconds = min(self._reader.idle_seconds, USAGE_SECONDS)
        return replace(piece, text=self._mender.mend(piece.text))

    async def _read_events(self) -> list[str]:
        try:
            with explain_failures(model=self._model):
                return await self._reader.read()
        except GatewayError:
            if self._is_finished:
                return []
            raise

    def _parse(self, data: str) -> Answer:
        with explain_failures(model=self._model):
            document = json.loads(data)
            piece = read_piece(document)
        if has_error(document):
            raise failure_in_answer(read_complaint(document), model=self._model)
        return piece
