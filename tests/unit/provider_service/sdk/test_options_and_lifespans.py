"""What a service is started with, and what it keeps open."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, SecretStr

from provider_service.sdk import Charge, InvalidOption, service
from provider_service.sdk.testing import FakeCharge
from provider_service.services.service import OpenedService
from tests.unit.provider_service.sdk.example_functions import Settings, Text, make_greeter, shout

SECRET = "hunter2"


class Typed(BaseModel):
    path: Path
    seconds: Annotated[float, Field(gt=0)] = 1.0
    token: SecretStr | None = None


async def test_a_lifespan_spans_all_requests_and_gets_the_options() -> None:
    log: list[str] = []
    greet = make_greeter(log).create_service({"greeting": "hello"})
    assert isinstance(greet, OpenedService)
    assert log == []
    await greet.open()
    for name in ("Ada", "Bob"):
        assert await greet.perform({"text": name}, FakeCharge()) == {"text": f"Hello {name}"}
    assert log == ["opened with hello"]
    await greet.close()
    assert log == ["opened with hello", "closed"]


async def test_each_service_made_has_options_and_a_lifespan_of_its_own() -> None:
    declared = make_greeter([])
    one, other = (declared.create_service({"greeting": greeting}) for greeting in ("hello", "bye"))
    await one.open()
    await other.open()
    assert await one.perform({"text": "A"}, FakeCharge()) == {"text": "Hello A"}
    assert await other.perform({"text": "A"}, FakeCharge()) == {"text": "Bye A"}
    await one.close()
    await other.close()


async def test_work_before_the_lifespan_is_a_bug_that_says_so() -> None:
    greet = make_greeter([]).create_service({"greeting": "hello"})
    with pytest.raises(RuntimeError, match=r"the lifespan of greet has not begun: call open\(\) first"):
        await greet.perform({"text": "A"}, FakeCharge())
    await greet.close()


def test_a_price_may_depend_on_the_options() -> None:
    greet = make_greeter([]).create_service({"greeting": "hello", "times": "7"})
    assert greet.quote({"text": "A"}).credits == 7


@pytest.mark.parametrize(
    ("options", "option", "description"),
    [
        ({}, "greeting", "must be given"),
        ({"greeting": "hello", "times": SECRET}, "times", "must be a whole number"),
        ({"greeting": "hello", "polite": SECRET}, "polite", "must be true or false"),
        ({"greeting": "hello", SECRET[:3]: SECRET}, "hun", "is unknown; there are greeting, ignored, polite, times"),
    ],
)
def test_a_wrong_option_is_refused_at_once_without_its_value(
    options: Mapping[str, str], option: str, description: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        make_greeter([]).create_service(options)
    assert (caught.value.option, caught.value.description) == (option, description)


def test_a_service_without_options_refuses_all() -> None:
    with pytest.raises(InvalidOption, match="option size is unknown: shout has none"):
        shout.create_service({"size": "3"})


async def test_without_a_lifespan_the_third_parameter_is_the_options() -> None:
    @service(name="typed", title="Typed", unit="piece", options=Typed)
    async def typed(request: Text, charge: Charge, options: Typed) -> dict[str, str]:
        assert options.token is not None
        return {"all": f"{options.path} {options.seconds} {options.token.get_secret_value()}"}

    made = typed.create_service({"path": "/tmp", "seconds": "2.5", "token": SECRET})
    assert await made.perform({"text": "a"}, FakeCharge()) == {"all": f"/tmp 2.5 {SECRET}"}
    with pytest.raises(InvalidOption, match=r"option seconds must be greater than 0"):
        typed.create_service({"path": "x", "seconds": "0"})


async def test_a_lifespan_may_be_a_context_manager_without_options() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        log.append("opened")
        try:
            yield
        finally:
            log.append("closed")

    @service(name="logged", title="Logged", unit="piece", lifespan=lifespan)
    async def logged(request: Text, charge: Charge) -> dict[str, str]:
        return {"text": request.text}

    await logged.open()
    assert await logged.perform({"text": "a"}, FakeCharge()) == {"text": "a"}
    await logged.close()
    assert log == ["opened", "closed"]


@dataclass
class Ordered:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("must be low up to high")


def test_a_rule_on_all_options_names_them() -> None:
    @service(name="ordered", title="Ordered", unit="piece", options=Ordered)
    async def ordered(request: Text, charge: Charge) -> dict[str, str]:
        return {}

    with pytest.raises(InvalidOption, match="option high and low must be low up to high"):
        ordered.create_service({"low": "2", "high": "1"})


def test_options_with_defaults_need_not_be_given() -> None:
    assert Settings(greeting="a").times == 1
    greet = make_greeter([]).create_service({"greeting": "hello"})
    assert greet.quote({"text": "A"}).credits == 1
