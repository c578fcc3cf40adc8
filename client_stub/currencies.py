"""How many decimals each currency has, for showing and reading amounts.

A table of its own, so that the bare install needs no library for it; a test compares it with the list of ISO 4217.
"""

import re
from typing import Final

from google.type.money_pb2 import Money

_NANO_DIGITS: Final = 9
_USUAL_DECIMALS: Final = 2
_OTHER_DECIMALS: Final = {
    # 0
    "BIF": 0,
    "CLP": 0,
    "DJF": 0,
    "GNF": 0,
    "ISK": 0,
    "JPY": 0,
    "KMF": 0,
    "KRW": 0,
    "PYG": 0,
    "RWF": 0,
    "UGX": 0,
    "UYI": 0,
    "VND": 0,
    "VUV": 0,
    "XAF": 0,
    "XOF": 0,
    "XPF": 0,
    # 3
    "BHD": 3,
    "IQD": 3,
    "JOD": 3,
    "KWD": 3,
    "LYD": 3,
    "OMR": 3,
    "TND": 3,
    # 4
    "CLF": 4,
    "UYW": 4,
}


def decimals_of(currency_code: str) -> int:
    """Return how many decimals amounts of a currency are written with; 2 where ISO 4217 says nothing."""
    return _OTHER_DECIMALS.get(currency_code, _USUAL_DECIMALS)


def format_amount(money: Money) -> str:
    """Return the exact amount such as `-5.00`, with the currency's own decimals, and more if the amount has more."""
    sign = "-" if money.units < 0 or money.nanos < 0 else ""
    nanos = f"{abs(money.nanos):0{_NANO_DIGITS}d}".rstrip("0").ljust(decimals_of(money.currency_code), "0")
    return f"{sign}{abs(money.units)}.{nanos}" if nanos else f"{sign}{abs(money.units)}"


def parse_money(text: str) -> Money:
    """Read `EUR 5.00` or `EUR=5.00`. Raises ValueError, with one line that says why."""
    parsed = re.fullmatch(r"([A-Z]{3})[ =]([0-9]{1,12})(?:\.([0-9]{1,9}))?", text)
    if parsed is None:
        raise ValueError(f"{text!r} is no amount such as EUR=5.00")
    currency_code, units, decimals = parsed[1], int(parsed[2]), parsed[3] or ""
    if len(decimals) > decimals_of(currency_code):
        raise ValueError(f"{text!r} is finer than {currency_code}'s {decimals_of(currency_code)} decimals")
    return Money(currency_code=currency_code, units=units, nanos=int(decimals.ljust(_NANO_DIGITS, "0")))


def sum_of(amounts: list[Money]) -> Money:
    """Return the sum of amounts in one currency, at least one."""
    nanos = sum(money.units * 10**_NANO_DIGITS + money.nanos for money in amounts)
    sign = -1 if nanos < 0 else 1
    units, rest = divmod(abs(nanos), 10**_NANO_DIGITS)
    return Money(currency_code=amounts[0].currency_code, units=sign * units, nanos=sign * rest)
