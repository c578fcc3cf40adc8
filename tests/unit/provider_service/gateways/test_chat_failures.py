"""What the gateway makes of refusals, of silence and of connections that fail."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.chat_double.double import KEY, ChatDouble, Script, event, piece, running_chat_double
from tests.unit.provider_service.gateways.chat_calls import REQUEST, Calls, calling

UNUSABLE = "the language model cannot be used at the moment"
BUSY = "the language model is busy or out of order"
TOO_LONG = "the prompt and max_tokens are more than the language model can take"
FILTERED = "the prompt was refused by the language model's content filter"
REFUSED = "the language model refused the request (HTTP status 400)"
LATE = "the language model did not answer in time"


@pytest_asyncio.fixture
async def double() -> AsyncIterator[ChatDouble]:
    async with running_chat_double() as double:
        yield double


@pytest_asyncio.fixture
async def calls(double: ChatDouble) -> AsyncIterator[Calls]:
    async with calling(double) as calls:
        yield calls


def refusing(status: int, error: object = "from-the-body", **headers: str) -> Script:
    return Script(status=status, body=json.dumps(error).encode(), headers=headers)


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    ("script", "message", "retryable"),
    [
        (refusing(400), REFUSED, False),
        (refusing(418), "the language model refused the request (HTTP status 418)", False),
        (refusing(400, {"error": {"code": "context_length_exceeded", "message": "from-the-body"}}), TOO_LONG, False),
        (refusing(413), TOO_LONG, False),
        (refusing(400, {"error": {"code": "content_filter"}}), FILTERED, False),
        (refusing(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), UNUSABLE, False),
        (refusing(403), UNUSABLE, False),
        (refusing(402), UNUSABLE, False),
        (refusing(404), UNUSABLE, False),
        (refusing(302, Location="/v1/elsewhere"), UNUSABLE, False),
        (refusing(429, {"error": {"code": "insufficient_quota"}}), UNUSABLE, False),
        (refusing(429), BUSY, True),
        (refusing(408), BUSY, True),
        (refusing(500), BUSY, True),
        (refusing(599), BUSY, True),
        (refusing(429, **{"Retry-After": "20"}), f"{BUSY}; it asks to be tried again in 20 s", True),
        (refusing(503, **{"Retry-After": "soon"}), BUSY, True),
        (refusing(503, **{"Retry-After": "-1"}), BUSY, True),
        (refusing(503, **{"Retry-After": "9" * 5000}), BUSY, True),
        (refusing(503, **{"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"}), BUSY, True),
        (
            Script(status=400, body=b"from-the-body " * 10_000),
            REFUSED,
            False,
        ),
        (Script(status=503, body=b"{", ends="broken"), BUSY, True),
    ],
)
async def test_refusals_are_told_apart(
    calls: Calls, script: Script, message: str, retryable: bool, is_streamed: bool
) -> None:
    calls.double.play(script)
    error = await calls.refused(is_streamed=is_streamed)
    assert (str(error), error.retryable) == (message, retryable)
    assert len(calls.double.asked) == 1


async def test_a_date_to_come_back_at_is_understood(calls: Calls) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    calls.double.play(refusing(503, **{"Retry-After": date}))
    told = str(await calls.refused(is_streamed=False))
    assert 60 <= int(told.removeprefix(f"{BUSY}; it asks to be tried again in ").removesuffix(" s")) <= 90


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (
            {"error": {"code": "model_not_found", "type": "invalid_request_error"}},
            ["invalid_request_error", "model_not_found"],
        ),
        ({"error": {"code": 404, "message": "from-the-body", "status": "NOT_FOUND"}}, ["NOT_FOUND"]),
        ({"error": "from-the-body"}, []),
        ({"object": "error", "message": "from-the-body", "type": "NotFoundError", "code": 404}, ["NotFoundError"]),
        ({"detail": "from-the-body"}, []),
        ({"detail": [{"msg": "from-the-body"}]}, []),
        ({"error": {"code": f"key {KEY}", "type": ["x"]}}, []),
        ({"error": {"code": KEY, "type": "invalid_api_key"}}, ["invalid_api_key"]),
        ([], []),
    ],
)
async def test_the_operator_is_told_the_names_of_what_is_wrong_and_no_more(
    calls: Calls, error: object, names: list[str]
) -> None:
    calls.double.play(refusing(404, error))
    with capture_logs() as logs:
        assert str(await calls.refused(is_streamed=False)) == UNUSABLE
    assert logs == [
        {
            "event": "completion.endpoint_refuses",
            "log_level": "error",
            "status": 404,
            "names": names,
            "model": "double-1",
            "source": "provider_service.gateways",
        }
    ]


async def test_redirects_are_not_followed(calls: Calls) -> None:
    for status in (301, 307, 308):
        calls.double.play(refusing(status, Location="/v1/chat/completions"))
        assert not (await calls.refused(is_streamed=False)).retryable
    assert len(calls.double.asked) == 3


@pytest.mark.parametrize(
    ("error", "message", "retryable"),
    [
        ({"error": {"message": "from-the-body", "type": "server_error"}}, BUSY, True),
        ({"error": "from-the-body"}, BUSY, True),
        ({"error": {"code": 429}}, BUSY, True),
        ({"error": {"code": 400}}, REFUSED, False),
        ({"error": {"code": 401}}, UNUSABLE, False),
        ({"object": "error", "message": "from-the-body", "code": 40303}, BUSY, True),
        (piece("half", error={"code": 502}), BUSY, True),
    ],
)
async def test_errors_in_the_midst_of_an_answer_are_errors(
    calls: Calls, error: dict[str, object], message: str, retryable: bool
) -> None:
    calls.double.play(Script(body=event(piece("Hello")) + event(error)))
    told = await calls.refused(is_streamed=True)
    assert (str(told), told.retryable) == (message, retryable)
    calls.double.play(Script(body=json.dumps(error).encode()))
    told = await calls.refused(is_streamed=False)
    assert (str(told), told.retryable) == (message, retryable)


async def test_an_answer_in_one_piece_has_its_time(double: ChatDouble) -> None:
    async with calling(double, whole_seconds=0.2) as calls:
        for script in (Script(gate=asyncio.Event()), Script(body=b'{"choices": ', ends="never")):
            double.play(script)
            error = await calls.refused(is_streamed=False)
            assert (str(error), error.retryable) == (LATE, True)


@pytest.mark.parametrize(
    "script",
    [
        Script(gate=asyncio.Event()),
        Script(body=b"data: ", ends="never"),
        # Comments do not stand for an answer.
        Script(body=b": ping\n\n" * 300, cut_bytes=8, delay_seconds=0.02),
        Script(is_stubborn=True, body=b'{"choices": ', ends="never"),
    ],
)
async def test_the_first_piece_has_its_time(double: ChatDouble, script: Script) -> None:
    async with calling(double, first_token_seconds=0.2, whole_seconds=0.3) as calls:
        double.play(script)
        async with asyncio.timeout(20):
            error = await calls.refused(is_streamed=True)
        assert (str(error), error.retryable) == (LATE, True)
        await double.left.wait()


async def test_each_piece_has_its_time_anew(double: ChatDouble) -> None:
    async with calling(double, idle_seconds=1) as calls:
        double.play(Script(pieces=["a"] * 6, delay_seconds=0.15))
        assert await calls.text() == "a" * 6
        double.play(Script(hold=asyncio.Event()))
        error = await calls.refused(is_streamed=True)
        assert (str(error), error.retryable) == (LATE, True)


async def test_a_reader_may_take_its_time(double: ChatDouble) -> None:
    async with calling(double, idle_seconds=0.4) as calls, aclosing(calls.gateway.stream(REQUEST)) as pieces:
        assert (await anext(pieces)).text == "Hello"
        await asyncio.sleep(0.6)
        assert "".join([piece.text async for piece in pieces]) == " there!"


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_refused_connection_is_worth_a_retry(unused_tcp_port: int, is_streamed: bool) -> None:
    double = ChatDouble()
    double.url = f"http://127.0.0.1:{unused_tcp_port}/s3cret"
    async with calling(double) as calls:
        error = await calls.refused(is_streamed=is_streamed)
    assert (str(error), error.retryable) == (
        "the connection to the language model failed (ClientConnectorError)",
        True,
    )


@pytest.mark.parametrize("answer", [b"", b"from-the-body\r\n\r\n", b"HTTP/1.1 abc s3cret\r\n\r\n"])
async def test_a_broken_answer_is_worth_a_retry(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        double = ChatDouble()
        double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/s3cret"
        async with calling(double) as calls:
            error = await calls.refused(is_streamed=False)
    assert error.retryable
    assert str(error).startswith("the connection to the language model failed (")


async def test_a_connection_has_its_time() -> None:
    """A server that never says a word of TLS."""

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(stay_silent, "127.0.0.1", 0) as server:
        double = ChatDouble()
        double.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/s3cret"
        async with calling(double, connect_seconds=0.1) as calls:
            for is_streamed in (False, True):
                async with asyncio.timeout(20):
                    error = await calls.refused(is_streamed=is_streamed)
                assert (str(error), error.retryable) == ("the language model could not be reached in time", True)
