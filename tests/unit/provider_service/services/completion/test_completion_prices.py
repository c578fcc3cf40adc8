from pathlib import Path

import pytest

from provider_service.services.completion.prices import BUNDLED_PRICES, Prices, TokenPrice, load_prices
from provider_service.services.service import InvalidOption


def load(tmp_path: Path, text: str) -> Prices:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    return load_prices(file)


@pytest.mark.parametrize(
    ("prompt_tokens", "completion_tokens", "credits", "whole_credits"),
    [(0, 0, 1, 1), (1, 0, 1, 1), (1000, 0, 1, 1), (1001, 0, 2, 1), (999, 1, 2, 1), (0, 1000, 4, 4), (0, 1001, 5, 4)],
)
def test_a_request_is_rounded_up_once_and_costs_at_least_one_credit(
    prompt_tokens: int,
    completion_tokens: int,
    credits: int,  # noqa: A002 - the contract's word
    whole_credits: int,
) -> None:
    price = TokenPrice(input_micro_credits=1000, output_micro_credits=4000)
    tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    assert (price.credits(**tokens), price.whole_credits(**tokens)) == (credits, whole_credits)


def test_sums_are_exact() -> None:
    price = TokenPrice(input_micro_credits=1, output_micro_credits=3)
    assert price.credits(prompt_tokens=10**15, completion_tokens=0) == 10**9
    assert price.credits(prompt_tokens=10**15 + 1, completion_tokens=0) == 10**9 + 1


def test_the_bundled_prices_are_right() -> None:
    prices = load_prices(BUNDLED_PRICES)
    assert prices.default is not None
    assert list(prices.by_model)


def test_prices_are_read_to_a_thousandth(tmp_path: Path) -> None:
    prices = load(
        tmp_path,
        "[default]\ninput = 0\noutput = 0.001\n"
        '[models."a:1b"]\ninput = 1\noutput = 2.5\n[models.b]\ninput = 1000000\noutput = 0.10\n',
    )
    assert prices == Prices(
        by_model={"a:1b": TokenPrice(1000, 2500), "b": TokenPrice(10**9, 100)}, default=TokenPrice(0, 1)
    )
    assert list(prices.by_model) == ["a:1b", "b"]
    assert prices.by_model["a:1b"].credits_per_thousand == (1, 2.5)


def test_no_default_is_needed(tmp_path: Path) -> None:
    assert load(tmp_path, "[models.a]\ninput = 1\noutput = 1").default is None


AMOUNT = "must be credits for a thousand tokens, from 0 to 1000000 with at most 3 decimals"


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("colour = 1", "the key 'colour' is unknown; the keys are default and models"),
        ("models = 1", "models must be a table of prices by model"),
        ("default = 1", "default must be a table of input and output"),
        ("[default]\ninput = 1", "default must be a table of input and output"),
        ("[models.a]\ninput = 1\noutput = 1\ncached = 1", "models.a must be a table of input and output"),
        ("[default]\ninput = 1\noutput = true", f"default.output {AMOUNT}"),
        ("[default]\ninput = '1'\noutput = 1", f"default.input {AMOUNT}"),
        ("[models.a]\ninput = -0.001\noutput = 1", f"models.a.input {AMOUNT}"),
        ("[models.a]\ninput = 0.0001\noutput = 1", f"models.a.input {AMOUNT}"),
        ("[models.a]\ninput = 1\noutput = 1000000.001", f"models.a.output {AMOUNT}"),
        ("[models.a]\ninput = nan\noutput = 1", f"models.a.input {AMOUNT}"),
        ("[models.a]\ninput = inf\noutput = 1", f"models.a.input {AMOUNT}"),
    ],
)
def test_a_wrong_price_is_named(tmp_path: Path, text: str, description: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        load(tmp_path, text)
    assert str(caught.value) == f"option prices names {tmp_path / 'prices.toml'}, where {description}"
