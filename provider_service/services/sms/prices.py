"""What a segment costs, by the recipient's country, read from a TOML file.

The file has the key `default` and may have a table `countries` of prices by ISO 3166 code; see `prices.toml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provider_service.services.price_files import load_price_file
from provider_service.services.sms.recipients import COUNTRIES

BUNDLED_PRICES = Path(__file__).with_name("prices.toml")

CREDITS_PER_SEGMENT_MAXIMUM = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of one segment, in credits, for every country."""

    default_credits: int
    credits_by_country: Mapping[str, int]

    def find_credits_per_segment(self, country: str | None) -> int:
        """Returns the price for a country, which is the default for None and for any country not listed."""
        if country is None:
            return self.default_credits
        return self.credits_by_country.get(country, self.default_credits)


def load_prices(file: Path) -> Prices:
    """Reads and checks a price file. Raises InvalidOption, which names the file and a key that is wrong."""
    return load_price_file(file, _parse_prices)


def _parse_prices(document: Mapping[str, object]) -> Prices:
    for key in document:
        if key not in {"default", "countries"}:
            raise ValueError(f"the key {key!r} is unknown; the keys are default and countries")
    countries = document.get("countries", {})
    if not isinstance(countries, dict):
        raise ValueError("countries must be a table of prices by country")  # noqa: TRY004 - one type for all rules
    for country in countries:
        if country not in COUNTRIES:
            raise ValueError(f"the key {country!r} of countries is not an ISO 3166 code of two capital letters")
    return Prices(
        default_credits=_parse_credits("default", document.get("default")),
        credits_by_country={
            country: _parse_credits(f"countries.{country}", price) for country, price in countries.items()
        },
    )


def _parse_credits(key: str, price: object) -> int:
    # A TOML boolean is an int to Python.
    if isinstance(price, int) and not isinstance(price, bool) and 1 <= price <= CREDITS_PER_SEGMENT_MAXIMUM:
        return price
    raise ValueError(f"{key} must be a whole number of credits from 1 to {CREDITS_PER_SEGMENT_MAXIMUM}")
