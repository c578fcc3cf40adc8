from collections.abc import Mapping

import pytest

from provider_service.gateways.completions import ChatMessage
from provider_service.services.completion.offer import Offer
from provider_service.services.completion.prices import TokenPrice
from provider_service.services.completion.request import CompletionInput, parse_request
from provider_service.services.completion.schema import describe_input
from provider_service.services.service import InvalidInput, Json

PRICE = TokenPrice(1000, 4000)
OFFER = Offer(
    prices={"small": PRICE, "large": PRICE}, default_max_tokens=20, max_tokens_limit=100, prompt_overhead_tokens=8
)
HI = {"prompt": "Hi"}
TEXT = "must be text with more than white space in it"


def violations(service_input: Mapping[str, Json]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        parse_request(service_input, OFFER)
    found = {violation.field: violation.description for violation in caught.value.violations}
    assert len(found) == len(caught.value.violations)
    return found


def test_a_prompt_alone_is_enough() -> None:
    assert parse_request(HI, OFFER) == CompletionInput(
        messages=(ChatMessage("user", "Hi"),), model="small", max_tokens=20, temperature=None, stop=()
    )


def test_everything_can_be_said() -> None:
    conversation: list[Json] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello 😀"},
    ]
    asked: dict[str, Json] = {
        "messages": conversation,
        "model": "large",
        "max_tokens": 100.0,
        "temperature": 0.0,
        "stop": ["END", "\n"],
    }
    assert parse_request(asked, OFFER) == CompletionInput(
        messages=(
            ChatMessage("system", "Be brief."),
            ChatMessage("user", "Hi"),
            ChatMessage("assistant", "Hello 😀"),
        ),
        model="large",
        max_tokens=100,
        temperature=0.0,
        stop=("END", "\n"),
    )


def test_what_is_null_is_left_out() -> None:
    nothing: dict[str, Json] = dict.fromkeys(("messages", "model", "max_tokens", "temperature", "stop"))
    assert parse_request(nothing | HI, OFFER) == parse_request(HI, OFFER)
    assert parse_request(HI | {"stop": []}, OFFER).stop == ()
    assert parse_request(HI | {"stop": "END"}, OFFER).stop == ("END",)


def test_every_violation_is_reported_at_once() -> None:
    unknown = "must be left out: the input is max_tokens, messages, model, prompt, stop, temperature"
    assert violations(
        {
            "prompt": " ",
            "model": "huge",
            "max_tokens": 0.0,
            "temperature": 2.1,
            "stop": "",
            "top_p": 1.0,
            "stream": True,
        }
    ) == {
        "prompt": TEXT,
        "model": "must be one of small, large",
        "max_tokens": "must be a whole number from 1 to 100",
        "temperature": "must be a number from 0 to 2",
        "stop": "must be text of 1 to 64 characters, or a list of such texts",
        "top_p": unknown,
        "stream": unknown,
    }


@pytest.mark.parametrize("value", [None, 7.0, ["Hi"], {"role": "user"}, "", " \n", True])
def test_a_prompt_is_text(value: Json) -> None:
    assert violations({"prompt": value}) == {"prompt": TEXT}


def test_halves_of_surrogate_pairs_are_no_text() -> None:
    half = "must be Unicode text, without halves of surrogate pairs"
    assert violations({"prompt": "a\ud83d", "stop": ["\ude00"]}) == {"prompt": half, "stop": half}


def test_prompt_and_messages_exclude_each_other() -> None:
    assert violations(HI | {"messages": [{"role": "user", "content": "Hi"}]}) == {
        "prompt": "must be left out where messages are given"
    }


@pytest.mark.parametrize("value", ["Hi", {}, [], [{"role": "user", "content": "Hi"}] * 257, 7.0])
def test_messages_are_a_list_that_is_neither_empty_nor_endless(value: Json) -> None:
    assert violations({"messages": value}) == {"messages": "must be a list of at least 1 and at most 256 messages"}


def test_what_is_wrong_with_a_message_is_told_by_its_place() -> None:
    assert violations(
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "tool", "content": 7.0},
                "Hi",
                {"role": "user", "content": "Hi", "name": "Ada"},
            ]
        }
    ) == {
        "messages[1].role": "must be one of system, user, assistant",
        "messages[1].content": TEXT,
        "messages[2]": "must be an object of role and content",
        "messages[3].name": "must be left out: a message is role and content",
    }


@pytest.mark.parametrize("field", ["prompt", "messages"])
def test_a_conversation_is_bounded_as_a_whole(field: str) -> None:
    longest = 256 * 1024
    half: Json = {"role": "user", "content": "ü" * (longest // 4)}
    whole: dict[str, Json] = {"prompt": "ü" * (longest // 2)} if field == "prompt" else {"messages": [half, half]}
    parse_request(whole, OFFER)
    longer: dict[str, Json] = (
        {"prompt": "ü" * (longest // 2) + "a"}
        if field == "prompt"
        else {"messages": [half, half, {"role": "user", "content": "a"}]}
    )
    assert violations(longer) == {field: f"must be at most 262144 bytes of UTF-8: there are {longest + 1}"}


@pytest.mark.parametrize("value", [0.0, -1.0, 100.5, 101.0, float("nan"), float("inf"), "20", True, [20.0]])
def test_max_tokens_is_a_whole_number_within_the_limit(value: Json) -> None:
    assert violations(HI | {"max_tokens": value}) == {"max_tokens": "must be a whole number from 1 to 100"}


@pytest.mark.parametrize("value", [-0.1, 2.5, float("nan"), "1", False])
def test_temperature_is_a_number_within_bounds(value: Json) -> None:
    assert violations(HI | {"temperature": value}) == {"temperature": "must be a number from 0 to 2"}


@pytest.mark.parametrize(
    ("value", "description"),
    [
        (["a"] * 5, "must be at most 4 texts"),
        (["a", ""], "must be text of 1 to 64 characters, or a list of such texts"),
        ("a" * 65, "must be text of 1 to 64 characters, or a list of such texts"),
        (7.0, "must be text of 1 to 64 characters, or a list of such texts"),
        ({}, "must be text of 1 to 64 characters, or a list of such texts"),
    ],
)
def test_stops_are_a_few_short_texts(value: Json, description: str) -> None:
    assert violations(HI | {"stop": value}) == {"stop": description}


@pytest.mark.parametrize("value", ["", "Small", 1.0, ["small"]])
def test_a_model_is_one_on_offer(value: Json) -> None:
    assert violations(HI | {"model": value}) == {"model": "must be one of small, large"}


def test_the_schema_has_the_fields_and_what_is_on_offer() -> None:
    properties = describe_input(OFFER)["properties"]
    assert isinstance(properties, dict)
    assert properties.keys() == {"prompt", "messages", "model", "max_tokens", "temperature", "stop"}
    assert properties["model"] == {"enum": ["small", "large"], "default": "small"}
    assert isinstance(properties["max_tokens"], dict)
    assert (properties["max_tokens"]["maximum"], properties["max_tokens"]["default"]) == (100, 20)
