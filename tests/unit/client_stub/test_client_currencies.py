"""Amounts, with each currency's own decimals."""

import pytest
from google.type.money_pb2 import Money
from iso4217 import Currency

from client_stub.currencies import decimals_of, format_amount, parse_money, sum_of


@pytest.mark.parametrize("currency", list(Currency), ids=lambda it: it.code)
def test_the_table_is_that_of_iso_4217(currency: Currency) -> None:
    assert decimals_of(currency.code) == (2 if currency.exponent is None else currency.exponent)


@pytest.mark.parametrize("code", ["ZZZ", "", "eur"])
def test_what_iso_4217_does_not_know_has_two_decimals(code: str) -> None:
    assert decimals_of(code) == 2


@pytest.mark.parametrize(
    ("text", "money"),
    [
        ("EUR=5.00", Money(currency_code="EUR", units=5)),
        ("EUR 5", Money(currency_code="EUR", units=5)),
        ("EUR=0.01", Money(currency_code="EUR", nanos=10_000_000)),
        ("JPY=500", Money(currency_code="JPY", units=500)),
        ("KWD=1.005", Money(currency_code="KWD", units=1, nanos=5_000_000)),
        ("CLF=0.0001", Money(currency_code="CLF", nanos=100_000)),
    ],
)
def test_an_amount_is_read_exactly(text: str, money: Money) -> None:
    assert parse_money(text) == money


@pytest.mark.parametrize(
    "text", ["", "5.00", "EUR", "EUR=", "EUR=-1", "EUR=1,5", "EUR=1e3", "euro=1", "EUR=1.", "EUR=.5"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no amount such as EUR=5\.00"):
        parse_money(text)


@pytest.mark.parametrize("text", ["EUR=0.001", "JPY=0.5", "KWD=0.0001"])
def test_an_amount_finer_than_its_currency_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="finer"):
        parse_money(text)


@pytest.mark.parametrize(
    ("nanos", "expected"),
    [
        ([], "0.00"),
        ([500_000_000, 500_000_000], "1.00"),
        ([-1_500_000_000, 250_000_000], "-1.25"),
        ([1_000_000_000, -1_010_000_000], "-0.01"),
        ([-10_000_000, 10_000_000], "0.00"),
    ],
)
def test_sums_are_exact(nanos: list[int], expected: str) -> None:
    amounts = [Money(currency_code="EUR", units=int(it / 10**9), nanos=it - int(it / 10**9) * 10**9) for it in nanos]
    assert format_amount(sum_of([Money(currency_code="EUR"), *amounts])) == expected
