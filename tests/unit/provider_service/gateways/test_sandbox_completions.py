from collections.abc import Sequence

import pytest

from provider_service.gateways.completions import Answer, ChatMessage, CompletionRequest, Usage
from provider_service.gateways.sandbox_completions import SandboxCompletionGateway


def request(*messages: str, max_tokens: int = 100, stop: Sequence[str] = ()) -> CompletionRequest:
    return CompletionRequest(
        request_id="r-1",
        model="any",
        messages=tuple(ChatMessage("user", message) for message in messages),
        max_tokens=max_tokens,
        stop=tuple(stop),
    )


@pytest.mark.parametrize(
    ("asked", "text", "finish_reason", "usage"),
    [
        (request("Hi"), "You said: Hi", "stop", Usage(2, 4)),
        (request("Be brief.", "How are you? \n"), "You said: How are you? \n", "stop", Usage(9, 7)),
        (request("one two three", max_tokens=3), "You said:", "length", Usage(5, 3)),
        (request("one two three", max_tokens=7), "You said: one two three", "stop", Usage(5, 7)),
        (request("one two three", stop=["three", " two"]), "You said: one", "stop", Usage(5, 4)),
        (request("one", stop=["You"]), "", "stop", Usage(2, 0)),
    ],
)
async def test_it_says_back_what_it_was_told_and_counts(
    asked: CompletionRequest, text: str, finish_reason: str, usage: Usage
) -> None:
    gateway = SandboxCompletionGateway()
    answer = await gateway.complete(asked)
    assert answer == Answer(text=text, finish_reason=finish_reason, usage=usage, model="any")
    pieces = [piece async for piece in gateway.stream(asked)]
    assert "".join(piece.text for piece in pieces) == text
    assert len(pieces) == usage.completion_tokens + 1
    assert (pieces[-1].finish_reason, pieces[-1].usage) == (finish_reason, usage)
    await gateway.close()
