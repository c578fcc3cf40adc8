"""What the service offers: its models with their prices, and how long prompts and answers may be."""

from collections.abc import Mapping
from dataclasses import dataclass

from provider_service.services.completion.prices import TokenPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be asked for. The first model is the one for requests that name none."""

    prices: Mapping[str, TokenPrice]
    default_max_tokens: int
    max_tokens_limit: int
    prompt_overhead_tokens: int
    """What the endpoint may add to a prompt: the model's template, a system prompt of its own."""

    @property
    def default_model(self) -> str:
        """The model for requests that name none."""
        return next(iter(self.prices))
