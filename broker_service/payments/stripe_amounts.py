"""Amounts as Stripe writes them: integers, but not in every currency in ISO 4217's minor unit.

The rules are Stripe's (https://docs.stripe.com/currencies, "Zero-decimal currencies", "Three-decimal currencies" and
"Special cases"):

- MGA has no decimals at Stripe, and two in ISO 4217;
- ISK and UGX have none in either, but for compatibility Stripe takes them in hundredths, the last two digits 0;
- currencies with three decimals are taken in thousandths, the last digit 0.

HUF and TWD are special for payouts of Stripe's only.
"""

from math import gcd
from typing import Final

# Those that Stripe takes payments in, as of its API version 2026-10-28.
_TWO_DECIMALS: Final = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE
    CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD KES KGS KHR KYD KZT
    LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR
    PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD STN SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST
    XCD XCG YER ZAR ZMW
"""
_NO_DECIMALS: Final = "BIF CLP DJF GNF JPY KMF KRW PYG RWF VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD JOD KWD OMR TND"
_IN_HUNDREDTHS: Final = "ISK UGX"
_WHOLE_ONLY: Final = "MGA"

# By currency: how many of Stripe's units a minor unit is, how many minor units one of Stripe's, and the step that
# amounts at Stripe come in.
_Rule = tuple[int, int, int]
_RULES: Final[dict[str, _Rule]] = {
    **dict.fromkeys(_TWO_DECIMALS.split(), (1, 1, 1)),
    **dict.fromkeys(_NO_DECIMALS.split(), (1, 1, 1)),
    **dict.fromkeys(_THREE_DECIMALS.split(), (1, 1, 10)),
    **dict.fromkeys(_IN_HUNDREDTHS.split(), (100, 1, 100)),
    **dict.fromkeys(_WHOLE_ONLY.split(), (1, 100, 1)),
}


class AmountNotPayableError(Exception):
    """Stripe cannot take or give back this amount; the text says why, for people."""


def is_taken(currency: str) -> bool:
    """Tells whether Stripe takes payments in a currency (ISO 4217)."""
    return currency in _RULES


def to_stripe(currency: str, amount_minor_units: int) -> int:
    """Returns an amount as Stripe writes it. Raises AmountNotPayableError."""
    rule = _RULES.get(currency)
    if rule is None:
        raise AmountNotPayableError(f"Stripe does not take {currency}")
    factor, divisor, step = rule
    amount, rest = divmod(amount_minor_units * factor, divisor)
    if rest or amount % step:
        raise AmountNotPayableError(f"Stripe does not take amounts of {currency} as fine as this")
    return amount


def step_minor_units(currency: str) -> int:
    """Returns the least amount, in minor units, that Stripe takes and all that it takes are multiples of."""
    factor, divisor, step = _RULES.get(currency, (1, 1, 1))
    coarse = divisor * step
    return coarse // gcd(coarse, factor)


def from_stripe(currency: str, stripe_amount: int) -> int:
    """Returns an amount that Stripe has written in minor units; of a currency unknown here, as it is.

    What is no whole number of minor units is rounded down: it is not the amount that anything here was sold for.
    """
    factor, divisor, _ = _RULES.get(currency, (1, 1, 1))
    return stripe_amount * divisor // factor
