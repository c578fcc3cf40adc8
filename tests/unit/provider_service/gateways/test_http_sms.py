import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from provider_service.gateways.gateway_error import GatewayError
from provider_service.gateways.http_sms import HttpSmsGateway
from provider_service.gateways.sms import SmsMessage, SmsReceipt

MESSAGE = SmsMessage(request_id="r-1", to="+12025550143", text="Grüße\n😀", segments=1, encoding="UCS-2")
TOKEN = "s3cret-token"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class SmsProvider:
    """An HTTP server that answers every POST as a test wants."""

    answer: Handler
    url: str = ""
    requests: list[tuple[web.Request, bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, await request.read()))
        return await self.answer(request)

    def answer_with(self, **response: object) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(**response)  # type: ignore[arg-type] # each test passes what Response takes

        self.answer = answer


@pytest_asyncio.fixture
async def sms_provider() -> AsyncIterator[SmsProvider]:
    async def accept(_: web.Request) -> web.Response:
        return web.json_response({"message_id": "m-1"}, status=202)

    sms_provider = SmsProvider(answer=accept)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", sms_provider.handle)
    async with TestServer(application) as server:
        sms_provider.url = str(server.make_url("/send?key=s3cret-query"))
        yield sms_provider


@pytest_asyncio.fixture
async def gateway(sms_provider: SmsProvider) -> AsyncIterator[HttpSmsGateway]:
    gateway = HttpSmsGateway(url=sms_provider.url, token=TOKEN, timeout_seconds=5)
    yield gateway
    await gateway.close()


async def refuse(gateway: HttpSmsGateway) -> GatewayError:
    """Sends a message that is not accepted and returns the error, which shows nothing that it should not."""
    with pytest.raises(GatewayError) as caught:
        await gateway.send(MESSAGE)
    shown = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in shown
    assert "from-the-body" not in shown
    return caught.value


async def test_a_message_is_posted_as_json(gateway: HttpSmsGateway, sms_provider: SmsProvider) -> None:
    assert await gateway.send(MESSAGE) == SmsReceipt(message_id="m-1")
    ((request, body),) = sms_provider.requests
    assert (request.method, request.path_qs) == ("POST", "/send?key=s3cret-query")
    assert json.loads(body) == {
        "id": "r-1",
        "to": "+12025550143",
        "text": "Grüße\n😀",
        "segments": 1,
        "encoding": "UCS-2",
    }
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == "r-1"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


async def test_without_a_token_there_is_no_authorization(sms_provider: SmsProvider) -> None:
    gateway = HttpSmsGateway(url=sms_provider.url)
    await gateway.send(MESSAGE)
    await gateway.close()
    assert "Authorization" not in sms_provider.requests[0][0].headers


async def test_cookies_are_not_kept(gateway: HttpSmsGateway, sms_provider: SmsProvider) -> None:
    sms_provider.answer_with(headers={"Set-Cookie": "a=b; Domain=127.0.0.1"})
    await gateway.send(MESSAGE)
    await gateway.send(MESSAGE)
    assert "Cookie" not in sms_provider.requests[1][0].headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"from-the-body",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"message_id": 1}',
        b'{"message_id": ""}',
        b'{"message_id": "a\\nb"}',
        b'{"message_id": "\\ud83d"}',
        b'{"message_id": "' + b"a" * 257 + b'"}',
        b"[" * 65_000,
        b"1" * 65_000,
        b'{"message_id": "m-1"}' + b" " * (64 * 1024),
        b'{"message_id": "m-1"}' + b" " * (8 * 1024 * 1024),
    ],
    ids=lambda body: f"{body[:20]!r}-{len(body)}",
)
async def test_an_accepted_message_without_a_usable_id_goes_by_our_own(
    gateway: HttpSmsGateway, sms_provider: SmsProvider, body: bytes
) -> None:
    sms_provider.answer_with(body=body)
    assert await gateway.send(MESSAGE) == SmsReceipt(message_id="r-1")


@pytest.mark.parametrize("length", [1, 256])
async def test_the_longest_answer_and_id_are_read(
    gateway: HttpSmsGateway, sms_provider: SmsProvider, length: int
) -> None:
    body = json.dumps({"message_id": "m" * length}).ljust(64 * 1024).encode()
    sms_provider.answer_with(body=body, status=299)
    assert await gateway.send(MESSAGE) == SmsReceipt(message_id="m" * length)


async def test_a_compressed_answer_is_not_unpacked(gateway: HttpSmsGateway, sms_provider: SmsProvider) -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.json_response({"message_id": "m-1"})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    sms_provider.answer = answer
    assert await gateway.send(MESSAGE) == SmsReceipt(message_id="r-1")
    assert sms_provider.requests[0][0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [300, 302, 400, 401, 404, 409, 428, 430, 499])
async def test_a_refusal_is_not_worth_a_retry(gateway: HttpSmsGateway, sms_provider: SmsProvider, status: int) -> None:
    sms_provider.answer_with(status=status, text="from-the-body")
    error = await refuse(gateway)
    assert not error.retryable
    assert str(error) == f"the SMS gateway answered with HTTP status {status}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 599])
async def test_a_busy_or_broken_gateway_is_worth_a_retry(
    gateway: HttpSmsGateway, sms_provider: SmsProvider, status: int
) -> None:
    sms_provider.answer_with(status=status, text="from-the-body")
    error = await refuse(gateway)
    assert error.retryable
    assert str(error) == f"the SMS gateway answered with HTTP status {status}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(gateway: HttpSmsGateway, sms_provider: SmsProvider, status: int) -> None:
    sms_provider.answer_with(status=status, headers={"Location": "/elsewhere"})
    assert not (await refuse(gateway)).retryable
    assert len(sms_provider.requests) == 1


async def test_silence_is_worth_a_retry(sms_provider: SmsProvider) -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    sms_provider.answer = answer
    gateway = HttpSmsGateway(url=sms_provider.url, token=TOKEN, timeout_seconds=0.1)
    async with asyncio.timeout(20):
        error = await refuse(gateway)
    await gateway.close()
    assert error.retryable
    assert str(error) == "the SMS gateway did not answer within 0.1 seconds"


@pytest.mark.parametrize("is_cut_off", [False, True])
async def test_an_accepted_message_stays_accepted_when_the_answer_breaks_off(
    sms_provider: SmsProvider, is_cut_off: bool
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"message_id": ')
        if is_cut_off and request.transport is not None:
            request.transport.close()
        await asyncio.sleep(60)
        return response

    sms_provider.answer = answer
    gateway = HttpSmsGateway(url=sms_provider.url, timeout_seconds=20 if is_cut_off else 0.5)
    assert await gateway.send(MESSAGE) == SmsReceipt(message_id="r-1")
    await gateway.close()


async def test_a_refused_connection_is_worth_a_retry(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/send?key=s3cret-query"
    gateway = HttpSmsGateway(url=url, token=TOKEN)
    error = await refuse(gateway)
    await gateway.close()
    assert error.retryable
    assert str(error) == "the connection to the SMS gateway failed (ClientConnectorError)"


@pytest.mark.parametrize("answer", [b"", b"from-the-body\r\n\r\n", b"HTTP/1.1 abc s3cret\r\n\r\n"])
async def test_a_broken_answer_is_worth_a_retry(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        gateway = HttpSmsGateway(url=f"http://127.0.0.1:{port}/?key=s3cret-query", token=TOKEN)
        error = await refuse(gateway)
        await gateway.close()
    assert error.retryable
    assert str(error).startswith("the connection to the SMS gateway failed (")


async def test_cancellation_passes_through(gateway: HttpSmsGateway, sms_provider: SmsProvider) -> None:
    arrived = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(60)
        return web.Response()

    sms_provider.answer = answer
    sending = asyncio.create_task(gateway.send(MESSAGE))
    await arrived.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_one_session_serves_all_and_is_closed(gateway: HttpSmsGateway, sms_provider: SmsProvider) -> None:
    await asyncio.gather(*(gateway.send(MESSAGE) for _ in range(20)))
    session = gateway._session
    assert session is not None
    await gateway.send(MESSAGE)
    assert gateway._session is session
    await gateway.close()
    assert session.closed
    await gateway.close()


async def test_closing_before_the_first_message_is_fine() -> None:
    await HttpSmsGateway(url="http://127.0.0.1:9").close()
