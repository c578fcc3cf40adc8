"""BrokerService over Pipeline, for tests written for its unary calls: the same methods, answers and errors.

Nothing is tried again and nothing is kept from the broker, other than in `client_stub`: what it answers is what a test
gets.
"""

import asyncio
import contextlib
import time
from collections.abc import Generator, Sequence
from enum import StrEnum
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import status_pb2
from iap.broker.v1 import broker_pb2, broker_pb2_grpc

MOVING_RPCS = ("Reserve", "Capture", "Release", "Extend", "Charge", "Refund")

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_ENDED = (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError)

Credentials = Sequence[tuple[str, str]]


class Transport(StrEnum):
    """How a test's operations reach the broker."""

    UNARY = "unary"
    PIPELINED = "pipelined"


class PipelinedStub:
    """Has the methods of BrokerServiceStub; those that move credits go over one stream for each set of credentials."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = broker_pb2_grpc.BrokerServiceStub(channel)
        self._streams: dict[tuple[tuple[str, str], ...], _Stream] = {}

    def __getattr__(self, rpc: str) -> Any:
        if rpc not in MOVING_RPCS:
            return getattr(self._stub, rpc)

        def call(request: Message, *, metadata: Credentials = (), timeout: float | None = None) -> "OperationCall":
            made = OperationCall(self._stream(tuple(metadata)), timeout)
            made.send(rpc.lower(), request)
            return made

        return call

    def _stream(self, metadata: tuple[tuple[str, str], ...]) -> "_Stream":
        stream = self._streams.get(metadata)
        if stream is None or stream.has_ended:
            stream = self._streams[metadata] = _Stream(self._stub.Pipeline(metadata=metadata))
        return stream


class OperationCall:
    """An operation that looks like a unary call."""

    def __init__(self, stream: "_Stream", timeout: float | None) -> None:
        self._stream = stream
        self._end = None if timeout is None else time.monotonic() + timeout
        self._sequence = 0
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answer.add_done_callback(_look_at)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer.__await__()

    def send(self, name: str, request: Message) -> None:
        operation = broker_pb2.PipelineOperation()
        getattr(operation, name).CopyFrom(request)
        if (seconds := self.time_remaining()) is not None:
            operation.timeout.FromNanoseconds(int(seconds * 1e9))
            asyncio.get_running_loop().call_later(seconds, self._time_out)
        self._answer.add_done_callback(self._leave)
        self._sequence = self._stream.send(operation, self._answer)

    def cancel(self) -> bool:
        return self._answer.cancel()

    async def code(self) -> grpc.StatusCode:
        try:
            await asyncio.shield(self._answer)
        except grpc.aio.AioRpcError as error:
            return error.code()
        except asyncio.CancelledError:
            return grpc.StatusCode.CANCELLED
        return grpc.StatusCode.OK

    def time_remaining(self) -> float | None:
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def _time_out(self) -> None:
        if not self._answer.done():
            # As gRPC ends a call at both ends.
            self._stream.cancel(self._sequence)
            self._answer.set_exception(_rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer"))

    def _leave(self, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():
            self._stream.cancel(self._sequence)


class _Stream:
    """One call of Pipeline; what is sent in one turn of the event loop shares a message."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next = broker_pb2.PipelineRequest()
        self._sequence = 0
        self._has_more = asyncio.Event()
        self._tasks = {asyncio.create_task(self._write()), asyncio.create_task(self._read())}
        self.has_ended = False

    def send(self, operation: broker_pb2.PipelineOperation, answer: asyncio.Future[Any]) -> int:
        self._sequence += 1
        operation.sequence = self._sequence
        self._answers[self._sequence] = answer
        self._next.operations.append(operation)
        self._has_more.set()
        return self._sequence

    def cancel(self, sequence: int) -> None:
        self._next.cancelled_sequences.append(sequence)
        self._has_more.set()

    async def _write(self) -> None:
        with contextlib.suppress(*_ENDED):
            # A write to a stream that the broker is just refusing makes gRPC forget what it was refused with
            # (https://github.com/grpc/grpc/issues/36066).
            await self._call.initial_metadata()
            while await self._has_more.wait():
                self._has_more.clear()
                message, self._next = self._next, broker_pb2.PipelineRequest()
                await self._call.write(message)

    async def _read(self) -> None:
        end: BaseException = _rpc_error(grpc.StatusCode.UNKNOWN, "the stream has ended")
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                for result in response.results:
                    _answer(self._answers.pop(result.sequence), result)
        except grpc.aio.AioRpcError as error:
            end = error
        finally:
            self.has_ended = True
            for task in self._tasks:
                task.cancel()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(end)


def result_error(result: broker_pb2.PipelineResult) -> grpc.aio.AioRpcError:
    """Returns the error of an operation as the one that its unary call would have ended with."""
    status: status_pb2.Status = result.error
    details = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(_CODES[status.code], grpc.aio.Metadata(), details, status.message)


def _answer(answer: asyncio.Future[Any], result: broker_pb2.PipelineResult) -> None:
    if answer.done():
        return
    name = result.WhichOneof("response")
    assert name is not None
    if name == "error":
        answer.set_exception(result_error(result))
    else:
        answer.set_result(getattr(result, name))


def _rpc_error(code: grpc.StatusCode, message: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), message)


def _look_at(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()
