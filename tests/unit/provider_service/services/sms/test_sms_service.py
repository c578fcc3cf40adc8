import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from provider_service.gateways.sandbox_sms import FAILING_RECIPIENT
from provider_service.sdk.testing import FakeCharge
from provider_service.services.service import (
    AfterCrash,
    FieldViolation,
    InvalidInput,
    Json,
    Quote,
    Service,
    ServiceFailure,
)
from provider_service.services.sms import create_service

TO = "+12025550143"

ServiceMaker = Callable[[Mapping[str, str]], Service]


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox.txt"


@pytest_asyncio.fixture
async def make_service(tmp_path: Path, outbox: Path) -> AsyncIterator[ServiceMaker]:
    prices = tmp_path / "prices.toml"
    prices.write_text("default = 9\n[countries]\nUS = 2\nCA = 3\n")
    services: list[Service] = []

    def make(options: Mapping[str, str]) -> Service:
        services.append(create_service({"prices": str(prices), **options}))
        return services[-1]

    yield make
    for service in services:
        await service.close()


@pytest.fixture
def service(make_service: ServiceMaker, outbox: Path) -> Service:
    return make_service({"outbox": str(outbox)})


def read(outbox: Path) -> str:
    return outbox.read_text(encoding="utf-8") if outbox.exists() else ""


def find_violations(service: Service, service_input: Mapping[str, Json]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        service.quote(service_input)
    assert len({violation.field for violation in caught.value.violations}) == len(caught.value.violations)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_a_message_costs_its_segments_times_the_price_of_the_country(service: Service) -> None:
    assert service.quote({"to": TO, "text": "a" * 161}) == Quote(
        credits=4,
        breakdown={
            "segments": 2,
            "encoding": "GSM-7",
            "characters": 161,
            "country": "US",
            "credits_per_segment": 2,
        },
    )
    assert service.quote({"to": "+16135550100", "text": "😀ç"}) == Quote(
        credits=3,
        breakdown={
            "segments": 1,
            "encoding": "UCS-2",
            "characters": 2,
            "country": "CA",
            "credits_per_segment": 3,
        },
    )


@pytest.mark.parametrize(("to", "country"), [("+442079460000", "GB"), ("+80012345678", None)])
def test_other_countries_and_none_cost_the_default(service: Service, to: str, country: str | None) -> None:
    quote = service.quote({"to": to, "text": "Hi"})
    assert (quote.credits, quote.breakdown["country"]) == (9, country)


def test_every_violation_is_reported_at_once(service: Service) -> None:
    assert find_violations(service, {"from": "Me", "text": "", "cc": 1.0}) == {
        "cc": "must be left out: the input is `to` and `text`",
        "from": "must be left out: the input is `to` and `text`",
        "text": "must be text with more than white space in it",
        "to": "must be a phone number in E.164 form, such as +12025550143",
    }


@pytest.mark.parametrize("value", [None, 12025550143.0, True, [TO], {"number": TO}, "", "2025550143", "+15555550100"])
def test_the_recipient_must_be_a_phone_number(service: Service, value: Json) -> None:
    assert find_violations(service, {"to": value, "text": "Hi"}).keys() == {"to"}


@pytest.mark.parametrize("value", [None, 1.0, False, ["Hi"], {}, "", " ", "\n\t\u00a0\u3000"])
def test_the_text_must_say_something(service: Service, value: Json) -> None:
    assert find_violations(service, {"to": TO, "text": value}) == {
        "text": "must be text with more than white space in it"
    }


def test_an_unknown_field_alone_is_refused(service: Service) -> None:
    assert find_violations(service, {"to": TO, "text": "Hi", "To": TO}).keys() == {"To"}


def test_half_a_surrogate_pair_is_refused(service: Service) -> None:
    assert find_violations(service, {"to": TO, "text": "Hi \ud83d"}) == {
        "text": "must be Unicode text, without halves of surrogate pairs"
    }


@pytest.mark.parametrize("character", ["\0", "\b", "\v", "\x1b", "\x1f", "\x7f", "\x85", "\x9f"])
def test_a_control_character_that_no_phone_shows_is_refused(service: Service, character: str) -> None:
    assert find_violations(service, {"to": TO, "text": f"Hi{character} there"}) == {
        "text": f"must be text without the control character U+{ord(character):04X}"
    }
    properties = service.input_schema["properties"]
    assert isinstance(properties, dict)
    assert isinstance(properties["text"], dict)
    assert isinstance(properties["text"]["not"], dict)
    assert re.search(str(properties["text"]["not"]["pattern"]), character)


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\r\nb", "a\fb", "a\u00a0b", "👩\u200d💻"])
def test_tabs_ends_of_lines_and_joiners_are_text(service: Service, text: str) -> None:
    assert service.quote({"to": TO, "text": text}).breakdown["segments"] == 1


@pytest.mark.parametrize("longest", ["a" * 1530, "語" * 670, "€" * 760, "😀" * 330])
def test_a_text_takes_at_most_ten_segments(service: Service, longest: str) -> None:
    assert service.quote({"to": TO, "text": longest}).breakdown["segments"] == 10
    assert find_violations(service, {"to": TO, "text": longest + longest[-1]}).keys() == {"text"}


def test_a_text_that_is_too_long_is_told_the_limit(service: Service) -> None:
    assert find_violations(service, {"to": TO, "text": "語" * 671}) == {
        "text": "must fit into 10 segments: it takes 11"
    }
    assert find_violations(service, {"to": TO, "text": "a" * 4_000_000}) == {
        "text": "must fit into 10 segments: it has 4000000 characters"
    }


def test_an_invalid_input_reads_as_one_line() -> None:
    error = InvalidInput([FieldViolation("to", "must be A"), FieldViolation("text", "must be B")])
    assert str(error) == "to must be A; text must be B"


async def test_a_message_is_handed_to_the_gateway(service: Service, outbox: Path) -> None:
    output = await service.perform({"to": "+4402079460000", "text": "Grüße 😀"}, FakeCharge(request_id="r-1"))
    assert output == {
        "message_id": "sandbox-r-1",
        "to": "+442079460000",
        "segments": 1,
        "encoding": "UCS-2",
        "status": "accepted",
    }
    written = read(outbox)
    assert "text message to +442079460000\n    id        r-1\n    segments  1 (UCS-2)\n" in written
    assert "    | Grüße 😀\n" in written


async def test_an_invalid_input_is_not_sent(service: Service, outbox: Path) -> None:
    with pytest.raises(InvalidInput):
        await service.perform({"to": TO, "text": ""}, FakeCharge(request_id="r-1"))
    assert read(outbox) == ""


async def test_a_gateway_that_refuses_is_a_failure_for_good(service: Service, outbox: Path) -> None:
    with pytest.raises(ServiceFailure) as caught:
        await service.perform({"to": FAILING_RECIPIENT, "text": "Hi"}, FakeCharge(request_id="r-1"))
    assert not caught.value.retryable
    assert caught.value.message == str(caught.value)
    assert str(caught.value) == (
        f"sending the text message failed: the sandbox fails every message to {FAILING_RECIPIENT}"
    )
    assert read(outbox) == ""


async def test_a_gateway_out_of_reach_is_a_failure_worth_a_retry(
    make_service: ServiceMaker, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/send?key=s3cret"
    service = make_service({"gateway": "http", "url": url, "token": "s3cret"})
    with pytest.raises(ServiceFailure) as caught:
        await service.perform({"to": TO, "text": "Hi"}, FakeCharge(request_id="r-1"))
    assert caught.value.retryable
    assert "s3cret" not in str(caught.value)


async def test_the_recipients_that_fail_can_be_chosen(make_service: ServiceMaker, outbox: Path) -> None:
    service = make_service({"outbox": str(outbox), "fail": "+61491570156,+4402079460000"})
    for failing in ("+61491570156", "+442079460000"):
        with pytest.raises(ServiceFailure):
            await service.perform({"to": failing, "text": "Hi"}, FakeCharge(request_id="r-1"))
    await service.perform({"to": FAILING_RECIPIENT, "text": "Hi"}, FakeCharge(request_id="r-1"))


def test_the_schema_describes_the_input(service: Service) -> None:
    assert service.input_schema["required"] == ["to", "text"]
    assert service.input_schema["additionalProperties"] is False


def test_only_a_gateway_that_keeps_its_ids_is_asked_again_after_a_crash(make_service: ServiceMaker) -> None:
    assert make_service({"gateway": "sandbox"}).after_crash == AfterCrash.RELEASE
    assert make_service({"gateway": "http", "url": "http://127.0.0.1/send"}).after_crash == AfterCrash.RESUME
