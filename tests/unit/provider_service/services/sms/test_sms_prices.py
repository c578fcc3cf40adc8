from pathlib import Path

import pytest

from provider_service.services.service import InvalidOption
from provider_service.services.sms.prices import BUNDLED_PRICES, Prices, load_prices


@pytest.fixture
def price_file(tmp_path: Path) -> Path:
    return tmp_path / "prices.toml"


def test_the_bundled_prices_are_valid() -> None:
    prices = load_prices(BUNDLED_PRICES)
    assert prices.find_credits_per_segment("US") < prices.find_credits_per_segment(None)


def test_a_country_has_its_own_price_or_the_default(price_file: Path) -> None:
    price_file.write_text("default = 7\n[countries]\nDE = 1\nXK = 1_000_000\n")
    prices = load_prices(price_file)
    assert prices == Prices(default_credits=7, credits_by_country={"DE": 1, "XK": 1_000_000})
    assert prices.find_credits_per_segment("DE") == 1
    assert prices.find_credits_per_segment("FR") == 7
    assert prices.find_credits_per_segment(None) == 7


def test_the_countries_may_be_left_out(price_file: Path) -> None:
    price_file.write_text("default = 7")
    assert load_prices(price_file).find_credits_per_segment("DE") == 7


@pytest.mark.parametrize("price", ["0", "-1", "1_000_001", "1.0", '"1"', "true", "[1]", "nan"])
def test_a_price_is_a_positive_whole_number(price_file: Path, price: str) -> None:
    rule = "must be a whole number of credits from 1 to 1000000"
    price_file.write_text(f"default = {price}")
    assert refuse(price_file) == f"option prices names {price_file}, where default {rule}"
    price_file.write_text(f"default = 1\n[countries]\nDE = 1\nFR = {price}")
    assert refuse(price_file) == f"option prices names {price_file}, where countries.FR {rule}"


@pytest.mark.parametrize("country", ["UK", "de", "DEU", "001", "XX", "'D\\nE'", '""'])
def test_a_country_is_a_known_code(price_file: Path, country: str) -> None:
    price_file.write_text(f"default = 1\n[countries]\nDE = 1\n{country} = 2")
    assert refuse(price_file).endswith("of countries is not an ISO 3166 code of two capital letters")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "where default must be a whole number of credits from 1 to 1000000"),
        (
            "default = 1\nfallback = 2",
            "where the key 'fallback' is unknown; the keys are default and countries",
        ),
        ("default = 1\ncountries = 2", "where countries must be a table of prices by country"),
        ("default 1", "which is not TOML: Expected '=' after a key"),
        ("default = 1\ndefault = 2", "which is not TOML: Cannot overwrite a value"),
        ("default = 1 # \xff", "which is not UTF-8 text"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(price_file: Path, content: str, complaint: str) -> None:
    price_file.write_text(content, encoding="latin-1")
    assert refuse(price_file).startswith(f"option prices names {price_file}, {complaint}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert refuse(missing) == f"option prices names {missing}, which cannot be read: No such file or directory"
    assert "which cannot be read" in refuse(tmp_path)


def refuse(file: Path) -> str:
    """Loads a file that is wrong and returns the one line that says so."""
    with pytest.raises(InvalidOption) as caught:
        load_prices(file)
    assert caught.value.option == "prices"
    assert "\n" not in str(caught.value)
    return str(caught.value)
