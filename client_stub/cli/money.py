"""Money as people read it."""

from collections.abc import Iterable

from google.type.money_pb2 import Money

from client_stub.currencies import format_amount


def format_money(money: Money) -> str:
    """Return the currency code and the exact amount, such as `EUR 5.00` or `JPY 500`."""
    return f"{money.currency_code} {format_amount(money)}"


def format_all(amounts: Iterable[Money]) -> str:
    """Return amounts of several currencies, with commas between; a dash if there are none."""
    return ", ".join(map(format_money, amounts)) or "–"
