"""What the HTTP server does not put up with: slow, huge, broken and all too many requests; and how it stops."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from broker_service.transport.http import connection, requests, server
from tests.contract.broker_http.shops import ANY_PORT
from tests.contract.broker_http.web import Web
from tests.contract.broker_world.running_broker import RunningBroker, running_broker
from tests.databases import DatabaseKind, only_on

# None of this reaches the database.
pytestmark = only_on(DatabaseKind.SQLITE, reason="HTTP is the same in front of each kind")

POST = b"POST /notices/sandbox HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"


class RawClient:
    """A connection that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """Returns the status of the next answer; 0 if the connection is closed instead."""
        async with asyncio.timeout(20):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0
        lines = head.decode().lower().split("\r\n")
        lengths = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
        await self._reader.readexactly(lengths[0] if lengths else 0)
        return int(lines[0].split()[1])

    async def is_closed(self) -> bool:
        async with asyncio.timeout(20):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def connected(running: RunningBroker, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    assert running.broker.http is not None
    address = running.broker.http.address
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
async def running(
    new_database: Callable[[], str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningBroker]:
    """A broker with limits that a test need not wait for; a test's parameter changes others."""
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.8)
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.3)
    for module, name, value in getattr(request, "param", ()):
        monkeypatch.setattr(module, name, value)
    async with running_broker(new_database(), http_listen=ANY_PORT) as broker:
        yield broker


async def test_a_body_that_does_not_come_is_a_408(running: RunningBroker) -> None:
    async with connected(running) as client:
        await client.send(POST + b"{")
        assert await client.status() == 408
        assert await client.is_closed()


async def test_headers_that_trickle_in_are_cut_off(running: RunningBroker) -> None:
    async with connected(running) as client:
        for piece in (b"GET /healthz HTT", b"P/1.1\r\nhost: x\r\n", b"a: b\r\n"):
            await client.send(piece)
            await asyncio.sleep(0.2)
        assert await client.is_closed()


async def test_who_says_nothing_is_cut_off(running: RunningBroker) -> None:
    async with connected(running) as client:
        assert await client.is_closed()


async def test_a_slow_request_after_a_quick_one_is_cut_off_too(running: RunningBroker) -> None:
    async with connected(running) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await client.status() == 200
        await client.send(b"GET /healthz HT")
        assert await client.is_closed()


async def test_a_connection_can_be_used_again_and_again(running: RunningBroker) -> None:
    async with connected(running) as client:
        for _ in range(5):
            await client.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await client.status() == 200
            await asyncio.sleep(0.25)
        await client.send(POST + b"{}" + POST + b"{}")
        assert [await client.status(), await client.status()] == [200, 200]


async def test_who_reads_no_answers_is_cut_off(running: RunningBroker) -> None:
    async with connected(running) as client:
        async with asyncio.timeout(30):
            # Until nothing more goes through on either side; then it is cut.
            with contextlib.suppress(ConnectionError):
                while True:
                    await client.send(b"GET /style.css HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
        assert running.broker.http is not None
        assert not running.broker.http._server.server_state.connections


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_http_is_refused(running: RunningBroker, data: bytes) -> None:
    async with connected(running) as client:
        await client.send(data)
        assert await client.status() in (0, 400)
    async with Web(running.http_url) as web:
        assert (await web.get("/healthz")).status == 200


async def test_a_websocket_is_not_to_be_had(running: RunningBroker) -> None:
    async with connected(running) as client:
        await client.send(
            b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
        assert await client.status() == 200


@pytest.mark.parametrize("running", [[(server, "MAX_CONNECTIONS", 4)]], indirect=True)
async def test_more_connections_than_allowed_get_503(running: RunningBroker) -> None:
    async with connected(running), connected(running), connected(running), connected(running) as last:
        await last.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await last.status() == 503
    await asyncio.sleep(0.1)
    async with Web(running.http_url) as web:
        assert (await web.get("/healthz")).status == 200


@pytest.mark.parametrize("running", [[(connection, "HIGHEST_CONNECTIONS", 2)]], indirect=True)
async def test_far_more_connections_are_closed_unheard(running: RunningBroker) -> None:
    async with connected(running), connected(running), connected(running) as one_too_many:
        await one_too_many.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await one_too_many.status() == 0


async def test_a_running_request_finishes_while_no_new_one_is_taken(running: RunningBroker) -> None:
    http = running.broker.http
    assert http is not None
    async with connected(running) as client, connected(running) as idle:
        await client.send(POST + b"{")
        await asyncio.sleep(0.05)
        await running.broker.begin_stop()
        async with asyncio.timeout(2):
            while not await refused(running):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.02)
        assert await idle.is_closed()
        await client.send(b"}")
        assert await client.status() == 200
        await http.wait_stopped()


async def test_a_hurried_stop_waits_for_nobody(running: RunningBroker) -> None:
    http = running.broker.http
    assert http is not None
    async with connected(running) as client:
        await client.send(POST + b"{")
        await asyncio.sleep(0.05)
        running.broker.node.hurry()
        async with asyncio.timeout(0.25):
            await http.wait_stopped()
        assert await client.is_closed()


async def test_healthz_turns_when_the_node_stops(running: RunningBroker) -> None:
    async with Web(running.http_url) as web:
        await running.broker.node.announce_end()
        answer = await web.get("/healthz")
        assert (answer.status, answer.text) == (503, '{"status":"NOT_SERVING"}')


async def refused(running: RunningBroker) -> bool:
    try:
        async with connected(running) as client:
            return await client.is_closed()
    except ConnectionRefusedError:
        return True
