"""Services that answer in chunks."""

from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from provider_service.sdk import Charge, DeclaredService, InvalidDeclaration, StreamCharge, service
from provider_service.sdk.testing import FakeCharge, FakeStreamCharge
from provider_service.services.charge import InsufficientCredits
from provider_service.services.service import is_streamed
from tests.unit.provider_service.sdk.example_functions import Found, Text, shout


async def spell(request: Text, charge: StreamCharge) -> AsyncGenerator[dict[str, str], None]:
    for letter in request.text:
        await charge.meter(2)
        yield {"letter": letter}


def make_spelling() -> DeclaredService[..., AsyncGenerator[dict[str, str], None]]:
    return service(name="spell", title="Spelling", unit="letter", price=4, slice_credits=5)(spell)


async def collect(chunks: AsyncIterator[object]) -> list[object]:
    return [chunk async for chunk in chunks]


async def test_a_function_that_yields_is_a_service_that_streams() -> None:
    spelling = make_spelling()
    assert is_streamed(spelling)
    assert (spelling.streams_only, spelling.slice_credits) == (True, 5)
    charge = FakeStreamCharge()
    assert await collect(spelling.stream({"text": "hi"}, charge)) == [{"letter": "h"}, {"letter": "i"}]
    assert charge.metered_credits == 4
    made = spelling.create_service({})
    assert is_streamed(made)
    assert len(await collect(made.stream({"text": "abc"}, FakeStreamCharge()))) == 3


async def test_a_function_that_returns_does_not_stream_until_told_how() -> None:
    @service(name="both", title="Both", unit="piece")
    async def both(request: Text, charge: Charge) -> dict[str, str]:
        return {"text": request.text}

    assert not is_streamed(both)

    @both.streaming
    async def both_in_chunks(request: Text, charge: StreamCharge) -> AsyncGenerator[Found, None]:
        yield Found(position=1, steps=request.times)

    for made in (both, both.create_service({})):
        assert is_streamed(made)
        assert not made.streams_only
        assert await made.perform({"text": "a"}, FakeCharge()) == {"text": "a"}
        assert await collect(made.stream({"text": "a", "times": 2}, FakeStreamCharge())) == [
            {"position": 1, "steps": 2}
        ]
    assert len(await collect(both_in_chunks(Text("a"), FakeStreamCharge()))) == 1
    with pytest.raises(InvalidDeclaration, match="both streams already"):
        both.streaming(both_in_chunks)


def test_what_cannot_be_streamed_says_what_to_write() -> None:
    async def without_yield(request: Text, charge: Charge) -> dict[str, str]:
        return {}

    async def of_another_type(request: Found, charge: Charge) -> AsyncGenerator[Found, None]:
        yield request

    with pytest.raises(InvalidDeclaration, match="must stream: write `yield` in it"):
        shout.streaming(without_yield)  # type: ignore[type-var]
    with pytest.raises(InvalidDeclaration, match="must take the same type of request as shout"):
        shout.streaming(of_another_type)


async def test_a_stream_that_is_left_is_closed_at_once() -> None:
    closed: list[bool] = []

    @service(name="endless", title="Endless", unit="piece")
    async def endless(request: Text, charge: StreamCharge) -> AsyncGenerator[dict[str, str], None]:
        try:
            while True:
                yield {"text": request.text}
        finally:
            closed.append(True)

    chunks = endless.create_service({})
    assert is_streamed(chunks)
    stream = chunks.stream({"text": "a"}, FakeStreamCharge())
    assert isinstance(stream, AsyncGenerator)
    assert await anext(stream) == {"text": "a"}
    await stream.aclose()
    assert closed == [True]


async def test_a_stream_ends_when_the_credits_do() -> None:
    charge = FakeStreamCharge(available=3)
    chunks = make_spelling().create_service({})
    assert is_streamed(chunks)
    stream = chunks.stream({"text": "hello"}, charge)
    assert await anext(stream) == {"letter": "h"}
    with pytest.raises(InsufficientCredits):
        await anext(stream)
    assert charge.metered_credits == 2
