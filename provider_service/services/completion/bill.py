"""What a request costs: at most, so far, and in the end."""

from dataclasses import dataclass
from typing import Final

from provider_service.gateways.completions import Usage
from provider_service.services.completion.offer import Offer
from provider_service.services.completion.request import CompletionInput
from provider_service.services.completion.tokens import TokenCount

# What a model's template makes of a message, beside its words: at least, about, and at most.
_MESSAGE_LEAST: Final = 1
_MESSAGE_ESTIMATE: Final = 4
_MESSAGE_MOST: Final = 16


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """How many tokens a prompt has; `tokens` says what the three figures are."""

    least: int
    estimate: int
    most: int


def count_prompt(request: CompletionInput, offer: Offer) -> PromptTokens:
    """Counts the tokens of the messages, with what the endpoint puts around them."""
    counts = [TokenCount(message.content) for message in request.messages]
    return PromptTokens(
        least=sum(count.least + _MESSAGE_LEAST for count in counts),
        estimate=sum(count.estimate + _MESSAGE_ESTIMATE for count in counts),
        most=sum(count.most + _MESSAGE_MOST for count in counts) + offer.prompt_overhead_tokens,
    )


class Bill:
    """The price of a request while its answer comes."""

    def __init__(self, request: CompletionInput, offer: Offer) -> None:
        self.price = offer.prices[request.model]
        self.prompt = count_prompt(request, offer)
        self._max_tokens = request.max_tokens
        self._answer = TokenCount()

    @property
    def credits_at_most(self) -> int:
        """The price of the longest prompt that this one can be and the longest answer: what is quoted."""
        return self.price.credits(prompt_tokens=self.prompt.most, completion_tokens=self._max_tokens)

    @property
    def credits_so_far(self) -> int:
        """What is owed by any reckoning for the prompt and the text that has come: never more than the end will be."""
        return self.price.whole_credits(
            prompt_tokens=self.prompt.least, completion_tokens=min(self._answer.least, self._max_tokens)
        )

    @property
    def estimated_credits(self) -> int:
        """What the prompt and the text that has come are likely to cost."""
        return self._credits(self.estimate_usage())

    @property
    def is_overdrawn(self) -> bool:
        """Whether the text is longer than was asked for: the endpoint does not keep to `max_tokens`."""
        return self._answer.least > self._max_tokens

    def add(self, text: str) -> None:
        """Counts a piece of the answer."""
        self._answer.add(text)

    def estimate_usage(self) -> Usage:
        """Returns the estimate of what has been used, for an endpoint that gives no figures."""
        return Usage(prompt_tokens=self.prompt.estimate, completion_tokens=min(self._answer.estimate, self._max_tokens))

    def final_credits(self, usage: Usage) -> int:
        """Returns what the whole costs by the figures in the end: never more than was quoted."""
        return min(self._credits(usage), self.credits_at_most)

    def _credits(self, usage: Usage) -> int:
        return self.price.credits(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
