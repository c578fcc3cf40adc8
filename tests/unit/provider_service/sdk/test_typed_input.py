"""What a request's type makes of inputs: what it takes, what it refuses, and in which words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from client_stub.structs import from_struct, to_struct
from provider_service.sdk import InvalidDeclaration, InvalidInput, Json
from provider_service.sdk.typed_input import make_input_reader

SECRET = "hunter2"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    text: str
    count: int = 1


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


@dataclass
class Everything:
    whole: int = 1
    number: float = 1.0
    exact: Decimal = Decimal(1)
    flag: bool = True
    text: str = ""
    short: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]*$")] = "abc"
    limited: Annotated[int, Field(gt=0, le=10)] = 1
    even: Annotated[int, AfterValidator(_even)] = 2
    colour: Colour = Colour.RED
    choice: Literal["a", "b"] = "a"
    day: date = date(2026, 1, 1)
    moment: datetime = datetime(2026, 1, 1)  # noqa: DTZ001 - never used
    span: timedelta = timedelta(seconds=1)
    identity: UUID | None = None
    either: int | list[str] = 1
    lines: list[Line] = field(default_factory=list)
    pair: tuple[int, int] = (1, 2)
    by_name: dict[str, int] = field(default_factory=dict)
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


def read(request_type: Any, service_input: Mapping[str, Any]) -> Any:
    return make_input_reader(request_type, where="here").read(service_input)


def violations(request_type: Any, service_input: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        read(request_type, service_input)
    assert SECRET not in str(caught.value)
    found = {violation.field: violation.description for violation in caught.value.violations}
    assert len(found) == len(caught.value.violations)
    return found


def test_an_input_from_the_wire_becomes_the_type() -> None:
    sent = {
        "whole": 3,
        "number": 3,
        "exact": "1.10",
        "colour": "blue",
        "day": "2026-02-03",
        "moment": "2026-02-03T04:05:06Z",
        "span": "PT2S",
        "identity": "11111111-2222-4333-8444-555555555555",
        "either": ["x"],
        "lines": [{"text": "a"}, {"text": "b", "count": 2.0}],
        "pair": [3, 4],
        "by_name": {"a": 1},
        "pet": {"kind": "cat", "lives": 9},
    }
    request = read(Everything, from_struct(to_struct(sent)))
    assert (request.whole, type(request.whole), request.number, type(request.number)) == (3, int, 3.0, float)
    assert (request.exact, request.colour, request.day) == (Decimal("1.10"), Colour.BLUE, date(2026, 2, 3))
    assert (request.span, request.identity.hex[:8]) == (timedelta(seconds=2), "11111111")
    assert (request.either, request.lines) == (["x"], [Line("a"), Line("b", 2)])
    assert (request.pair, request.by_name, request.pet) == ((3, 4), {"a": 1}, Cat(kind="cat", lives=9))


def test_a_whole_number_may_come_as_a_double() -> None:
    assert read(Line, {"text": "a", "count": 3.0}) == Line("a", 3)


@pytest.mark.parametrize(
    ("service_input", "description"),
    [
        ({"whole": 3.5}, "must be a whole number"),
        ({"whole": "3"}, "must be a whole number"),
        ({"whole": True}, "must be a whole number"),
        ({"whole": None}, "must be a whole number"),
        ({"whole": 1e300}, "must be a whole number"),
        ({"number": SECRET}, "must be a number"),
        ({"number": float("nan")}, "must be a finite number"),
        ({"number": float("-inf")}, "must be a finite number"),
        ({"exact": SECRET}, "must be a number"),
        ({"flag": 1}, "must be true or false"),
        ({"flag": "true"}, "must be true or false"),
        ({"text": 3}, "must be text"),
        ({"short": "a"}, "must have at least 2 characters"),
        ({"short": "abcde"}, "must have at most 4 characters"),
        ({"short": "ab1"}, "must match pattern '^[a-z]*$'"),
        ({"limited": 0}, "must be greater than 0"),
        ({"limited": 11}, "must be less than or equal to 10"),
        ({"even": 3}, "must be even"),
        ({"colour": SECRET}, "must be 'red' or 'blue'"),
        ({"choice": SECRET}, "must be 'a' or 'b'"),
        ({"day": SECRET}, "must be a date such as 2026-01-31"),
        ({"day": 3}, "must be a date such as 2026-01-31"),
        ({"moment": SECRET}, "must be a time such as 2026-01-31T12:00:00Z"),
        ({"span": SECRET}, "must be a duration such as PT30S"),
        ({"identity": SECRET}, "must be a UUID"),
        ({"lines": SECRET}, "must be a list"),
        ({"by_name": [SECRET]}, "must be an object"),
        ({SECRET[:3]: SECRET}, "must be left out: there is no such field"),
    ],
)
def test_what_is_wrong_is_named_in_words_without_its_value(service_input: Mapping[str, Any], description: str) -> None:
    assert violations(Everything, service_input) == {next(iter(service_input)): description}


@pytest.mark.parametrize(
    ("service_input", "found"),
    [
        ({"either": True}, {"either": "must be a whole number or a list"}),
        ({"either": [1]}, {"either": "must be a whole number", "either[0]": "must be text"}),
        ({"lines": [{"text": "a"}, {"count": 1}]}, {"lines[1].text": "must be given"}),
        ({"lines": [{"text": "a", "size": 1}]}, {"lines[0].size": "must be left out: there is no such field"}),
        ({"lines": [3]}, {"lines[0]": "must be an object"}),
        ({"lines": [{"text": "a", "count": float("nan")}]}, {"lines[0].count": "must be a finite number"}),
        ({"pair": [1, "a"]}, {"pair[1]": "must be a whole number"}),
        ({"by_name": {"a": "x"}}, {"by_name.a": "must be a whole number"}),
        ({"pet": {"kind": "cat"}}, {"pet.lives": "must be given"}),
        ({"pet": {"kind": SECRET}}, {"pet.kind": "must be one of 'cat', 'dog'"}),
        ({"pet": {}}, {"pet.kind": "must be given"}),
        ({"whole": "a", "flag": "b"}, {"whole": "must be a whole number", "flag": "must be true or false"}),
    ],
)
def test_each_violation_has_its_path(service_input: Mapping[str, Any], found: dict[str, str]) -> None:
    assert violations(Everything, service_input) == found


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")
    text: str


class Strict(BaseModel):
    text: str
    line: Line | None = None


class Renamed(BaseModel):
    text: str = Field(alias="theText")


class Typed(TypedDict):
    text: str
    count: NotRequired[int]


def test_unknown_fields_are_refused_unless_a_model_says_otherwise() -> None:
    assert violations(Strict, {"text": "a", "more": 1, "line": {"text": "b", "size": 1}}) == {
        "more": "must be left out: there is no such field",
        "line.size": "must be left out: there is no such field",
    }
    assert read(Lenient, {"text": "a", "more": 1}) == Lenient(text="a")


def test_a_field_is_named_as_it_is_sent() -> None:
    assert violations(Renamed, {}) == {"theText": "must be given"}
    assert violations(Renamed, {"theText": 3}) == {"theText": "must be text"}


def test_a_typed_dictionary_is_checked_too() -> None:
    assert read(Typed, {"text": "a"}) == {"text": "a"}
    assert violations(Typed, {"text": "a", "count": "b"}) == {"count": "must be a whole number"}


def test_a_rule_on_the_whole_has_no_field() -> None:
    class Range(BaseModel):
        low: int
        high: int

        def model_post_init(self, _context: object) -> None:
            if self.low > self.high:
                raise ValueError("must have low up to high")

    assert violations(Range, {"low": 2, "high": 1}) == {"": "must have low up to high"}


def test_an_untyped_request_gets_the_input_as_it_is() -> None:
    for annotation in (Mapping[str, Json], dict[str, Any], dict, Mapping):
        assert read(annotation, {"a": [1, None]}) == {"a": [1, None]}


def test_the_schema_says_what_is_checked() -> None:
    schema = make_input_reader(Strict, where="here").schema
    assert schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {
            "Line": {
                "title": "Line",
                "type": "object",
                "properties": {"text": {"type": "string"}, "count": {"type": "integer", "default": 1}},
                "required": ["text"],
                "additionalProperties": False,
            }
        },
        "title": "Strict",
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "line": {"anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}], "default": None},
        },
        "required": ["text"],
        "additionalProperties": False,
    }
    assert "additionalProperties" not in make_input_reader(Lenient, where="here").schema


def test_a_schema_that_would_lose_digits_is_refused_at_once() -> None:
    @dataclass
    class Huge:
        number: Annotated[int, Field(le=2**60)]

    with pytest.raises(InvalidDeclaration, match="JSON Schema cannot be published"):
        make_input_reader(Huge, where="here")
