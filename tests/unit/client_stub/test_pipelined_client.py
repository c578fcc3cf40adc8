"""BrokerClient over streams: what shares a message, what is sent again and where, and how it ends."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from iap.broker.v1.broker_pb2 import CaptureResponse, PipelineOperation, ReserveResponse

from client_stub.broker import BrokerClient
from client_stub.channel import open_channel
from client_stub.errors import (
    AccountNotFoundError,
    ConfigurationError,
    CredentialsError,
    DeadlineExceededError,
    InternalError,
    UnavailableError,
)
from tests.unit.client_stub.scripted_pipeline import (
    Outcome,
    ReceivedStream,
    ScriptedPipeline,
    accept,
    never,
    reserved,
    serving_pipeline,
)
from tests.unit.client_stub.scripted_server import refusal
from tests.unit.client_stub.test_client_calls import free_port

UNAVAILABLE: Message = refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "no storage")
PATIENCE_SECONDS = 20.0


def connect(server: ScriptedPipeline, **options: Any) -> BrokerClient:
    return BrokerClient.connect(server.target, key="key_1", transport="pipelined", **options)


async def reserve(broker: BrokerClient, number: int = 0, timeout_seconds: float | None = None) -> ReserveResponse:
    """Reserves as many credits as the number tells, so that a script knows which it is."""
    return await broker.reserve(account_token="token", credits=number, timeout_seconds=timeout_seconds)


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def numbers(operations: list[PipelineOperation]) -> list[int]:
    return [operation.reserve.credits for operation in operations]


async def test_what_is_asked_for_at_once_shares_a_message_and_each_gets_its_own_answer() -> None:
    async with serving_pipeline() as server, connect(server) as broker:
        await reserve(broker)
        answers = await asyncio.gather(*(reserve(broker, number) for number in range(50)))
        operations = server.operations[1:]
    assert [len(message.operations) for message in server.streams[0].messages] == [1, 50]
    assert numbers(operations) == list(range(50))
    by_request_id = [f"rsv_{operation.reserve.request_id}" for operation in operations]
    assert [answer.reservation.reservation_id for answer in answers] == by_request_id
    assert server.streams[0].metadata["authorization"] == "Bearer key_1"
    assert not server.unary


async def test_a_message_holds_no_more_than_the_contract_allows() -> None:
    async with serving_pipeline() as server, connect(server) as broker:
        await asyncio.gather(*(reserve(broker) for _ in range(2_500)))
        big = broker.reserve(account_token="token", credits=1, description="x" * 400_000)
        await asyncio.gather(big, *(broker.reserve(account_token="x" * 400_000, credits=1) for _ in range(4)))
    sizes = [len(message.operations) for message in server.streams[0].messages]
    assert sizes[:3] == [1_000, 1_000, 500]
    assert max(message.ByteSize() for message in server.streams[0].messages) < 2 * 1024 * 1024


async def test_what_no_message_has_room_for_is_a_call_and_so_is_what_streams_do_not_carry() -> None:
    async with serving_pipeline() as server, connect(server) as broker:
        await broker.reserve(account_token="token", credits=1, description="x" * 1_100_000)
        assert (await broker.check_credits(account_token="token", credits=1)).sufficient
    assert len(server.unary) == 2
    assert not server.operations


async def test_the_timeout_goes_along_and_counts_from_the_call() -> None:
    def fail_once(stream: ReceivedStream, operation: PipelineOperation) -> Outcome:
        return grpc.StatusCode.UNAVAILABLE if stream.number == 0 else reserved(operation)

    async with serving_pipeline(fail_once) as server, connect(server, timeout_seconds=7) as broker:
        await reserve(broker, timeout_seconds=3.5)
        await reserve(broker)
    first, again, second = (operation.timeout.ToTimedelta().total_seconds() for operation in server.operations)
    assert 2.5 < first <= 3.5
    assert 2.0 < again < first
    assert 6 < second <= 7


async def test_no_answer_within_the_timeout_is_an_error_and_the_broker_is_told() -> None:
    async with serving_pipeline(never) as server, connect(server) as broker:
        with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.2 s"):
            await reserve(broker, timeout_seconds=0.2)
        stream = server.streams[0]
        await until(lambda: stream.cancelled == [stream.operations[0].sequence])


async def test_a_caller_that_is_cancelled_cancels_its_operation_and_no_other() -> None:
    async with serving_pipeline(never) as server, connect(server) as broker:
        leaves = asyncio.create_task(reserve(broker, 1))
        stays = asyncio.create_task(reserve(broker, 2))
        await until(lambda: len(server.operations) == 2)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        stream = server.streams[0]
        await until(lambda: stream.cancelled == [stream.operations[0].sequence])
        # An answer that comes all the same is nobody's.
        for operation in stream.operations:
            await stream.answer(operation, reserved(operation))
        assert (await stays).reservation.reservation_id == f"rsv_{stream.operations[1].reserve.request_id}"


async def test_what_a_broken_stream_leaves_unanswered_is_sent_again_with_its_id() -> None:
    def break_at_three(stream: ReceivedStream, operation: PipelineOperation) -> Outcome:
        if stream.number == 0 and operation.reserve.credits == 3:
            return grpc.StatusCode.UNAVAILABLE
        return None if operation.reserve.credits == 2 and stream.number == 0 else reserved(operation)

    async with serving_pipeline(break_at_three) as server, connect(server) as broker:
        await asyncio.gather(*(reserve(broker, number) for number in range(1, 6)))
    first, second = server.streams
    assert numbers(first.operations) == [1, 2, 3, 4, 5]
    assert numbers(second.operations) == [2, 3, 4, 5], "in their order, but for what was answered"
    assert [it.reserve for it in second.operations] == [it.reserve for it in first.operations[1:]]


async def test_the_end_of_a_stream_without_an_error_is_no_error_of_its_operations() -> None:
    async with serving_pipeline(never) as server, connect(server) as broker:
        waits = asyncio.create_task(reserve(broker))
        await until(lambda: len(server.operations) == 1)
        server.script = accept
        server.streams[0].end.set_result(grpc.StatusCode.OK)
        await waits
    assert len(server.streams) == 2


async def test_five_attempts_are_the_last() -> None:
    def always(_stream: ReceivedStream, _operation: PipelineOperation) -> Outcome:
        return UNAVAILABLE

    async with serving_pipeline(always) as server, connect(server) as broker:
        with pytest.raises(UnavailableError, match="no storage"):
            await reserve(broker)
    assert len({operation.reserve.request_id for operation in server.operations}) == 1
    assert len(server.operations) == 5


async def test_streams_that_break_again_and_again_are_tried_as_often() -> None:
    def always(_stream: ReceivedStream, _operation: PipelineOperation) -> Outcome:
        return grpc.StatusCode.UNAVAILABLE

    async with serving_pipeline(always) as server, connect(server) as broker:
        with pytest.raises(UnavailableError, match="scripted"):
            await reserve(broker)
    assert len(server.operations) == 5


async def test_an_outage_that_passes_is_not_noticed() -> None:
    answers: list[Outcome] = [UNAVAILABLE, UNAVAILABLE]

    def recover(_stream: ReceivedStream, operation: PipelineOperation) -> Outcome:
        return answers.pop() if answers else reserved(operation)

    async with serving_pipeline(recover) as server, connect(server) as broker:
        assert (await reserve(broker)).reservation.reservation_id
    assert len(server.streams) == 1


async def test_a_refusal_is_final_and_harms_no_other() -> None:
    not_found = refusal(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND", "no such account")

    def refuse_one(_stream: ReceivedStream, operation: PipelineOperation) -> Outcome:
        return not_found if operation.reserve.credits == 1 else reserved(operation)

    async with serving_pipeline(refuse_one) as server, connect(server) as broker:
        first, second = await asyncio.gather(reserve(broker, 1), reserve(broker, 2), return_exceptions=True)
    assert isinstance(first, AccountNotFoundError)
    assert first.reason == "ACCOUNT_NOT_FOUND"
    assert isinstance(second, ReserveResponse)
    assert len(server.operations) == 2


async def test_an_answer_of_another_kind_is_an_error() -> None:
    async with serving_pipeline(never) as server, connect(server) as broker:
        waits = asyncio.create_task(reserve(broker))
        await until(lambda: len(server.operations) == 1)
        await server.streams[0].answer(server.operations[0], CaptureResponse())
        with pytest.raises(InternalError):
            await waits


async def test_streams_that_are_refused_fail_what_waits_and_are_opened_again_later() -> None:
    async with serving_pipeline(refuses=grpc.StatusCode.UNAUTHENTICATED) as server, connect(server) as broker:
        ends = await asyncio.gather(*(reserve(broker) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(end, CredentialsError) for end in ends)
        await asyncio.sleep(0.3)
        assert len(server.streams) <= 2, "nobody asks for more"
        server.refuses = None
        assert (await reserve(broker)).reservation.reservation_id


class OneIsStuck:
    """Answers everything but what comes on the stream that gets the first operation."""

    def __init__(self) -> None:
        self._stream: ReceivedStream | None = None

    def __call__(self, stream: ReceivedStream, operation: PipelineOperation) -> Outcome:
        self._stream = self._stream or stream
        return None if stream is self._stream else reserved(operation)

    @property
    def operations(self) -> list[PipelineOperation]:
        return [] if self._stream is None else self._stream.operations


async def test_a_stream_that_answers_nothing_stops_no_other() -> None:
    one_is_stuck = OneIsStuck()
    async with serving_pipeline(one_is_stuck) as server, connect(server, connections=2) as broker:
        stuck: list[asyncio.Task[Any]] = []
        await until_open(server, broker, stuck)
        taken = len(one_is_stuck.operations)
        for number in range(20):
            await reserve(broker, number, timeout_seconds=5)
        assert len(one_is_stuck.operations) == taken
        for task in stuck:
            task.cancel()


async def until_open(
    server: ScriptedPipeline, broker: BrokerClient, stuck: list[asyncio.Task[ReserveResponse]]
) -> None:
    """Asks until both streams have got something; one of them answers nothing."""
    while len(server.streams) < 2 or not all(stream.operations for stream in server.streams):
        stuck.append(asyncio.create_task(reserve(broker)))
        await asyncio.sleep(0.02)


async def test_operations_spread_over_connections() -> None:
    async with serving_pipeline(never) as server, connect(server, connections=3) as broker:
        waits = []
        for number in range(30):
            waits.append(asyncio.create_task(reserve(broker, number)))
            await until(lambda: len(server.operations) > number)  # noqa: B023 - awaited in the same turn
            await asyncio.sleep(0)
        assert len({stream.context.peer() for stream in server.streams}) == 3
        assert all(len(stream.operations) >= 8 for stream in server.streams)
        for task in waits:
            task.cancel()


async def test_what_a_broken_stream_leaves_goes_to_one_that_is_open() -> None:
    async with serving_pipeline(never) as server, connect(server, connections=2) as broker:
        waits = [asyncio.create_task(reserve(broker, number)) for number in range(10)]
        await until(lambda: len(server.operations) == 10 and len(server.streams) == 2)
        (loaded,) = (stream for stream in server.streams if stream.operations)
        server.script = accept
        server.refuses = grpc.StatusCode.UNAVAILABLE
        loaded.end.set_result(grpc.StatusCode.UNAVAILABLE)
        await asyncio.wait_for(asyncio.gather(*waits), 20)
        (other,) = (stream for stream in server.streams[:2] if stream is not loaded)
        assert numbers(other.operations) == list(range(10))


async def test_without_a_server_an_operation_waits_and_then_says_so() -> None:
    port = free_port()
    async with BrokerClient.connect(f"127.0.0.1:{port}", transport="pipelined") as broker:
        with pytest.raises(UnavailableError, match=r"no connection to the server within 0\.3 s"):
            await reserve(broker, 1, timeout_seconds=0.3)
        patient = asyncio.create_task(reserve(broker, 2, timeout_seconds=20))
        leaves = asyncio.create_task(reserve(broker, 3, timeout_seconds=20))
        await asyncio.sleep(0.1)
        leaves.cancel()
        async with serving_pipeline(port=port) as server:
            await patient
            assert numbers(server.operations) == [2], "nothing is sent that nobody waits for"


async def test_closing_cancels_what_waits_and_ends_idle_streams_well() -> None:
    async with serving_pipeline() as server:
        broker = connect(server, connections=2)
        await reserve(broker)
        await until(lambda: len(server.streams) == 2)
        await broker.close()
        await until(lambda: all(stream.ended for stream in server.streams))
        with pytest.raises(grpc.aio.UsageError):
            await reserve(broker)
    async with serving_pipeline(never) as server:
        broker = connect(server)
        waits = asyncio.create_task(reserve(broker))
        await until(lambda: len(server.operations) == 1)
        await broker.close()
        with pytest.raises(asyncio.CancelledError):
            await waits


async def test_a_channel_that_its_owner_closes_ends_the_streams_on_it() -> None:
    async with serving_pipeline(never) as server:
        channel = open_channel(server.target)
        broker = BrokerClient(channel, transport="pipelined")
        waits = asyncio.create_task(reserve(broker))
        await until(lambda: len(server.operations) == 1)
        await channel.close()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waits, 20)
        with pytest.raises(grpc.aio.UsageError):
            await asyncio.wait_for(reserve(broker), 20)
        await broker.close()


async def test_a_stream_that_is_stuck_is_given_nothing_more_though_what_it_had_is_given_up() -> None:
    one_is_stuck = OneIsStuck()
    async with serving_pipeline(one_is_stuck) as server, connect(server, connections=2) as broker:
        stuck: list[asyncio.Task[Any]] = []
        await until_open(server, broker, stuck)
        for task in stuck:
            task.cancel()
        lost = len(one_is_stuck.operations)
        for number in range(20):
            await reserve(broker, number, timeout_seconds=5)
        assert len(one_is_stuck.operations) <= lost + 1


async def test_trace_metadata_is_that_of_each_caller() -> None:
    traces = iter(["00-a", "00-b"])
    async with (
        serving_pipeline() as server,
        connect(server, trace_metadata=lambda: {"traceparent": next(traces)}) as broker,
    ):
        await asyncio.gather(reserve(broker), reserve(broker))
    assert [dict(operation.metadata) for operation in server.operations] == [
        {"traceparent": "00-a"},
        {"traceparent": "00-b"},
    ]


async def test_a_transport_that_there_is_not_is_refused() -> None:
    wrong: Any = "carrier pigeon"
    with pytest.raises(ConfigurationError, match="unary, pipelined"):
        BrokerClient.connect("127.0.0.1:1", transport=wrong)
    with pytest.raises(ConfigurationError, match="connections"):
        BrokerClient.connect("127.0.0.1:1", connections=2)
    with pytest.raises(ConfigurationError, match="connections"):
        BrokerClient.connect("127.0.0.1:1", transport="pipelined", connections=0)
