"""Answers in one piece, and what the gateway sends."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from provider_service.gateways.chat_completions import ChatCompletionsGateway, completions_url
from provider_service.gateways.completions import Answer, Usage
from tests.chat_double.double import KEY, Script, running_chat_double, whole
from tests.unit.provider_service.gateways.chat_calls import REQUEST, Calls, calling

ANSWER = Answer(text="Hello there!", finish_reason="stop", usage=Usage(9, 3), model="double-1")
MAX_COMPLETION_TOKENS = b"""{"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model.
 Use 'max_completion_tokens' instead.", "type": "invalid_request_error", "param": "max_tokens"}}"""
STREAM_OPTIONS = b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]}'


@pytest_asyncio.fixture
async def calls() -> AsyncIterator[Calls]:
    async with running_chat_double() as double, calling(double) as calls:
        yield calls


def answering(document: object) -> Script:
    return Script(body=json.dumps(document).encode())


async def test_a_request_is_posted_with_the_key(calls: Calls) -> None:
    assert await calls.gateway.complete(replace(REQUEST, temperature=0.5, stop=("END", "."))) == ANSWER
    (asked,) = calls.double.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["X-Client-Request-Id"] == REQUEST.request_id
    assert asked.headers["Accept-Encoding"] == "identity"
    assert asked.body == {
        "model": "double-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße 😀"}],
        "max_tokens": 16,
        "temperature": 0.5,
        "stop": ["END", "."],
        "stream": False,
    }


async def test_what_was_not_asked_for_is_left_out(calls: Calls) -> None:
    await calls.gateway.complete(REQUEST)
    await calls.stream()
    whole_body, streamed_body = (asked.body for asked in calls.double.asked)
    assert whole_body.keys() == {"model", "messages", "max_tokens", "stream"}
    assert streamed_body == whole_body | {"stream": True, "stream_options": {"include_usage": True}}


async def test_without_a_key_there_is_no_authorization(calls: Calls) -> None:
    gateway = ChatCompletionsGateway(url=calls.double.url)
    await gateway.complete(REQUEST)
    await gateway.close()
    assert "Authorization" not in calls.double.asked[0].headers


@pytest.mark.parametrize(
    ("url", "posted_to"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1/chat/completions"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/chat/completions"),
        ("https://a.example/x?version=1", "https://a.example/x/chat/completions?version=1"),
    ],
)
def test_the_path_is_added_to_the_url(url: str, posted_to: str) -> None:
    assert completions_url(url) == posted_to


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        (whole("Hi"), Answer(text="Hi", finish_reason="stop")),
        (whole("", finish_reason="length"), Answer(finish_reason="length")),
        (whole("Hi", finish_reason=None, model=None, usage=None), Answer(text="Hi")),
        ({"choices": [{"message": {"content": None}}]}, Answer()),
        ({"choices": [{"message": {}}, {"message": {"content": "the second"}}]}, Answer()),
        (
            {"choices": [{"message": {"content": [{"type": "thinking"}, {"type": "text", "text": "Hi"}, 7]}}]},
            Answer(text="Hi"),
        ),
        (whole("\ud83d\ude00, \ude00 and \ud83d"), Answer(text="😀, \ufffd and ", finish_reason="stop")),
        (whole("Hi", model="a\nb", finish_reason=""), Answer(text="Hi")),
        (whole("Hi", error=None), Answer(text="Hi", finish_reason="stop")),
    ],
)
async def test_answers_are_read_for_what_they_have(calls: Calls, document: object, answer: Answer) -> None:
    calls.double.play(answering(document))
    assert await calls.gateway.complete(REQUEST) == answer


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 0}, Usage(7, 0)),
        ({"prompt_tokens": 7.0, "completion_tokens": 2.0, "total_tokens": None}, Usage(7, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 7}, None),
        ({"total_tokens": 9}, None),
        ({"prompt_tokens": True, "completion_tokens": True}, None),
        ({"prompt_tokens": "7", "completion_tokens": "2"}, None),
        ({"prompt_tokens": 7, "completion_tokens": -1}, None),
        ({"prompt_tokens": 7.5, "completion_tokens": 2}, None),
        ({"prompt_tokens": 10**12, "completion_tokens": 2}, None),
        ([7, 2], None),
    ],
)
async def test_usage_is_both_figures_or_none(calls: Calls, usage: object, read: Usage | None) -> None:
    calls.double.play(answering(whole("Hi", usage=usage)))
    assert (await calls.gateway.complete(REQUEST)).usage == read


async def test_figures_that_are_no_numbers_are_none(calls: Calls) -> None:
    calls.double.play(Script(body=json.dumps(whole("Hi", usage={"prompt_tokens": float("nan")})).encode()))
    assert (await calls.gateway.complete(REQUEST)).usage is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"from-the-body",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b"\xff",
        b"[" * 100_000,
        json.dumps(whole("a" * (3 << 20))).encode(),
    ],
    ids=lambda body: f"{body[:20]!r}-{len(body)}",
)
async def test_what_is_no_answer_is_a_failure_for_good(calls: Calls, body: bytes) -> None:
    calls.double.play(Script(body=body))
    error = await calls.refused(is_streamed=False)
    assert (str(error), error.retryable) == ("the language model answered in a form that is not understood", False)


async def test_a_model_that_wants_another_limit_is_asked_again_and_remembered(calls: Calls) -> None:
    calls.double.play(Script(status=400, body=MAX_COMPLETION_TOKENS), Script())
    assert await calls.gateway.complete(REQUEST) == ANSWER
    assert await calls.gateway.complete(REQUEST) == ANSWER
    await calls.gateway.complete(replace(REQUEST, model="other"))
    limits = [sorted(asked.body.keys() & {"max_tokens", "max_completion_tokens"}) for asked in calls.double.asked]
    assert limits == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"], ["max_tokens"]]


async def test_a_server_without_stream_options_is_asked_again_without(calls: Calls) -> None:
    calls.double.play(Script(status=400, body=MAX_COMPLETION_TOKENS), Script(status=422, body=STREAM_OPTIONS), Script())
    assert await calls.text() == "Hello there!"
    last = calls.double.asked[-1].body
    assert ("stream_options" in last, last["max_completion_tokens"]) == (False, 16)
    assert len(calls.double.asked) == 3


@pytest.mark.parametrize("body", [MAX_COMPLETION_TOKENS, STREAM_OPTIONS])
async def test_a_form_that_is_refused_again_is_a_failure(calls: Calls, body: bytes) -> None:
    calls.double.play(Script(status=400, body=body))
    error = await calls.refused(is_streamed=True)
    assert (error.retryable, len(calls.double.asked)) == (False, 2)


async def test_one_connection_serves_many_answers(calls: Calls) -> None:
    for _ in range(3):
        await calls.gateway.complete(REQUEST)
        await calls.stream()
    session = calls.gateway._session
    assert session is not None
    assert session.connector is not None
    connections: Any = session.connector
    assert sum(map(len, connections._conns.values())) == 1
    await calls.gateway.close()
    assert session.closed


async def test_no_number_of_requests_waits_for_a_connection(calls: Calls) -> None:
    hold = asyncio.Event()
    calls.double.play(Script(hold=hold))
    streams = [asyncio.create_task(calls.stream()) for _ in range(120)]
    async with asyncio.timeout(20):
        while len(calls.double.asked) < len(streams):  # noqa: ASYNC110 - what is waited for is beyond a connection
            await asyncio.sleep(0.01)
    hold.set()
    assert all(len(pieces) == 5 for pieces in await asyncio.gather(*streams))


async def test_closing_before_the_first_request_is_fine() -> None:
    await ChatCompletionsGateway(url="http://127.0.0.1:9").close()
