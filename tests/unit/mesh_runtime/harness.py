"""Real nodes on the loopback interface, and what their callers see."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2

from mesh_runtime.addresses import Address
from mesh_runtime.node import Node, NodeOptions

Detail = TypeVar("Detail", bound=Message)

# Not generic at run time.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

DOMAIN = "iap.test"
SERVICE = "test.v1.ExampleService"
LOOPBACK = Address(host="127.0.0.1", port=0)


def path(method: str) -> str:
    return f"/{SERVICE}/{method}"


def unary(behavior: Callable[..., Any]) -> Handler:
    return grpc.unary_unary_rpc_method_handler(
        behavior,
        request_deserializer=StringValue.FromString,
        response_serializer=StringValue.SerializeToString,
    )


def response_stream(behavior: Callable[..., Any]) -> Handler:
    return grpc.unary_stream_rpc_method_handler(
        behavior,
        request_deserializer=StringValue.FromString,
        response_serializer=StringValue.SerializeToString,
    )


def request_stream(behavior: Callable[..., Any]) -> Handler:
    return grpc.stream_unary_rpc_method_handler(
        behavior,
        request_deserializer=StringValue.FromString,
        response_serializer=StringValue.SerializeToString,
    )


def both_streams(behavior: Callable[..., Any]) -> Handler:
    return grpc.stream_stream_rpc_method_handler(
        behavior,
        request_deserializer=StringValue.FromString,
        response_serializer=StringValue.SerializeToString,
    )


def generic_handler(**methods: Handler) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def build_node(
    options: NodeOptions | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    **methods: Handler,
) -> Node:
    node = Node(
        options or NodeOptions(listen=LOOPBACK),
        domain=DOMAIN,
        service_names=[SERVICE],
        interceptors=interceptors,
    )
    node.server.add_generic_rpc_handlers((generic_handler(**methods),))
    return node


@asynccontextmanager
async def calling(
    options: NodeOptions | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    **methods: Handler,
) -> AsyncIterator["Caller"]:
    """A started node with these methods, and a caller of it."""
    node = build_node(options, interceptors, **methods)
    address = await node.start()
    try:
        async with grpc.aio.insecure_channel(str(address)) as channel:
            yield Caller(channel)
    finally:
        node.hurry()
        await node.stop()


class Caller:
    """Calls the methods of ExampleService."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def unary(
        self, method: str, text: str = "", timeout: float | None = 10, *, wait_for_ready: bool | None = None
    ) -> Any:
        call = self.channel.unary_unary(
            path(method),
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        return call(StringValue(value=text), timeout=timeout, wait_for_ready=wait_for_ready)

    def response_stream(self, method: str, text: str = "", timeout: float | None = 10) -> Any:
        call = self.channel.unary_stream(
            path(method),
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        return call(StringValue(value=text), timeout=timeout)

    def request_stream(self, method: str, texts: Sequence[str] = ()) -> Any:
        call = self.channel.stream_unary(
            path(method),
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        return call(iter([StringValue(value=text) for text in texts]), timeout=10)

    def both_streams(self, method: str, texts: Sequence[str] = ()) -> Any:
        call = self.channel.stream_stream(
            path(method),
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        return call(iter([StringValue(value=text) for text in texts]), timeout=10)


@dataclass(frozen=True, slots=True)
class SeenError:
    """An error as the caller sees it."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        return unpack(self.status.details[0], error_details_pb2.ErrorInfo())

    @property
    def reason(self) -> str:
        return str(self.info.reason)


def unpack(packed: PackedAny, into: Detail) -> Detail:
    assert packed.Unpack(into)
    return into


def seen(error: grpc.aio.AioRpcError) -> SeenError:
    found = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    assert len(found) == 1, "one status travels with every error"
    status = status_pb2.Status.FromString(found[0])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return SeenError(code=error.code(), message=error.details() or "", status=status)
