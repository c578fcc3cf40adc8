"""A language model for development: it says back what it was told, and the same every time."""

import re
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from provider_service.gateways.completions import Answer, CompletionRequest, Usage

# Its tokens: up to four characters of a word, with the white space before them.
_TOKEN: Final = re.compile(r"\s*\S{1,4}|\s+")


class SandboxCompletionGateway:
    """Answers "You said: …" with the last message, within `max_tokens`, token by token, and tells its usage.

    No time passes and nothing is kept. It never fails.
    """

    async def complete(self, request: CompletionRequest) -> Answer:
        """Returns the whole answer."""
        tokens, finish_reason = _answer(request)
        return Answer(
            text="".join(tokens),
            finish_reason=finish_reason,
            usage=_count(request, tokens),
            model=request.model,
        )

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Answer, None]:
        """Yields the answer in pieces of one token."""
        tokens, finish_reason = _answer(request)
        for token in tokens:
            yield Answer(text=token, model=request.model)
        yield Answer(finish_reason=finish_reason, usage=_count(request, tokens), model=request.model)

    async def close(self) -> None:
        """Has nothing to let go of."""


def _answer(request: CompletionRequest) -> tuple[list[str], str]:
    text = _cut_at(f"You said: {request.messages[-1].content}", request.stop)
    tokens = _TOKEN.findall(text)
    return tokens[: request.max_tokens], "stop" if len(tokens) <= request.max_tokens else "length"


def _cut_at(text: str, stops: Iterable[str]) -> str:
    return min((text.partition(stop)[0] for stop in stops), key=len, default=text)


def _count(request: CompletionRequest, tokens: list[str]) -> Usage:
    """Counts a token more for each message: who said it."""
    return Usage(
        prompt_tokens=sum(1 + len(_TOKEN.findall(message.content)) for message in request.messages),
        completion_tokens=len(tokens),
    )
