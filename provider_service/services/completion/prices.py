"""What tokens cost, by model, read from a TOML file; see `prices.toml` for its form."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from provider_service.services.price_files import load_price_file

BUNDLED_PRICES = Path(__file__).with_name("prices.toml")

CREDITS_PER_THOUSAND_MAXIMUM = 1_000_000
_TOKENS = 1_000
_DECIMALS = 3
# In a credit: a thousandth of one, for a thousand tokens, is a millionth for each.
_MICRO_CREDITS = 1_000_000


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """The price of a model's tokens, in millionths of a credit for one token."""

    input_micro_credits: int
    output_micro_credits: int

    def credits(self, *, prompt_tokens: int, completion_tokens: int) -> int:
        """Returns what so many tokens cost: whole credits, rounded up once for the whole request, at least 1."""
        return max(1, -(-self._micro_credits(prompt_tokens, completion_tokens) // _MICRO_CREDITS))

    def whole_credits(self, *, prompt_tokens: int, completion_tokens: int) -> int:
        """Returns the same rounded down, at least 1: what is owed already while more may come."""
        return max(1, self._micro_credits(prompt_tokens, completion_tokens) // _MICRO_CREDITS)

    @property
    def credits_per_thousand(self) -> tuple[float, float]:
        """The price of a thousand tokens of input and of output, to be shown."""
        return self.input_micro_credits / _TOKENS, self.output_micro_credits / _TOKENS

    def _micro_credits(self, prompt_tokens: int, completion_tokens: int) -> int:
        return prompt_tokens * self.input_micro_credits + completion_tokens * self.output_micro_credits


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of all models: of those listed, in the file's order, and of any other, if there is one."""

    by_model: Mapping[str, TokenPrice]
    default: TokenPrice | None


def load_prices(file: Path) -> Prices:
    """Reads and checks a price file. Raises InvalidOption, which names the file and a key that is wrong."""
    return load_price_file(file, _parse_prices)


def _parse_prices(document: Mapping[str, object]) -> Prices:
    for key in document:
        if key not in {"default", "models"}:
            raise ValueError(f"the key {key!r} is unknown; the keys are default and models")
    models = document.get("models", {})
    if not isinstance(models, dict):
        raise ValueError("models must be a table of prices by model")  # noqa: TRY004 - one type for all rules
    return Prices(
        by_model={model: _parse_price(f"models.{model}", price) for model, price in models.items()},
        default=_parse_price("default", document["default"]) if "default" in document else None,
    )


def _parse_price(key: str, price: object) -> TokenPrice:
    if not isinstance(price, dict) or price.keys() != {"input", "output"}:
        raise ValueError(f"{key} must be a table of input and output")
    return TokenPrice(
        input_micro_credits=_parse_credits(f"{key}.input", price["input"]),
        output_micro_credits=_parse_credits(f"{key}.output", price["output"]),
    )


def _parse_credits(key: str, credits: object) -> int:  # noqa: A002 - the contract's word
    """Returns what a thousand cost in thousandths of a credit, which is what one costs in millionths."""
    # A TOML boolean is an int to Python.
    if isinstance(credits, (int, Decimal)) and not isinstance(credits, bool):
        amount = Decimal(credits)
        if amount.is_finite() and 0 <= amount <= CREDITS_PER_THOUSAND_MAXIMUM:
            scaled = amount.scaleb(_DECIMALS)
            if scaled == int(scaled):
                return int(scaled)
    raise ValueError(
        f"{key} must be credits for a thousand tokens, from 0 to {CREDITS_PER_THOUSAND_MAXIMUM} "
        f"with at most {_DECIMALS} decimals"
    )
