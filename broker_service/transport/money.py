"""Money between the contract's units and nanos and the minor units that the broker reckons in."""

from decimal import Decimal

from google.type.money_pb2 import Money

from broker_service.domain.currencies import minor_unit_digits
from broker_service.domain.errors import InvalidField

_NANOS_DIGITS = 9


def to_minor_units(money: Money, field: str) -> int:
    """Parses an amount whose sign and range the field rules have checked.

    Raises InvalidField for a currency that ISO 4217 does not list with a minor unit, and for an amount finer than that.
    """
    exponent = minor_unit_digits(money.currency_code)
    if exponent is None:
        raise InvalidField(
            field=f"{field}.currency_code", description="must be a currency of ISO 4217 with a minor unit"
        )
    nanos_per_minor_unit = 10 ** (_NANOS_DIGITS - exponent)
    if money.nanos % nanos_per_minor_unit:
        raise InvalidField(
            field=f"{field}.nanos", description=f"must not be finer than {money.currency_code}'s {exponent} decimals"
        )
    minor_units: int = money.units * 10**exponent + money.nanos // nanos_per_minor_unit
    return minor_units


def to_money(currency: str, amount_minor_units: int) -> Money:
    """Renders an amount; its units and nanos have the same sign."""
    exponent = minor_unit_digits(currency) or 0
    sign = -1 if amount_minor_units < 0 else 1
    units, minor_units = divmod(abs(amount_minor_units), 10**exponent)
    return Money(
        currency_code=currency, units=sign * units, nanos=sign * minor_units * 10 ** (_NANOS_DIGITS - exponent)
    )


def format_money(currency: str, amount_minor_units: int) -> str:
    """Returns an amount for people, such as `1,234.50 EUR`, with as many decimals as the currency has."""
    exponent = minor_unit_digits(currency) or 0
    return f"{Decimal(amount_minor_units).scaleb(-exponent):,.{exponent}f} {currency}"
