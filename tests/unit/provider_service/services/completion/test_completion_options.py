from pathlib import Path

import pytest

from provider_service.gateways.chat_completions import ChatCompletionsGateway, Patience
from provider_service.gateways.sandbox_completions import SandboxCompletionGateway
from provider_service.services.completion import create_service
from provider_service.services.completion.options import create_gateway, read_offer
from provider_service.services.completion.prices import TokenPrice
from provider_service.services.service import AfterCrash, InvalidOption, Service, ServiceFactory, is_streamed

OPENAI = {"gateway": "openai", "url": "https://models.example/v1"}
PRICES = "[models.small]\ninput = 1\noutput = 1\n[models.large]\ninput = 2\noutput = 2\n"

factory: ServiceFactory = create_service


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    return file


def test_no_option_is_needed() -> None:
    service: Service = factory({})
    assert (service.name, service.title, service.unit_name) == ("completion", "Text completions", "thousand tokens")
    assert is_streamed(service)
    assert not service.streams_only
    assert service.after_crash == AfterCrash.RELEASE


def test_without_a_url_there_is_the_sandbox_and_with_one_the_endpoint() -> None:
    assert isinstance(create_gateway({}), SandboxCompletionGateway)
    assert isinstance(create_gateway({"url": "http://127.0.0.1:11434/v1"}), ChatCompletionsGateway)
    assert isinstance(create_gateway(OPENAI | {"key": "s3cret"}), ChatCompletionsGateway)


def test_times_are_read_each_for_itself() -> None:
    gateway = create_gateway(
        OPENAI | {"timeout": "9", "connect_timeout": "0.5", "first_token_timeout": "7", "idle_timeout": "3600"}
    )
    assert isinstance(gateway, ChatCompletionsGateway)
    assert gateway._patience == Patience(connect_seconds=0.5, first_token_seconds=7, idle_seconds=3600, whole_seconds=9)


def test_models_are_those_of_the_price_file_or_those_named(prices: Path) -> None:
    offer = read_offer({"prices": str(prices)})
    assert (list(offer.prices), offer.default_model) == (["small", "large"], "small")
    offer = read_offer({"prices": str(prices), "models": " large , small"})
    assert (list(offer.prices), offer.default_model) == (["large", "small"], "large")
    prices.write_text(f"{PRICES}[default]\ninput = 3\noutput = 4\n")
    offer = read_offer({"prices": str(prices), "models": "other:8b,large"})
    assert offer.prices == {"other:8b": TokenPrice(3000, 4000), "large": TokenPrice(2000, 2000)}


def test_lengths_have_defaults_that_fit_each_other() -> None:
    offer = read_offer({})
    assert (offer.default_max_tokens, offer.max_tokens_limit, offer.prompt_overhead_tokens) == (1024, 4096, 256)
    assert read_offer({"max_tokens_limit": "100"}).default_max_tokens == 100
    offer = read_offer({"max_tokens_limit": "8000", "max_tokens": "8000", "prompt_overhead": "0"})
    assert (offer.default_max_tokens, offer.prompt_overhead_tokens) == (8000, 0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"gateway": "smtp"}, "gateway must be one of sandbox, openai, not 'smtp'"),
        (
            {"colour": "red"},
            "colour is unknown; with gateway=sandbox there are gateway, max_tokens, max_tokens_limit, models, prices, "
            "prompt_overhead",
        ),
        ({"key": "s3cret"}, "key is for gateway=openai, but gateway is sandbox"),
        (OPENAI | {"gateway": "sandbox"}, "url is for gateway=openai, but gateway is sandbox"),
        ({"gateway": "openai"}, "url must be given with gateway=openai"),
        (
            {"url": "https://models.example/v1/chat/completions?key=s3cret"},
            "url must be what comes before /chat/completions, such as https://api.openai.com/v1",
        ),
        (
            {"url": "https://user:s3cret@models.example/v1"},
            "url must hold no user name or password; the option key is for credentials",
        ),
        (
            {"url": "models.example/s3cret"},
            "url must be a URL that begins with http:// or https:// and names a host",
        ),
        (OPENAI | {"key": "s3cret\n"}, "key must be printable ASCII characters without spaces"),
        (OPENAI | {"timeout": "3601"}, "timeout must be seconds, more than 0 and at most 3600"),
        (OPENAI | {"idle_timeout": "0"}, "idle_timeout must be seconds, more than 0 and at most 3600"),
        (OPENAI | {"first_token_timeout": "x"}, "first_token_timeout must be seconds, more than 0 and at most 3600"),
        (OPENAI | {"connect_timeout": "nan"}, "connect_timeout must be seconds, more than 0 and at most 3600"),
        ({"max_tokens_limit": "0"}, "max_tokens_limit must be a whole number from 1 to 1000000"),
        ({"max_tokens_limit": "1" * 5000}, "max_tokens_limit must be a whole number from 1 to 1000000"),
        ({"max_tokens": "4097"}, "max_tokens must be a whole number from 1 to 4096"),
        ({"max_tokens": "1.5"}, "max_tokens must be a whole number from 1 to 4096"),
        ({"prompt_overhead": "-1"}, "prompt_overhead must be a whole number from 0 to 1000000"),
        ({"prompt_overhead": "²"}, "prompt_overhead must be a whole number from 0 to 1000000"),
        ({"models": "a,,b"}, "models must be names of models with commas between them, such as llama3.2,qwen3"),
        ({"models": "a\tb"}, "models must be names of models with commas between them, such as llama3.2,qwen3"),
        ({"prices": "/missing.toml"}, "prices names /missing.toml, which cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(options: dict[str, str], line: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        factory(options)
    assert str(caught.value) == f"option {line}"
    assert "s3cret" not in str(caught.value)


def test_a_model_needs_a_price(prices: Path) -> None:
    with pytest.raises(InvalidOption, match=r"^option models names b, for which the price file has no price"):
        read_offer({"prices": str(prices), "models": "small,b"})
    prices.write_text("[default]\ninput = 1\noutput = 1\n")
    with pytest.raises(InvalidOption, match=r"^option models must be given, as the price file lists none$"):
        read_offer({"prices": str(prices)})
