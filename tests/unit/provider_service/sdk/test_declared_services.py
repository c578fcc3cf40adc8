"""Services made of functions, served and charged for over real connections."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from iap.provider.v1.provider_pb2 import ListServicesRequest, QuoteRequest

from client_stub.errors import InsufficientCreditsError, InvalidArgumentError, ServiceFailedError
from client_stub.structs import from_struct, to_struct
from provider_service.sdk import Charge, Json, Quote, service
from provider_service.sdk.testing import FakeCharge
from tests.unit.provider_service.broker_double import CAPTURED, RELEASED, BrokerDouble
from tests.unit.provider_service.harness import Provider, providing, refusal_of
from tests.unit.provider_service.sdk.example_functions import Found, Text, fail, more, nothing, search, shout


@pytest_asyncio.fixture
async def provider(broker_address: str) -> AsyncIterator[Provider]:
    async with providing(broker_address, [shout, search, more, fail, nothing]) as running:
        yield running


async def test_a_function_is_sold_at_its_price(broker: BrokerDouble, provider: Provider) -> None:
    token = broker.open_account(10, service="shout")
    served = await provider.serve(service="shout", account_token=token, service_input={"text": "hey", "times": 2})
    assert from_struct(served.output) == {"text": "HEYHEY"}
    assert (served.charged_credits, served.balance.available_credits) == (3, 7)


async def test_the_work_says_what_it_cost(broker: BrokerDouble, provider: Provider) -> None:
    token = broker.open_account(10, service="search")
    haystack = "." * 15 + "needle" + "." * 30
    served = await provider.serve(
        service="search", account_token=token, service_input={"haystack": haystack, "needle": "needle"}
    )
    assert from_struct(served.output) == {"position": 15, "steps": 15}
    assert [reservation.reserved_credits for reservation in broker.reservations] == [6]
    assert (served.charged_credits, served.balance.available_credits) == (2, 8)


async def test_work_that_turns_out_larger_asks_for_more(broker: BrokerDouble, provider: Provider) -> None:
    token = broker.open_account(5, service="more")
    served = await provider.serve(service="more", account_token=token, service_input={"text": "a", "times": 3})
    assert (from_struct(served.output), served.charged_credits) == ({"credits": 4}, 4)
    refused = await provider.refused(service="more", account_token=token, service_input={"text": "a", "times": 3})
    assert isinstance(refused, InsufficientCreditsError)
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED, RELEASED]


@pytest.mark.parametrize(("text", "code"), [("try again", "UNAVAILABLE"), ("never", "FAILED_PRECONDITION")])
async def test_work_that_fails_is_not_charged(broker: BrokerDouble, provider: Provider, text: str, code: str) -> None:
    token = broker.open_account(10, service="fail")
    refused = await provider.refused(service="fail", account_token=token, text=text)
    assert isinstance(refused, ServiceFailedError)
    assert (refused.code.name, refused.message) == (code, "the machine is broken; nothing was charged")
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_an_input_found_wrong_at_work_is_not_charged(broker: BrokerDouble, provider: Provider) -> None:
    refused = await provider.refused(service="fail", account_token=broker.open_account(10, service="fail"), text="late")
    assert isinstance(refused, InvalidArgumentError)
    assert refused.violations == {"input.text": "must be early"}
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_an_answer_that_is_none_is_a_bug_and_not_charged(broker: BrokerDouble, provider: Provider) -> None:
    refused = await provider.refused(service="nothing", account_token=broker.open_account(1, service="nothing"))
    assert refused.code.name == "INTERNAL"
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]
    with pytest.raises(TypeError, match=r"nothing must answer with a mapping, .* not NoneType"):
        await nothing.perform({"text": "a"}, FakeCharge())


async def test_a_quote_comes_with_its_breakdown(provider: Provider) -> None:
    quote = await provider.stub.Quote(QuoteRequest(service="shout", input=to_struct({"text": "hello"})))
    assert (quote.credits, quote.unit_name) == (5, "character")
    assert from_struct(quote.breakdown) == {"characters": 5}


async def test_a_plain_price_has_no_breakdown(provider: Provider) -> None:
    quote = await provider.stub.Quote(QuoteRequest(service="fail", input=to_struct({"text": "hello"})))
    assert (quote.credits, from_struct(quote.breakdown)) == (3, {})


@pytest.mark.parametrize(
    ("name", "service_input", "violations"),
    [
        (
            "shout",
            {"times": "3", "loud": True},
            {
                "input.text": "must be given",
                "input.times": "must be a whole number",
                "input.loud": "must be left out: there is no such field",
            },
        ),
        ("shout", {"text": ""}, {"input.text": "must have at least 1 character"}),
        (
            "search",
            {"haystack": "a", "needle": "abc"},
            {"input": "must have a needle that fits into the haystack"},
        ),
    ],
)
async def test_a_wrong_input_costs_nothing_and_is_named(
    broker: BrokerDouble, provider: Provider, name: str, service_input: dict[str, object], violations: dict[str, str]
) -> None:
    token = broker.open_account(10, service=name)
    served = await provider.refused(service=name, account_token=token, service_input=service_input)
    quoted = await refusal_of(provider.stub.Quote(QuoteRequest(service=name, input=to_struct(service_input))))
    for refused in (served, quoted):
        assert isinstance(refused, InvalidArgumentError)
        assert refused.violations == violations
    assert broker.reservations == []


async def test_the_list_of_services_shows_titles_units_and_schemas(provider: Provider) -> None:
    listed = (await provider.stub.ListServices(ListServicesRequest())).services
    assert [entry.service for entry in listed] == ["fail", "more", "nothing", "search", "shout"]
    assert (listed[4].title, listed[4].unit_name) == ("Shouting", "character")
    schema = from_struct(listed[4].input_schema)
    assert (schema["required"], schema["additionalProperties"]) == (["text"], False)
    assert schema["properties"] == {
        "text": {"type": "string", "minLength": 1},
        "times": {"type": "integer", "default": 1},
    }


@pytest.mark.parametrize("priced", [0, -1, 1.5, True, None, Quote(credits=0), Quote(credits=2.0)])  # type: ignore[arg-type]
def test_what_is_no_price_is_a_bug_that_says_so(priced: Any) -> None:
    @service(name="wrong", title="Wrong", unit="piece", price=lambda _request: priced)
    async def wrong(request: Text, charge: Charge) -> dict[str, str]:
        return {}

    with pytest.raises((TypeError, ValueError), match="the price of wrong must be"):
        wrong.quote({"text": "a"})


async def test_an_output_may_hold_dataclasses_and_times() -> None:
    @service(name="mixed", title="Mixed", unit="piece")
    async def mixed(request: Text, charge: Charge) -> dict[str, object]:
        return {"found": [Found(1, 2)], "at": datetime(2026, 1, 2), "took": timedelta(seconds=3)}  # noqa: DTZ001

    output = await mixed.perform({"text": "a"}, FakeCharge())
    assert output == {"found": [{"position": 1, "steps": 2}], "at": "2026-01-02T00:00:00", "took": "PT3S"}
    to_struct(output)


async def test_a_request_may_be_a_mapping() -> None:
    @service(name="count", title="Counting", unit="field", price=len)
    async def count(request: dict[str, Json], charge: Charge) -> dict[str, object]:
        return {"fields": sorted(request)}

    assert count.quote({"a": 1, "b": 2}) == Quote(credits=2)
    assert await count.perform({"a": 1, "b": 2}, FakeCharge()) == {"fields": ["a", "b"]}
