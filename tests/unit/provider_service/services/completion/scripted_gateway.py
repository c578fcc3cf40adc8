"""A completion gateway that answers as a test wants."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from provider_service.gateways.completions import Answer, CompletionRequest
from provider_service.gateways.gateway_error import GatewayError


@dataclass
class ScriptedGateway:
    """`pieces` are streamed, and all together are the whole answer; `failure` comes after them."""

    pieces: Sequence[Answer] = ()
    failure: GatewayError | None = None
    requests: list[CompletionRequest] = field(default_factory=list)
    streamed: int = 0
    has_ended: bool = False
    is_closed: bool = False

    async def complete(self, request: CompletionRequest) -> Answer:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure
        last = self.pieces[-1]
        return Answer(
            text="".join(piece.text for piece in self.pieces),
            finish_reason=last.finish_reason,
            usage=last.usage,
            model=last.model,
        )

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Answer, None]:
        self.requests.append(request)
        try:
            for piece in self.pieces:
                self.streamed += 1
                yield piece
            if self.failure is not None:
                raise self.failure
        finally:
            self.has_ended = True

    async def close(self) -> None:
        self.is_closed = True
