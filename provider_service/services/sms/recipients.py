"""Who a text message goes to: phone numbers in E.164 form and the countries they belong to."""

import re
from dataclasses import dataclass

import phonenumbers

E164_PATTERN = r"^\+[1-9][0-9]{1,14}$"
E164_EXAMPLE = "+12025550143"

COUNTRIES = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""The ISO 3166 codes that numbers can belong to, with the few others in use (XK, AC, TA)."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A phone number that exists in its country's numbering plan."""

    number: str
    """The number in E.164 form, without the trunk prefix it may have been written with."""
    country: str | None
    """Two capital letters; None for numbers of no country: satellite phones, international freephone."""


def parse_recipient(number: str) -> Recipient:
    """Reads a number in E.164 form. Raises ValueError with a phrase that says what it must be."""
    if re.fullmatch(E164_PATTERN, number) is None:
        raise ValueError(f"must be a phone number in E.164 form, such as {E164_EXAMPLE}")
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        parsed = phonenumbers.PhoneNumber()
    if not phonenumbers.is_valid_number(parsed):
        raise ValueError("must be a number of some country's numbering plan, or of an international one")
    region = phonenumbers.region_code_for_number(parsed)
    return Recipient(
        number=phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164),
        country=region if region in COUNTRIES else None,
    )
