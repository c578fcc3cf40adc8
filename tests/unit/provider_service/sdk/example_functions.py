"""Services made of functions, for tests."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from provider_service.sdk import Charge, DeclaredService, InvalidInput, Quote, ServiceFailure, service
from provider_service.services.service import FieldViolation


@dataclass
class Text:
    text: Annotated[str, Field(min_length=1)]
    times: int = 1


def price_by_length(request: Text) -> Quote:
    return Quote(credits=len(request.text), breakdown={"characters": len(request.text)})


@service(name="shout", title="Shouting", unit="character", price=price_by_length)
async def shout(request: Text, _charge: Charge) -> dict[str, str]:
    """Shouts."""
    return {"text": request.text.upper() * request.times}


@dataclass
class Search:
    haystack: str
    needle: str

    def __post_init__(self) -> None:
        if len(self.needle) > len(self.haystack):
            raise ValueError("must have a needle that fits into the haystack")


@dataclass
class Found:
    position: int | None
    steps: int


@service(name="search", title="Searching", unit="10 characters", price=lambda request: 1 + len(request.haystack) // 10)
async def search(request: Search, charge: Charge) -> Found:
    """Costs a credit for every ten characters it has read, which only the search itself shows."""
    position = request.haystack.find(request.needle)
    steps = len(request.haystack) if position < 0 else position
    charge.capture(math.ceil(steps / 10))
    return Found(position=None if position < 0 else position, steps=steps)


@service(name="more", title="More", unit="piece")
async def more(request: Text, charge: Charge) -> dict[str, int]:
    """Finds out at work that it costs more."""
    await charge.extend(credits=request.times)
    return {"credits": charge.credits}


@service(name="fail", title="Failing", unit="piece", price=3)
async def fail(request: Text, _charge: Charge) -> dict[str, str]:
    if request.text == "late":
        raise InvalidInput([FieldViolation("text", "must be early")])
    raise ServiceFailure("the machine is broken", retryable=request.text == "try again")


@service(name="nothing", title="Nothing", unit="piece")
async def nothing(_request: Text, _charge: Charge):  # type: ignore[no-untyped-def]
    return None


@dataclass
class Settings:
    greeting: str
    times: int = 1
    polite: bool = True
    ignored: list[str] = field(default_factory=list)


def price_by_times(_request: Text, settings: Settings) -> int:
    return settings.times


def make_greeter(log: list[str]) -> DeclaredService[..., Any]:
    """A service with options and something that it keeps open, which tells what becomes of it."""

    async def connect(settings: Settings) -> AsyncIterator[str]:
        log.append(f"opened with {settings.greeting}")
        await asyncio.sleep(0)
        yield settings.greeting.capitalize()
        log.append("closed")

    @service(name="greet", title="Greetings", unit="greeting", options=Settings, lifespan=connect, price=price_by_times)
    async def greet(request: Text, _charge: Charge, greeting: str) -> dict[str, str]:
        return {"text": f"{greeting} {request.text}"}

    return greet
