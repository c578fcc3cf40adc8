"""Amounts as people write them, in each currency's own decimals."""

import re

import pytest

from broker_service.domain.currencies import amount_text, minor_unit_digits, parse_minor_units


@pytest.mark.parametrize(
    ("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XAU", None), ("ZZZ", None), ("", None)]
)
def test_a_currency_has_its_own_decimals(currency: str, digits: int | None) -> None:
    assert minor_unit_digits(currency) == digits


@pytest.mark.parametrize(
    ("currency", "text", "minor_units"),
    [
        ("EUR", "10.00", 1_000),
        ("EUR", "10", 1_000),
        ("EUR", "10.5", 1_050),
        ("EUR", "0.01", 1),
        ("EUR", "0", 0),
        ("JPY", "500", 500),
        ("KWD", "1.005", 1_005),
        ("KWD", "1", 1_000),
        ("EUR", "999999999999.99", 99_999_999_999_999),
    ],
)
def test_an_amount_is_read_in_minor_units(currency: str, text: str, minor_units: int) -> None:
    assert parse_minor_units(currency, text) == minor_units


@pytest.mark.parametrize(
    ("currency", "text", "told"),
    [
        ("ZZZ", "1", "ZZZ is no currency of ISO 4217 with a minor unit"),
        ("XAU", "1", "XAU is no currency of ISO 4217 with a minor unit"),
        ("EUR", "0.001", "0.001 is finer than EUR's 2 decimals"),
        ("JPY", "1.0", "1.0 is finer than JPY's 0 decimals"),
        *(
            ("EUR", text, f"{text!r} is no amount such as 10.00")
            for text in ("", "-1", "+1", "1.", ".5", "1,5", "1e3", " 1", "1\n", "\u0661", "1000000000000")
        ),
    ],
)
def test_what_is_no_amount_is_refused(currency: str, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as raised:
        parse_minor_units(currency, text)
    assert str(raised.value) == told


@pytest.mark.parametrize(
    ("currency", "minor_units", "text"),
    [
        ("EUR", 1_000, "10.00"),
        ("EUR", 1, "0.01"),
        ("EUR", 0, "0.00"),
        ("EUR", -5, "-0.05"),
        ("EUR", -1_234, "-12.34"),
        ("JPY", 500, "500"),
        ("JPY", -500, "-500"),
        ("KWD", 1_005, "1.005"),
        ("XAU", 7, "7"),
    ],
)
def test_an_amount_is_written_with_its_currency_s_decimals(currency: str, minor_units: int, text: str) -> None:
    assert amount_text(currency, minor_units) == text
