import asyncio
import socket
import time
import uuid
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from iap.broker.v1.broker_pb2 import ReserveRequest, ReserveResponse

from client_stub.broker import BrokerClient
from client_stub.channel import open_channel
from client_stub.errors import ConflictError, DeadlineExceededError, UnavailableError
from tests.unit.client_stub.scripted_server import Answer, ScriptedServer, refusal, serving

RESERVE = "BrokerService.Reserve"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNAVAILABLE = refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "draining")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def reserve(broker: BrokerClient, timeout_seconds: float | None = None) -> ReserveResponse:
    return await broker.reserve(account_token="token", credits=1, timeout_seconds=timeout_seconds)


async def test_the_key_is_sent_as_bearer_token_and_the_timeout_as_deadline() -> None:
    async with (
        serving(ScriptedServer({RESERVE: ReserveResponse()})) as server,
        BrokerClient.connect(server.target, key="key_1", timeout_seconds=7) as broker,
    ):
        await reserve(broker)
        await reserve(broker, timeout_seconds=3)
    assert [call.metadata["authorization"] for call in server.calls] == ["Bearer key_1"] * 2
    first, second = (call.time_remaining_seconds for call in server.calls)
    assert 5 < first < 7.5
    assert 2 < second < 3.5


async def test_without_a_key_no_credential_is_sent() -> None:
    async with (
        serving(ScriptedServer({RESERVE: ReserveResponse()})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        await reserve(broker)
    assert "authorization" not in server.calls[0].metadata


async def test_each_call_gets_a_request_id_of_its_own() -> None:
    async with (
        serving(ScriptedServer({RESERVE: ReserveResponse()})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        await reserve(broker)
        await reserve(broker)
    ids = {request.request_id for request in server.requests(RESERVE)}
    assert len({uuid.UUID(request_id) for request_id in ids}) == 2


async def test_unavailable_is_tried_again_with_the_same_request_id() -> None:
    answers = [UNAVAILABLE, UNAVAILABLE, ReserveResponse(replayed=True)]
    async with (
        serving(ScriptedServer({RESERVE: answers})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        assert (await reserve(broker)).replayed
    first, *others = server.requests(RESERVE)
    assert others == [first, first]


async def test_five_attempts_are_the_last() -> None:
    async with (
        serving(ScriptedServer({RESERVE: UNAVAILABLE})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        with pytest.raises(UnavailableError, match="draining"):
            await reserve(broker)
    assert len(server.calls) == 5


async def test_the_server_can_ask_for_a_longer_pause() -> None:
    answers: list[Answer] = [grpc.StatusCode.UNAVAILABLE, ReserveResponse()]
    script = ScriptedServer({RESERVE: answers}, trailing_metadata=(("grpc-retry-pushback-ms", "600"),))
    async with serving(script) as server, BrokerClient.connect(server.target) as broker:
        start = time.monotonic()
        await reserve(broker)
    assert time.monotonic() - start > 0.55


@pytest.mark.parametrize("code", [grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL])
async def test_nothing_else_is_tried_again(code: grpc.StatusCode) -> None:
    async with (
        serving(ScriptedServer({RESERVE: code})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        with pytest.raises(Exception, match="scripted"):
            await reserve(broker)
    assert len(server.calls) == 1


async def test_a_slow_answer_is_not_waited_for() -> None:
    async def answer(_request: ReserveRequest) -> ReserveResponse:
        await asyncio.sleep(30)
        return ReserveResponse()

    async with (
        serving(ScriptedServer({RESERVE: answer})) as server,
        BrokerClient.connect(server.target, timeout_seconds=0.3) as broker,
    ):
        with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.3 s"):
            await reserve(broker)


async def test_a_deadline_that_the_server_reports_is_its_own() -> None:
    answer = refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "SERVICE_FAILED", "the gateway is slow", domain="iap.provider")
    async with (
        serving(ScriptedServer({RESERVE: answer})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        with pytest.raises(Exception, match="the gateway is slow"):
            await reserve(broker)


async def test_a_server_that_does_not_come_is_waited_for_until_the_deadline() -> None:
    async with BrokerClient.connect(f"127.0.0.1:{free_port()}", timeout_seconds=0.5) as broker:
        start = time.monotonic()
        with pytest.raises(UnavailableError, match=r"no connection to the server within 0\.5 s"):
            await reserve(broker)
        assert 0.4 < time.monotonic() - start < 5


async def test_a_server_that_comes_up_later_gets_the_call() -> None:
    port = free_port()
    async with BrokerClient.connect(f"127.0.0.1:{port}") as broker:
        calling = asyncio.create_task(reserve(broker))
        # Longer than all retries together: it is waiting that helps here.
        await asyncio.sleep(2.5)
        async with serving(ScriptedServer({RESERVE: ReserveResponse(replayed=True)}), port=port):
            start = time.monotonic()
            assert (await calling).replayed
            # The pause between two attempts to connect is at most a second, plus its jitter.
            assert time.monotonic() - start < 5


async def test_a_call_survives_the_restart_of_the_server() -> None:
    reached = asyncio.Event()

    async def hang(_request: ReserveRequest) -> ReserveResponse:
        reached.set()
        await asyncio.sleep(30)
        return ReserveResponse()

    async with serving(ScriptedServer({RESERVE: hang})) as first:
        broker = BrokerClient.connect(first.target)
        calling = asyncio.create_task(reserve(broker))
        await reached.wait()
    port = int(first.target.rpartition(":")[2])
    async with broker, serving(ScriptedServer({RESERVE: ReserveResponse(replayed=True)}), port=port):
        assert (await calling).replayed


async def test_a_cancelled_call_raises_cancelled_error() -> None:
    reached = asyncio.Event()

    async def hang(_request: ReserveRequest) -> ReserveResponse:
        reached.set()
        await asyncio.sleep(30)
        return ReserveResponse()

    async with (
        serving(ScriptedServer({RESERVE: hang})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        calling = asyncio.create_task(reserve(broker))
        await reached.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_a_call_that_a_stopping_server_drops_is_tried_again() -> None:
    answers: list[Answer] = [grpc.StatusCode.CANCELLED, ReserveResponse(replayed=True)]
    async with (
        serving(ScriptedServer({RESERVE: answers})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        assert (await reserve(broker)).replayed
    first, again = server.requests(RESERVE)
    assert first == again


async def test_a_call_cancelled_here_ends_at_once_and_is_not_tried_again() -> None:
    reached, ended = asyncio.Event(), asyncio.Event()

    async def hang(_request: ReserveRequest) -> ReserveResponse:
        reached.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return ReserveResponse()

    async with (
        serving(ScriptedServer({RESERVE: hang})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        calling = asyncio.create_task(reserve(broker))
        await reached.wait()
        start = time.monotonic()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert time.monotonic() - start < 5
        await asyncio.wait_for(ended.wait(), 20)
        # Longer than the pause before a second attempt.
        await asyncio.sleep(0.3)
    assert len(server.calls) == 1


class StreamedCall:
    """A streamed call whose first answer comes when the test says so."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    def __call__(self, _request: object, **_options: object) -> "StreamedCall":
        return self

    async def read(self) -> str:
        return await self.answer

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize("turns", range(4))
async def test_a_stream_cancelled_as_its_first_answer_comes_is_cancelled(turns: int) -> None:
    call: Any = StreamedCall()
    async with BrokerClient.connect("localhost:1", insecure=True) as client:
        reading = asyncio.create_task(anext(client._stream(call, None, 30)))
        await asyncio.sleep(0.01)
        call.answer.set_result("first")
        for _ in range(turns):
            await asyncio.sleep(0)
        if reading.cancel():
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert call.cancelled


async def test_a_call_cancelled_between_two_attempts_is_not_tried_again() -> None:
    reached = asyncio.Event()

    def refuse(_request: ReserveRequest) -> Answer:
        reached.set()
        return grpc.StatusCode.UNAVAILABLE

    script = ScriptedServer({RESERVE: refuse}, trailing_metadata=(("grpc-retry-pushback-ms", "1200"),))
    async with serving(script) as server, BrokerClient.connect(server.target) as broker:
        calling = asyncio.create_task(reserve(broker))
        await reached.wait()
        # The answer has arrived by then; the second attempt is not due yet.
        await asyncio.sleep(0.2)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.sleep(1.3)
    assert len(server.calls) == 1


async def test_calls_are_spread_over_the_servers_of_a_target() -> None:
    async with (
        serving(ScriptedServer({RESERVE: ReserveResponse()})) as one,
        serving(ScriptedServer({RESERVE: ReserveResponse()})) as two,
        BrokerClient.connect(f"ipv4:{one.target},{two.target}") as broker,
    ):
        async with asyncio.timeout(10):
            while not (one.calls and two.calls):
                await reserve(broker)


async def test_a_server_that_does_not_serve_is_left_out_if_there_are_others() -> None:
    async with (
        serving(ScriptedServer({RESERVE: ReserveResponse()}, health=NOT_SERVING)) as stopping,
        serving(ScriptedServer({RESERVE: ReserveResponse()}, health=SERVING)) as good,
        BrokerClient.connect(f"ipv4:{stopping.target},{good.target}") as broker,
    ):
        for _ in range(10):
            await reserve(broker)
    assert (len(stopping.calls), len(good.calls)) == (0, 10)


async def test_a_single_server_is_called_whatever_its_health() -> None:
    async with (
        serving(ScriptedServer({RESERVE: ReserveResponse()}, health=NOT_SERVING)) as stopping,
        BrokerClient.connect(stopping.target) as broker,
    ):
        await reserve(broker)


async def test_a_shared_channel_stays_open_when_a_client_closes() -> None:
    async with (
        serving(ScriptedServer({RESERVE: ReserveResponse()})) as server,
        open_channel(server.target) as channel,
    ):
        async with BrokerClient(channel, key="one") as first:
            await reserve(first)
        await reserve(BrokerClient(channel, key="two"))
    assert [call.metadata["authorization"] for call in server.calls] == ["Bearer one", "Bearer two"]


async def test_an_own_channel_is_closed_with_its_client() -> None:
    async with serving(ScriptedServer({RESERVE: ReserveResponse()})) as server:
        async with BrokerClient.connect(server.target) as broker:
            await reserve(broker)
        with pytest.raises(grpc.aio.UsageError):
            await reserve(broker)


async def test_a_conflict_is_told_as_such() -> None:
    async with (
        serving(ScriptedServer({RESERVE: refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT")})) as server,
        BrokerClient.connect(server.target) as broker,
    ):
        with pytest.raises(ConflictError):
            await reserve(broker)
