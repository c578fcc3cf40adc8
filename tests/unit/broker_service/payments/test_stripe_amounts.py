"""Amounts as Stripe writes them, in the currencies where that is not ISO 4217's minor unit."""

import pytest
from iso4217 import Currency

from broker_service.payments.stripe_amounts import (
    AmountNotPayableError,
    from_stripe,
    is_taken,
    step_minor_units,
    to_stripe,
)


@pytest.mark.parametrize(
    ("currency", "minor_units", "stripe_amount"),
    [
        ("EUR", 1_000, 1_000),
        ("USD", 1, 1),
        ("HUF", 123_456, 123_456),
        ("TWD", 123_456, 123_456),
        ("JPY", 500, 500),
        ("XPF", 1, 1),
        ("KWD", 5_120, 5_120),
        ("TND", 10, 10),
        # In hundredths, though neither has any.
        ("ISK", 5, 500),
        ("UGX", 60_000, 6_000_000),
        # Two decimals in ISO 4217, none at Stripe.
        ("MGA", 12_300, 123),
        ("MGA", 0, 0),
    ],
)
def test_an_amount_goes_there_and_comes_back(currency: str, minor_units: int, stripe_amount: int) -> None:
    assert is_taken(currency)
    assert to_stripe(currency, minor_units) == stripe_amount
    assert from_stripe(currency, stripe_amount) == minor_units


@pytest.mark.parametrize(("currency", "minor_units"), [("KWD", 5_124), ("BHD", 1), ("MGA", 12_350), ("MGA", 1)])
def test_an_amount_too_fine_for_stripe_is_refused(currency: str, minor_units: int) -> None:
    with pytest.raises(AmountNotPayableError, match=currency):
        to_stripe(currency, minor_units)


@pytest.mark.parametrize("currency", ["IQD", "LYD", "CLF", "XAU", "eur", "", "XXX"])
def test_a_currency_that_stripe_does_not_take_is_refused(currency: str) -> None:
    assert not is_taken(currency)
    with pytest.raises(AmountNotPayableError):
        to_stripe(currency, 100)


@pytest.mark.parametrize(
    ("currency", "step"), [("EUR", 1), ("JPY", 1), ("ISK", 1), ("UGX", 1), ("KWD", 10), ("TND", 10), ("MGA", 100)]
)
def test_what_stripe_takes_are_multiples_of_a_step(currency: str, step: int) -> None:
    assert step_minor_units(currency) == step
    for minor_units in range(1, 250):
        if minor_units % step:
            with pytest.raises(AmountNotPayableError):
                to_stripe(currency, minor_units)
        else:
            assert from_stripe(currency, to_stripe(currency, minor_units)) == minor_units


def test_an_unknown_currency_of_a_notice_is_told_as_it_is() -> None:
    assert from_stripe("XXX", 7) == 7


def test_a_part_of_a_minor_unit_is_no_amount_that_was_sold() -> None:
    assert from_stripe("ISK", 550) == 5
    assert to_stripe("ISK", 5) != 550


def test_the_special_currencies_are_those_whose_decimals_differ() -> None:
    """Every other currency here is written alike by ISO 4217 and by Stripe."""
    taken = [currency for currency in Currency if is_taken(currency.code)]
    assert len(taken) > 130
    one_unit = {currency.code: to_stripe(currency.code, 10 ** (currency.exponent or 0)) for currency in taken}
    differing = {code for code, amount in one_unit.items() if amount != 10 ** (Currency(code).exponent or 0)}
    assert differing == {"ISK", "UGX", "MGA"}
