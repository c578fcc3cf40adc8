"""Money as people read it."""

from typing import Final

from google.type.money_pb2 import Money

_NANO_DIGITS: Final = 9
_FEWEST_DECIMALS: Final = 2


def format_money(money: Money) -> str:
    """Return the currency code and the exact amount, such as `EUR 5.00`.

    With two decimals, and more if the amount has more, whatever the currency: how many it is usually written with is
    a table that changes, and no amount needs it to be read right.
    """
    sign = "-" if money.units < 0 or money.nanos < 0 else ""
    decimals = f"{abs(money.nanos):0{_NANO_DIGITS}d}".rstrip("0").ljust(_FEWEST_DECIMALS, "0")
    return f"{money.currency_code} {sign}{abs(money.units)}.{decimals}"
