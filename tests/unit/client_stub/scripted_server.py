"""The other side of the wire: a real gRPC server that answers what a test tells it to."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, event_pb2, purchase_pb2, settlement_pb2
from iap.provider.v1 import provider_pb2

Answer: TypeAlias = Message | grpc.StatusCode
"""A response; or a `google.rpc.Status`, with which the call is refused; or a bare code, without any details."""
Script: TypeAlias = Answer | Sequence[Answer] | Callable[[Any], Answer | Awaitable[Answer]]
"""One answer for every call; one for each call, the last of them again and again; or a function of the request.

A stream sends the messages of the answers that stand one after the other, a refusal after which ends it; without one it
stays open. What follows the refusal is for the next call.
"""

_FILES = (account_pb2, admin_pb2, broker_pb2, catalog_pb2, event_pb2, purchase_pb2, settlement_pb2, provider_pb2)


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    method: str
    request: Any
    metadata: dict[str, Any]
    time_remaining_seconds: float


@dataclass(slots=True)
class ScriptedServer:
    """Answers by method, such as `BrokerService.Reserve`; what has no answer is UNIMPLEMENTED."""

    scripts: dict[str, Script] = field(default_factory=dict)
    calls: list[ReceivedCall] = field(default_factory=list)
    trailing_metadata: tuple[tuple[str, str], ...] = ()
    health: health_pb2.HealthCheckResponse.ServingStatus | None = None
    """What the server says of itself; None: it has no health service."""
    target: str = ""

    def requests(self, method: str) -> list[Any]:
        return [call.request for call in self.calls if call.method == method]

    async def answer(self, method: str, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        metadata = dict(context.invocation_metadata() or ())
        self.calls.append(ReceivedCall(method, request, metadata, context.time_remaining()))
        answer = await self._next_answer(method, request)
        if not isinstance(answer, status_pb2.Status | grpc.StatusCode):
            return answer
        return await self._refuse(answer, context)

    async def stream(
        self, method: str, request: Message, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Message]:
        self.calls.append(ReceivedCall(method, request, dict(context.invocation_metadata() or ()), 0.0))
        script: Any = self.scripts.get(method, grpc.StatusCode.UNIMPLEMENTED)
        answers: list[Answer] = script if isinstance(script, list) else [script]
        while answers:
            answer = answers.pop(0)
            if isinstance(answer, status_pb2.Status | grpc.StatusCode):
                await self._refuse(answer, context)
            yield answer
        await asyncio.Event().wait()

    async def _refuse(
        self, answer: status_pb2.Status | grpc.StatusCode, context: grpc.aio.ServicerContext[Any, Any]
    ) -> NoReturn:
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "scripted", self.trailing_metadata)
        await context.abort_with_status(rpc_status.to_status(answer))

    async def _next_answer(self, method: str, request: Message) -> Answer:
        script = self.scripts.get(method, grpc.StatusCode.UNIMPLEMENTED)
        if isinstance(script, Sequence):
            number = len(self.requests(method))
            return script[min(number, len(script)) - 1]
        if isinstance(script, Message | grpc.StatusCode):
            return script
        outcome = script(request)
        return await outcome if inspect.isawaitable(outcome) else outcome


@asynccontextmanager
async def serving(script: ScriptedServer, *, port: int = 0) -> AsyncIterator[ScriptedServer]:
    """Serve on the loopback interface; port 0 picks one."""
    # Without SO_REUSEPORT: a port that is taken must fail, not be shared.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for file in _FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            handlers = {
                method.name: _handler(script, f"{service.name}.{method.name}", method)
                for method in service.methods
                if not method.client_streaming
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    if script.health is not None:
        health_servicer = health.aio.HealthServicer()
        await health_servicer.set("", script.health)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    script.target = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield script
    finally:
        await server.stop(None)


def refusal(
    code: grpc.StatusCode,
    reason: str,
    message: str = "",
    *details: Message,
    domain: str = "iap.broker",
    **metadata: str,
) -> status_pb2.Status:
    """The status of an error as the contract wants it."""
    error_info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)
    return status_pb2.Status(
        code=code.value[0], message=message, details=[_pack(detail) for detail in (error_info, *details)]
    )


def _pack(detail: Message) -> PackedAny:
    packed = PackedAny()
    packed.Pack(detail)
    return packed


def _handler(script: ScriptedServer, name: str, method: MethodDescriptor) -> Any:
    async def answer(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        return await script.answer(name, request, context)

    async def stream(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        async for message in script.stream(name, request, context):
            yield message

    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(
            stream,
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
