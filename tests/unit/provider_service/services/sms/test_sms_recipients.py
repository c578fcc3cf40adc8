import pytest

from provider_service.services.sms.recipients import E164_EXAMPLE, Recipient, parse_recipient


@pytest.mark.parametrize(
    ("number", "country"),
    [
        (E164_EXAMPLE, "US"),
        ("+16135550100", "CA"),  # +1 is shared by more than twenty countries
        ("+18765550123", "JM"),
        ("+442079460000", "GB"),
        ("+79161234567", "RU"),
        ("+77011234567", "KZ"),  # and +7 by two
        ("+390612345678", "IT"),  # a leading zero that belongs to the number
        ("+38344123456", "XK"),
    ],
)
def test_a_number_belongs_to_a_country(number: str, country: str) -> None:
    assert parse_recipient(number) == Recipient(number=number, country=country)


@pytest.mark.parametrize("number", ["+80012345678", "+881612345678", "+870773111632", "+883510012345678"])
def test_a_number_may_belong_to_no_country(number: str) -> None:
    assert parse_recipient(number) == Recipient(number=number, country=None)


def test_a_trunk_prefix_is_dropped() -> None:
    assert parse_recipient("+4402079460000").number == "+442079460000"


@pytest.mark.parametrize(
    "number",
    [
        "",
        "+",
        "12025550143",
        "0012025550143",
        "+1 202 555 0143",
        "+1-202-555-0143",
        "+1202555014x",
        "+1202KITTENS",
        " +12025550143",
        "+12025550143\n",
        "+12025550143;ext=1",
        "tel:+12025550143",
        "+0123456789",
        "+1234567890123456",
        "\uff0b12025550143",  # a fullwidth plus
        "+1\u0662025550143",  # an Arabic digit
        "+" + "1" * 10_000,
    ],
)
def test_any_other_form_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a phone number in E\.164 form, such as \+12025550143$"):
        parse_recipient(number)


@pytest.mark.parametrize(
    "number",
    ["+12", "+11111111111", "+15555550100", "+4479", "+4420794600001", "+210123456789", "+999123456789"],
)
def test_a_number_outside_every_numbering_plan_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a number of some country's numbering plan"):
        parse_recipient(number)
