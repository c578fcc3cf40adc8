"""Money as people read it."""

from decimal import Decimal
from typing import Final

from google.type.money_pb2 import Money

# ISO 4217, list one: the currencies whose minor unit is not a hundredth.
_WITHOUT_MINOR_UNIT: Final = frozenset(
    (
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    )
)
_IN_THOUSANDTHS: Final = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMN", "TND"))


def format_money(money: Money) -> str:
    """Return the currency code and the exact amount, such as `EUR 5.00`.

    With as many decimals as the currency has, and more only if the amount has more.
    """
    amount = Decimal(money.units) + Decimal(money.nanos).scaleb(-9)
    amount_text = f"{amount:f}".rstrip("0").rstrip(".") if amount % 1 else str(money.units)
    whole, _, decimals = amount_text.partition(".")
    decimals = decimals.ljust(_decimals(money.currency_code), "0")
    return f"{money.currency_code} {whole}.{decimals}" if decimals else f"{money.currency_code} {whole}"


def _decimals(currency_code: str) -> int:
    if currency_code in _WITHOUT_MINOR_UNIT:
        return 0
    return 3 if currency_code in _IN_THOUSANDTHS else 2
