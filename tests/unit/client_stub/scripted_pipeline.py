"""A real gRPC server whose Pipeline answers what a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import status_pb2
from iap.broker.v1 import broker_pb2, broker_pb2_grpc

Outcome: TypeAlias = Message | grpc.StatusCode | None
"""A response or a `google.rpc.Status` for the operation; a code, with which the whole stream ends; or no answer."""
Script: TypeAlias = Callable[["ReceivedStream", broker_pb2.PipelineOperation], Outcome]

_NAMES = {broker_pb2.ReserveResponse: "reserve", broker_pb2.CaptureResponse: "capture"}


def accept(_stream: "ReceivedStream", operation: broker_pb2.PipelineOperation) -> Outcome:
    """Reserves, under an id that is the request's own."""
    return reserved(operation)


def reserved(operation: broker_pb2.PipelineOperation) -> broker_pb2.ReserveResponse:
    return broker_pb2.ReserveResponse(
        reservation=broker_pb2.Reservation(reservation_id=f"rsv_{operation.reserve.request_id}")
    )


def never(_stream: "ReceivedStream", _operation: broker_pb2.PipelineOperation) -> Outcome:
    """Answers nothing."""
    return None


@dataclass(eq=False)
class ReceivedStream:
    """What has come on a stream; `ended` once its caller sends no more. Setting `end` ends it with a code."""

    number: int
    context: Any
    metadata: dict[str, Any]
    messages: list[broker_pb2.PipelineRequest] = field(default_factory=list)
    ended: bool = False
    end: asyncio.Future[grpc.StatusCode] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def operations(self) -> list[broker_pb2.PipelineOperation]:
        return [operation for message in self.messages for operation in message.operations]

    @property
    def cancelled(self) -> list[int]:
        return [sequence for message in self.messages for sequence in message.cancelled_sequences]

    async def answer(self, operation: broker_pb2.PipelineOperation, outcome: Message) -> None:
        result = broker_pb2.PipelineResult(sequence=operation.sequence)
        name = "error" if isinstance(outcome, status_pb2.Status) else _NAMES[type(outcome)]
        getattr(result, name).CopyFrom(outcome)
        await self.context.write(broker_pb2.PipelineResponse(results=[result]))


@dataclass
class ScriptedPipeline(broker_pb2_grpc.BrokerServiceServicer):
    """Answers operations by its script, which may be changed; `refuses` is what new streams end with."""

    script: Script = accept
    refuses: grpc.StatusCode | None = None
    streams: list[ReceivedStream] = field(default_factory=list)
    unary: list[Message] = field(default_factory=list)
    target: str = ""

    @property
    def operations(self) -> list[broker_pb2.PipelineOperation]:
        return [operation for stream in self.streams for operation in stream.operations]

    async def Pipeline(self, requests: AsyncIterator[Any], context: Any) -> None:  # type: ignore[override]  # noqa: N802
        stream = ReceivedStream(len(self.streams), context, dict(context.invocation_metadata()))
        self.streams.append(stream)
        if self.refuses is not None:
            await context.abort(self.refuses, "refused")
        await context.send_initial_metadata(())
        reading = asyncio.create_task(self._read(stream, requests))
        await asyncio.wait({reading, stream.end}, return_when=asyncio.FIRST_COMPLETED)
        code = stream.end.result() if stream.end.done() else await reading
        reading.cancel()
        if code is not grpc.StatusCode.OK:
            await context.abort(code, "scripted")

    async def _read(self, stream: ReceivedStream, requests: AsyncIterator[Any]) -> grpc.StatusCode:
        async for message in requests:
            stream.messages.append(message)
            for operation in message.operations:
                outcome = self.script(stream, operation)
                if isinstance(outcome, grpc.StatusCode):
                    return outcome
                if outcome is not None:
                    await stream.answer(operation, outcome)
        stream.ended = True
        return grpc.StatusCode.OK

    async def Reserve(self, request: Any, _context: Any) -> broker_pb2.ReserveResponse:  # noqa: N802
        self.unary.append(request)
        return broker_pb2.ReserveResponse()

    async def CheckCredits(self, request: Any, _context: Any) -> broker_pb2.CheckCreditsResponse:  # noqa: N802
        self.unary.append(request)
        return broker_pb2.CheckCreditsResponse(sufficient=True)


@asynccontextmanager
async def serving_pipeline(
    script: Script = accept, *, port: int = 0, refuses: grpc.StatusCode | None = None
) -> AsyncIterator[ScriptedPipeline]:
    servicer = ScriptedPipeline(script, refuses)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    servicer.target = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(None)
