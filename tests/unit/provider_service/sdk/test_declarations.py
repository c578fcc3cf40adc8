"""What can be wrong with how a service is declared, and what its developer is told."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from iap.broker.v1.catalog_pb2 import CreateServiceRequest

from mesh_runtime.field_rules import check_fields
from provider_service.sdk import AfterCrash, Charge, InvalidDeclaration, Json, service
from tests.unit.provider_service.sdk.example_functions import Text, shout

GOOD: Mapping[str, Any] = {"name": "shout", "title": "Shouting", "unit": "character"}


@dataclass
class NeedsABroker:
    broker: Callable[[], None]


async def good(request: Text, charge: Charge) -> dict[str, str]:
    return {"text": request.text}


def not_async(request: Text, charge: Charge) -> dict[str, str]:
    return {"text": request.text}


async def without_annotation(request, charge):  # type: ignore[no-untyped-def]
    return {}


async def of_text(request: str, charge: Charge) -> dict[str, str]:
    return {"text": request}


async def of_the_unreadable(request: NeedsABroker, charge: Charge) -> dict[str, str]:
    return {}


async def of_the_unknown(request: "Nowhere", charge: Charge) -> dict[str, str]:  # type: ignore[name-defined]  # noqa: F821 - as said
    return {}


async def without_charge(request: Text) -> dict[str, str]:
    return {"text": request.text}


async def with_a_resource(request: Text, charge: Charge, client: object) -> dict[str, str]:
    return {"text": request.text}


async def with_four(request: Text, charge: Charge, client: object, other: object) -> dict[str, str]:
    return {"text": request.text}


async def answering_text(request: Text, charge: Charge) -> str:
    return request.text


async def answering_nothing(request: Text, charge: Charge) -> None:
    return None


async def price_with_io(request: Text) -> int:
    return 1


def lifespan_of_options(options: object) -> AsyncIterator[int]:
    raise NotImplementedError


async def lifespan_without_yield() -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (not_async, "must be async: write `async def not_async"),
        (without_annotation, "needs its type, a dataclass, a pydantic model or Mapping"),
        (of_text, "must be a dataclass, a pydantic model or Mapping.*; it is str"),
        (of_the_unreadable, "of_the_unreadable: the request's"),
        (of_the_unknown, "Nowhere is not known where the function is declared"),
        (without_charge, "must take the request and the charge"),
        (with_a_resource, "has a third parameter, client: give @service options= or lifespan="),
        (with_four, "must take the request and the charge"),
        (answering_text, "must return a mapping, a dataclass or a pydantic model, not str"),
        (answering_nothing, "must return a mapping, .* not None"),
        (Text, "for an async function, not for type"),
    ],
)
def test_a_function_that_cannot_be_sold_says_what_to_write(function: Any, message: str) -> None:
    with pytest.raises(InvalidDeclaration, match=message):
        service(**GOOD)(function)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Shout"}, "name must be 2 to 63 characters"),
        ({"name": "s"}, "name must be"),
        ({"name": "s" * 64}, "name must be"),
        ({"name": "shout\n"}, "name must be"),
        ({"name": 3}, "name must be text, not int"),
        ({"title": ""}, "title must be 1 to 100 characters"),
        ({"title": "x" * 101}, "title must be"),
        ({"unit": "x" * 41}, "unit must be 1 to 40 characters"),
        ({"unit": "a\0"}, "unit must be"),
        ({"after_crash": "repeat"}, 'after_crash must be "release" or "resume"'),
        ({"price": 0}, "price must be whole credits, at least 1"),
        ({"price": 1.5}, "price must be whole credits"),
        ({"price": True}, "price must be whole credits"),
        ({"price": price_with_io}, "price must be a plain function"),
        ({"price": lambda: 1}, "price must take the request"),
        ({"price": lambda request, options: 1}, "give options="),
        ({"options": dict}, "options must be a dataclass or a pydantic model"),
        ({"options": Text("a")}, "options must be a dataclass"),
        ({"options": NeedsABroker}, "options of shout cannot be read"),
        ({"lifespan": lifespan_of_options}, "lifespan must take no arguments"),
        ({"lifespan": lifespan_without_yield}, "lifespan must be an async context manager"),
        ({"lifespan": 3}, "lifespan must be"),
    ],
)
def test_a_wrong_argument_says_what_it_must_be(arguments: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InvalidDeclaration, match=message):
        service(**{**GOOD, **arguments})(good)


@pytest.mark.parametrize("name", ["ab", "a0-", "a" * 63])
def test_names_are_as_the_broker_wants_them(name: str) -> None:
    declared = service(name=name, title="t" * 100, unit="u" * 40)(good)
    request = CreateServiceRequest(
        request_id="11111111-2222-4333-8444-555555555555",
        service=declared.name,
        title=declared.title,
        unit_name=declared.unit_name,
    )
    assert not check_fields(request)


async def test_a_service_can_be_called_as_the_function_it_is(charge: Charge) -> None:
    assert await shout(Text("hey", times=2), charge) == {"text": "HEYHEY"}
    assert shout.__doc__ == "Shouts."


def test_a_service_gives_work_up_after_a_crash_unless_it_says_otherwise() -> None:
    assert shout.after_crash is AfterCrash.RELEASE
    assert service(**GOOD, after_crash="resume")(good).after_crash is AfterCrash.RESUME


def test_annotations_may_be_aliases_unions_and_objects() -> None:
    async def union(request: Mapping[str, Json], charge: Charge) -> dict[str, str] | Text:
        return {}

    async def anything(request: dict[str, Any], charge: Charge) -> Any:
        return {}

    for function in (union, anything):
        assert service(**GOOD)(function).input_schema["type"] == "object"
