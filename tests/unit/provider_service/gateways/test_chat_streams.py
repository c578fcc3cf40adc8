"""Streamed answers, in all the forms that servers make of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from provider_service.gateways.completions import Answer, Usage
from provider_service.gateways.gateway_error import GatewayError
from tests.chat_double.double import Script, event, piece, running_chat_double
from tests.unit.provider_service.gateways.chat_calls import REQUEST, Calls, calling

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3}


@pytest_asyncio.fixture
async def calls() -> AsyncIterator[Calls]:
    async with running_chat_double() as double, calling(double) as calls:
        yield calls


async def test_pieces_come_as_they_are_written_and_the_usage_in_the_end(calls: Calls) -> None:
    assert await calls.stream() == [
        Answer(text="Hello", model="double-1"),
        Answer(text=" there", model="double-1"),
        Answer(text="!", model="double-1"),
        Answer(finish_reason="stop", model="double-1"),
        Answer(usage=Usage(9, 3), model="double-1"),
    ]


async def test_the_first_piece_does_not_wait_for_the_second(calls: Calls) -> None:
    hold = asyncio.Event()
    calls.double.play(Script(hold=hold))
    async with aclosing(calls.gateway.stream(REQUEST)) as pieces:
        async with asyncio.timeout(20):
            assert (await anext(pieces)).text == "Hello"
        hold.set()
        assert "".join([piece.text async for piece in pieces]) == " there!"


@pytest.mark.parametrize("cut_bytes", [1, 3, 7])
async def test_characters_and_events_may_be_cut_anywhere(calls: Calls, cut_bytes: int) -> None:
    document = json.dumps(piece("Grüße 😀"), ensure_ascii=False).encode()
    calls.double.play(Script(body=b"data: " + document + b"\r\n\r\n" + DONE, cut_bytes=cut_bytes))
    assert await calls.text() == "Grüße 😀"


@pytest.mark.parametrize(
    "body",
    [
        # Comments and signs of life between events, and fields that nobody asked for.
        b": ping\n\n" + event(piece("Hi")) + b": ping\n\nevent: ping\n\n" + event({"type": "ping"}) + DONE,
        # Lines that end with CR and LF, and data in several lines.
        b'event: x\r\ndata: {"choices":\r\ndata: [{"delta": {"content": "Hi"}}]}\r\n\r\ndata: [DONE]\r\n\r\n',
        # Nothing after the finish reason: no [DONE], not even an empty line.
        event(piece("Hi")) + event(piece(finish_reason="stop")).rstrip(),
        # No finish reason, but [DONE]; and what comes after that is not read.
        event(piece("Hi")) + b"data:[DONE]\n\n" + event(piece(" again")) + b"data: {",
        # A message where a delta should be, as some proxies have it.
        event({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}),
        # A text whose halves come apart.
        event(piece("H")) + event(piece("i\ud83d")) + DONE,
    ],
)
async def test_streams_are_read_as_servers_write_them(calls: Calls, body: bytes) -> None:
    calls.double.play(Script(body=body))
    assert await calls.text() == "Hi"


async def test_a_character_whose_halves_come_apart_is_put_together(calls: Calls) -> None:
    calls.double.play(Script(pieces=("a\ud83d", "", "\ude00b", "\ude00")))
    assert await calls.text() == "a😀b\ufffd"


async def test_the_last_figures_are_those_that_count(calls: Calls) -> None:
    counted = [event(piece("Hi", usage={**USAGE, "completion_tokens": count})) for count in (1, 2)]
    calls.double.play(Script(body=b"".join([*counted, event(piece(" all", usage=None)), DONE])))
    assert [piece.usage for piece in await calls.stream()] == [Usage(9, 1), Usage(9, 2), None]


async def test_a_server_that_ignores_the_wish_for_usage_gives_none(calls: Calls) -> None:
    calls.double.play(Script(usage=None))
    assert all(piece.usage is None for piece in await calls.stream())


async def test_a_server_that_does_not_stream_answers_in_one_piece(calls: Calls) -> None:
    calls.double.play(Script(is_stubborn=True))
    assert await calls.stream() == [
        Answer(text="Hello there!", finish_reason="stop", usage=Usage(9, 3), model="double-1")
    ]


@pytest.mark.parametrize("is_stubborn", [False, True])
async def test_a_type_with_parameters_is_still_that_type(calls: Calls, is_stubborn: bool) -> None:
    content_type = "application/json" if is_stubborn else "text/event-stream"
    calls.double.play(Script(is_stubborn=is_stubborn, headers={"Content-Type": f"{content_type}; charset=utf-8"}))
    assert await calls.text() == "Hello there!"


@pytest.mark.parametrize("ends", ["well", "broken"])
async def test_a_stream_that_just_stops_is_broken_off(calls: Calls, ends: str) -> None:
    calls.double.play(Script(finish_reason=None, usage=None, is_done=False, ends=ends))
    texts = []

    async def read() -> None:
        async for part in calls.gateway.stream(REQUEST):
            texts.append(part.text)  # noqa: PERF401 - those before the failure count

    with pytest.raises(GatewayError) as caught:
        await read()
    assert "".join(texts) == "Hello there!"
    assert caught.value.retryable
    assert str(caught.value).startswith(
        ("the language model broke off its answer", "the connection to the language model failed")
    )


@pytest.mark.parametrize("ends", ["broken", "never"])
async def test_nothing_is_missed_after_the_finish_reason(calls: Calls, ends: str) -> None:
    async with calling(calls.double, usage_seconds=0.3) as hasty:
        calls.double.play(Script(usage=None, is_done=False, ends=ends))
        assert await hasty.text() == "Hello there!"


async def test_a_response_that_lingers_after_its_end_holds_nobody_up(calls: Calls) -> None:
    calls.double.play(Script(ends="never"))
    async with asyncio.timeout(20):
        assert await calls.text() == "Hello there!"
        await calls.double.left.wait()


@pytest.mark.parametrize(
    "body",
    [
        b"data: from-the-body",
        b"data: 7",
        b"data: [1]",
        b"data: " + b"a" * (2 << 20),
        b"data: " + b"[" * 100_000,
    ],
    ids=lambda body: f"{body[:20]!r}-{len(body)}",
)
async def test_what_is_no_stream_is_a_failure_for_good(calls: Calls, body: bytes) -> None:
    calls.double.play(Script(body=body + b"\n\n"))
    error = await calls.refused(is_streamed=True)
    assert (str(error), error.retryable) == ("the language model answered in a form that is not understood", False)


async def test_closing_the_stream_closes_the_connection(calls: Calls) -> None:
    calls.double.play(Script(hold=asyncio.Event()))
    pieces = calls.gateway.stream(REQUEST)
    assert (await anext(pieces)).text == "Hello"
    await pieces.aclose()
    async with asyncio.timeout(20):
        await calls.double.left.wait()


@pytest.mark.parametrize("script", [Script(gate=asyncio.Event()), Script(hold=asyncio.Event())])
async def test_cancelling_who_waits_closes_the_connection(calls: Calls, script: Script) -> None:
    calls.double.play(script)
    reading = asyncio.create_task(calls.stream())
    async with asyncio.timeout(20):
        while not calls.double.asked:  # noqa: ASYNC110 - what is waited for is beyond a connection
            await asyncio.sleep(0.005)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await calls.double.left.wait()
