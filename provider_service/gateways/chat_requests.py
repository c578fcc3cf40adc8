"""Writing requests for chat completion endpoints, in the form that each model's endpoint takes."""

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from provider_service.gateways.completions import CompletionRequest

_FORM_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


@dataclass(frozen=True, slots=True)
class Dialect:
    """In what an endpoint departs from what most of them take. It is learned from what the endpoint refuses."""

    has_completion_limit: bool = False
    """Whether the limit is called `max_completion_tokens`, as OpenAI's models that reason want it."""
    gives_usage_in_streams: bool = True
    """Whether it can be asked for the usage of a stream; older servers refuse what they do not know."""

    def learn(self, status: int, complaint: str) -> "Dialect | None":
        """Returns the dialect to try next after a refusal, or None when the form is not what was wrong."""
        if status not in _FORM_REFUSED:
            return None
        if not self.has_completion_limit and "max_completion_tokens" in complaint:
            return replace(self, has_completion_limit=True)
        if self.gives_usage_in_streams and "stream_options" in complaint:
            return replace(self, gives_usage_in_streams=False)
        return None


def render_request(request: CompletionRequest, dialect: Dialect, *, is_streamed: bool) -> dict[str, Any]:
    """Returns the JSON object to post. What was not asked for is left out: not every endpoint takes it."""
    document: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_completion_tokens" if dialect.has_completion_limit else "max_tokens": request.max_tokens,
        "stream": is_streamed,
    }
    if request.temperature is not None:
        document["temperature"] = request.temperature
    if request.stop:
        document["stop"] = list(request.stop)
    if is_streamed and dialect.gives_usage_in_streams:
        document["stream_options"] = {"include_usage": True}
    return document
