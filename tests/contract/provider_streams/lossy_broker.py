"""A wire between a provider and a real broker that loses what a test says."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

# Tells the provider's channel not to try again by itself, so that each loss is one that the provider sees.
_DO_NOT_RETRY = (("grpc-retry-pushback-ms", "-1"),)


class LossyBroker(grpc.GenericRpcHandler):
    """Passes unary calls on. `lost_answers` counts down by RPC; while `down`, nothing is passed on."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.address = ""
        self.down = False
        self.lost_answers: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        rpc = method.rpartition("/")[2]

        async def pass_on(request: bytes, context: Any) -> bytes:
            self.calls[rpc] += 1
            if self.down:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "lost", _DO_NOT_RETRY)
            metadata = [item for item in context.invocation_metadata() if item[0] == "authorization"]
            try:
                call: Any = self._channel.unary_unary(method)
                answer: bytes = await call(request, metadata=metadata, timeout=10)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details(), tuple(error.trailing_metadata() or ()))
            if self.lost_answers[rpc]:
                self.lost_answers[rpc] -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "lost", _DO_NOT_RETRY)
            return answer

        return grpc.unary_unary_rpc_method_handler(pass_on)


@asynccontextmanager
async def lossy(channel: grpc.aio.Channel) -> AsyncIterator[LossyBroker]:
    """Serves a wire to the broker that a channel reaches."""
    wire = LossyBroker(channel)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((wire,))
    wire.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield wire
    finally:
        await server.stop(None)
