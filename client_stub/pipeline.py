"""Operations over Pipelines of the broker instead of a call for each: the same rules, for a fraction of the cost.

What is asked for in the same turn of the event loop shares a message; nothing waits for company. An operation belongs
to no stream until one is ready to take it: a stream that is slow or broken takes none, and what it leaves unanswered
when it breaks goes to another. Sending again is safe, as every operation has a request_id.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import grpc.aio
from google.protobuf.message import Message
from iap.broker.v1 import broker_pb2

from client_stub import retry_policy
from client_stub.credentials import Metadata
from client_stub.errors import IapError
from client_stub.pipeline_stream import MAX_OPERATIONS, Operation, PipelineStream
from client_stub.service_client import took_too_long

TraceMetadata = Callable[[], Mapping[str, str]]

# A message's; brokers take 4 MiB. What is larger by itself goes as a call of its own.
MAX_MESSAGE_BYTES: Final = 1024 * 1024
_NAMES: Final[Mapping[type[Message], str]] = MappingProxyType(
    {
        broker_pb2.ReserveRequest: "reserve",
        broker_pb2.CaptureRequest: "capture",
        broker_pb2.ReleaseRequest: "release",
        broker_pb2.ExtendRequest: "extend",
        broker_pb2.ChargeRequest: "charge",
        broker_pb2.RefundRequest: "refund",
    }
)


class Pipeline:
    """Several streams, one on each channel, from the first operation until `close`.

    `trace_metadata` is called where an operation is asked for, and returns what goes along with it for tracing, such as
    a `traceparent`.
    """

    def __init__(
        self,
        channels: Sequence[grpc.aio.Channel],
        *,
        metadata: Metadata,
        trace_metadata: TraceMetadata | None = None,
    ) -> None:
        self._trace_metadata = trace_metadata
        self._streams = [PipelineStream(channel, metadata, self) for channel in channels]
        self._channels = channels
        self._queue: deque[Operation] = deque()
        self._is_dispatching = False
        self._is_running = False
        self._is_closed = False

    async def carry_out(self, request: Any, timeout_seconds: float) -> Any:
        """Carry one operation out and return its response; raise IapError when it is refused or fails."""
        self._run()
        if self._has_ended:
            raise grpc.aio.UsageError("The client or its channel is closed.")
        loop = asyncio.get_running_loop()
        operation = Operation(
            name=_NAMES[type(request)],
            request=request,
            answer=loop.create_future(),
            deadline=loop.time() + timeout_seconds,
            trace={} if self._trace_metadata is None else self._trace_metadata(),
        )
        self.add(operation)
        timer = loop.call_at(operation.deadline, operation.time_out)
        try:
            return await operation.answer
        except TimeoutError:
            channel = self._channels[0] if operation.stream is None else operation.stream.channel
            raise took_too_long(channel, timeout_seconds) from None
        finally:
            timer.cancel()
            operation.leave()

    def add(self, operation: Operation) -> None:
        """Queue an operation for the next stream that is ready."""
        self._queue.append(operation)
        self.dispatch_soon()

    def add_again(self, operations: Sequence[Operation]) -> None:
        """Queue operations that were sent and not answered, before all that were not sent yet."""
        self._queue.extendleft(reversed(operations))
        self.dispatch_soon()

    def fail(self, operation: Operation, error: IapError) -> None:
        """End an operation with an error, or try it again after a pause if that may help."""
        if error.code not in retry_policy.RETRYABLE_CODES or operation.attempts >= retry_policy.MAX_ATTEMPTS:
            operation.fail(error)
            return
        pause_seconds = retry_policy.pause_seconds(operation.attempts)
        asyncio.get_running_loop().call_later(pause_seconds, self._add_if_wanted, operation)

    def fail_waiting(self, error: IapError) -> None:
        """End all that no stream has taken: there is none that would."""
        if not any(stream.is_open for stream in self._streams):
            while self._queue:
                self._queue.popleft().fail(error)

    def dispatch_soon(self) -> None:
        """Give what waits to a stream that is ready, as soon as those who come in this turn are there."""
        if self._queue and not self._is_dispatching:
            self._is_dispatching = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    async def close(self) -> None:
        """End the streams; operations that still run are cancelled."""
        self._is_closed = True
        while self._queue:
            self._queue.popleft().answer.cancel()
        await asyncio.gather(*(stream.close() for stream in self._streams))

    @property
    def _has_ended(self) -> bool:
        return self._is_closed or all(stream.has_ended for stream in self._streams)

    def _run(self) -> None:
        if not self._is_running and not self._is_closed:
            self._is_running = True
            for stream in self._streams:
                stream.start()

    def _add_if_wanted(self, operation: Operation) -> None:
        if self._has_ended:
            operation.answer.cancel()
        elif not operation.answer.done():
            self.add(operation)

    def _dispatch(self) -> None:
        self._is_dispatching = False
        while self._queue:
            ready = [stream for stream in self._streams if stream.is_ready]
            if self._has_ended:
                self._queue.popleft().answer.cancel()
                continue
            if not ready:
                for stream in self._streams:
                    stream.open_again()
                return
            batch = self._next_batch()
            if batch:
                # The one with the least to do: what a stream that is slow has taken stays unanswered there.
                min(ready, key=len).send(batch)

    def _next_batch(self) -> list[Operation]:
        batch: list[Operation] = []
        size_bytes = 0
        while self._queue and len(batch) < MAX_OPERATIONS:
            operation = self._queue[0]
            if operation.answer.done():
                # Nobody waits for it any more.
                self._queue.popleft()
                continue
            size_bytes += operation.size_bytes
            if batch and size_bytes > MAX_MESSAGE_BYTES:
                break
            batch.append(self._queue.popleft())
        return batch
