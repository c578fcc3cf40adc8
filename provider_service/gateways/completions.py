"""What a completion gateway is: something that has a language model answer."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the conversation that the model goes on with."""

    role: str
    """Who said it: "system", "user" or "assistant"."""
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """What a model is asked for."""

    request_id: str
    """For the logs of both sides. It keeps no model from answering twice."""
    model: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    """How many tokens the answer may have, those of hidden reasoning included."""
    temperature: float | None = None
    """None: the model's own."""
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens a request took, as the model's server counted them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, or a piece of one: pieces hold what is new, and None for what they say nothing of."""

    text: str = ""
    finish_reason: str | None = None
    """Why the answer ended, in the server's words: "stop", "length", …"""
    usage: Usage | None = None
    """For the whole request, also in a piece. None in all pieces: the server gives no figures."""
    model: str | None = None
    """The model that answered, by the server's name for it."""


class CompletionGateway(Protocol):
    """A way to language models."""

    async def complete(self, request: CompletionRequest) -> Answer:
        """Returns the whole answer. Raises GatewayError."""

    def stream(self, request: CompletionRequest) -> AsyncGenerator[Answer, None]:
        """Yields the answer in pieces as they come, some of which may have no text. Raises GatewayError.

        Closing the generator, or cancelling whoever waits in it, ends the request at once.
        """

    async def close(self) -> None:
        """Lets go of connections. Nothing may be asked afterwards."""
