"""Money between units and nanos and minor units."""

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from broker_service.domain.errors import InvalidField
from broker_service.transport.money import to_minor_units, to_money

EXPONENTS = {"JPY": 0, "KRW": 0, "EUR": 2, "USD": 2, "KWD": 3, "BHD": 3, "CLF": 4}


@given(currency=st.sampled_from(sorted(EXPONENTS)), amount=st.integers(min_value=0, max_value=10**13))
def test_an_amount_survives_the_way_there_and_back(currency: str, amount: int) -> None:
    money = to_money(currency, amount)
    assert 0 <= money.nanos < 10**9
    assert to_minor_units(money, "price") == amount


@given(currency=st.sampled_from(sorted(EXPONENTS)), amount=st.integers(min_value=-(10**13), max_value=10**13))
def test_units_and_nanos_have_one_sign_and_the_exact_value(currency: str, amount: int) -> None:
    money = to_money(currency, amount)
    assert money.units * money.nanos >= 0
    assert (money.units * 10**9 + money.nanos) * 10 ** EXPONENTS[currency] == amount * 10**9


@given(currency=st.sampled_from(sorted(EXPONENTS)), nanos=st.integers(min_value=0, max_value=10**9 - 1))
def test_an_amount_is_taken_exactly_or_refused(currency: str, nanos: int) -> None:
    money = Money(currency_code=currency, units=7, nanos=nanos)
    if nanos % 10 ** (9 - EXPONENTS[currency]):
        with pytest.raises(InvalidField) as refused:
            to_minor_units(money, "price")
        assert refused.value.field == "price.nanos"
    else:
        assert to_money(currency, to_minor_units(money, "price")) == money


@pytest.mark.parametrize("currency", ["XXX", "XAU", "XTS", "XDR", "eur", "", "EURO", "ZZZ", "DEM"])
def test_what_has_no_minor_unit_is_no_currency(currency: str) -> None:
    with pytest.raises(InvalidField) as refused:
        to_minor_units(Money(currency_code=currency, units=1), "price")
    assert refused.value.field == "price.currency_code"
