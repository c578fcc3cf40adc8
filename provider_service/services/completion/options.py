"""The service's options, read once at start: which gateway, how it is reached, what is on offer at which prices."""

from collections.abc import Callable, Mapping
from pathlib import Path

from provider_service.gateways.chat_completions import ChatCompletionsGateway, Patience
from provider_service.gateways.completions import CompletionGateway
from provider_service.gateways.sandbox_completions import SandboxCompletionGateway
from provider_service.services.completion.offer import Offer
from provider_service.services.completion.prices import BUNDLED_PRICES, TokenPrice, load_prices
from provider_service.services.option_values import (
    Options,
    read_credentials,
    read_seconds,
    read_url,
    read_whole_number,
    refuse_unknown,
)
from provider_service.services.service import InvalidOption

DEFAULT_MAX_TOKENS = 1_024
DEFAULT_MAX_TOKENS_LIMIT = 4_096
MAX_TOKENS_MAXIMUM = 1_000_000
DEFAULT_PROMPT_OVERHEAD_TOKENS = 256
TIMEOUT_MAXIMUM_SECONDS = 3_600.0
MODEL_MAXIMUM_CHARACTERS = 128

SHARED_OPTIONS = frozenset({"gateway", "models", "prices", "max_tokens", "max_tokens_limit", "prompt_overhead"})
OPTIONS_BY_GATEWAY: Mapping[str, frozenset[str]] = {
    "sandbox": frozenset(),
    "openai": frozenset({"url", "key", "timeout", "connect_timeout", "first_token_timeout", "idle_timeout"}),
}


def create_gateway(options: Options) -> CompletionGateway:
    """Makes the gateway that `gateway` names; without it, `url` says that there is an endpoint.

    Raises InvalidOption, also for options nothing knows.
    """
    name = options.get("gateway", "openai" if "url" in options else "sandbox")
    if name not in OPTIONS_BY_GATEWAY:
        raise InvalidOption("gateway", f"must be one of {', '.join(OPTIONS_BY_GATEWAY)}, not {name!r}")
    refuse_unknown(options, gateway=name, shared=SHARED_OPTIONS, options_by_gateway=OPTIONS_BY_GATEWAY)
    return _GATEWAY_FACTORIES[name](options)


def read_offer(options: Options) -> Offer:
    """Reads what is on offer. Raises InvalidOption."""
    max_tokens_limit = read_whole_number(
        options, "max_tokens_limit", default=DEFAULT_MAX_TOKENS_LIMIT, minimum=1, maximum=MAX_TOKENS_MAXIMUM
    )
    return Offer(
        prices=_read_models(options),
        default_max_tokens=read_whole_number(
            options,
            "max_tokens",
            default=min(DEFAULT_MAX_TOKENS, max_tokens_limit),
            minimum=1,
            maximum=max_tokens_limit,
        ),
        max_tokens_limit=max_tokens_limit,
        prompt_overhead_tokens=read_whole_number(
            options,
            "prompt_overhead",
            default=DEFAULT_PROMPT_OVERHEAD_TOKENS,
            minimum=0,
            maximum=MAX_TOKENS_MAXIMUM,
        ),
    )


def _read_models(options: Options) -> Mapping[str, TokenPrice]:
    prices = load_prices(Path(options.get("prices", BUNDLED_PRICES)))
    if "models" not in options:
        if not prices.by_model:
            raise InvalidOption("models", "must be given, as the price file lists none")
        return prices.by_model
    offered = {}
    for model in map(str.strip, options["models"].split(",")):
        if not 0 < len(model) <= MODEL_MAXIMUM_CHARACTERS or not model.isprintable():
            raise InvalidOption("models", "must be names of models with commas between them, such as llama3.2,qwen3")
        price = prices.by_model.get(model, prices.default)
        if price is None:
            raise InvalidOption("models", f"names {model}, for which the price file has no price and no default")
        offered[model] = price
    return offered


def _create_sandbox_gateway(_options: Options) -> CompletionGateway:
    return SandboxCompletionGateway()


def _create_openai_gateway(options: Options) -> CompletionGateway:
    patience = Patience()

    def seconds(option: str, default_seconds: float) -> float:
        return read_seconds(options, option, default_seconds=default_seconds, maximum_seconds=TIMEOUT_MAXIMUM_SECONDS)

    return ChatCompletionsGateway(
        url=_read_base_url(options),
        key=read_credentials(options, "key"),
        patience=Patience(
            connect_seconds=seconds("connect_timeout", patience.connect_seconds),
            first_token_seconds=seconds("first_token_timeout", patience.first_token_seconds),
            idle_seconds=seconds("idle_timeout", patience.idle_seconds),
            whole_seconds=seconds("timeout", patience.whole_seconds),
        ),
    )


def _read_base_url(options: Options) -> str:
    url = read_url(options, "url", gateway="openai", credentials_option="key")
    if "/chat/completions" in url:
        raise InvalidOption("url", "must be what comes before /chat/completions, such as https://api.openai.com/v1")
    return url


_GATEWAY_FACTORIES: Mapping[str, Callable[[Options], CompletionGateway]] = {
    "sandbox": _create_sandbox_gateway,
    "openai": _create_openai_gateway,
}
