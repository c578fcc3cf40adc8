"""Money between people's decimals and the minor units that the broker reckons in (ISO 4217)."""

import re

from iso4217 import Currency


def minor_unit_digits(currency: str) -> int | None:
    """Returns how many decimals a currency has; None if ISO 4217 does not list it with a minor unit."""
    try:
        digits: int | None = Currency(currency).exponent
    except ValueError:
        return None
    return digits


def parse_minor_units(currency: str, amount: str) -> int:
    """Returns an amount such as 10.00 in minor units. Raises ValueError, with one line that says why."""
    digits = minor_unit_digits(currency)
    if digits is None:
        raise ValueError(f"{currency} is no currency of ISO 4217 with a minor unit")
    parsed = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]+))?", amount)
    if parsed is None:
        raise ValueError(f"{amount!r} is no amount such as 10.00")
    decimals = parsed[2] or ""
    if len(decimals) > digits:
        raise ValueError(f"{amount} is finer than {currency}'s {digits} decimals")
    return int(parsed[1] + decimals.ljust(digits, "0"))


def amount_text(currency: str, amount_minor_units: int) -> str:
    """Returns an amount with its currency's decimals, such as -10.00."""
    digits = minor_unit_digits(currency) or 0
    sign = "-" if amount_minor_units < 0 else ""
    if not digits:
        return f"{sign}{abs(amount_minor_units)}"
    units, minor_units = divmod(abs(amount_minor_units), 10**digits)
    return f"{sign}{units}.{minor_units:0{digits}d}"
