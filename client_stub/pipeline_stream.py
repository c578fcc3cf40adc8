"""One stream of a Pipeline: it is open as long as the client is, and opened again whenever it breaks."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import grpc
import grpc.aio
from iap.broker.v1 import broker_pb2
from iap.broker.v1.broker_pb2_grpc import BrokerServiceStub

from client_stub import retry_policy
from client_stub.credentials import Metadata
from client_stub.error_parsing import status_to_iap_error, to_iap_error
from client_stub.errors import IapError, InternalError, UnavailableError

# What the contract allows in one message.
MAX_OPERATIONS: Final = 1_000
_INTERNAL: Final = grpc.StatusCode.INTERNAL
_CLOSE_SECONDS: Final = 0.5
_CALL_HAS_ENDED: Final = (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError)


class Operation:
    """An operation that somebody waits for. `stream` is the one that has sent it last, `attempts` how often it was."""

    __slots__ = ("answer", "attempts", "deadline", "name", "request", "sequence", "stream", "trace")

    def __init__(
        self, *, name: str, request: Any, answer: asyncio.Future[Any], deadline: float, trace: Mapping[str, str]
    ) -> None:
        self.name = name
        self.request = request
        self.answer = answer
        self.deadline = deadline
        self.trace = trace
        self.attempts = 0
        self.sequence = 0
        self.stream: PipelineStream | None = None

    def fail(self, error: BaseException) -> None:
        """End it with an error, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def time_out(self) -> None:
        """End it as one that has taken too long."""
        self.fail(TimeoutError())

    @property
    def size_bytes(self) -> int:
        """How much of a message it takes, or a little less."""
        size: int = self.request.ByteSize()
        return size + sum(len(name) + len(value) for name, value in self.trace.items())

    def leave(self) -> None:
        """Tell the broker, if it does not know, that nobody waits for it any more."""
        if self.stream is not None:
            self.stream.forget(self)


class Operations(Protocol):
    """Where a stream's operations come from, and where those go that it could not carry out."""

    def add_again(self, operations: Sequence[Operation]) -> None:
        """Queue operations that were sent and not answered."""
        ...

    def fail(self, operation: Operation, error: IapError) -> None:
        """End an operation with an error, or try it again later."""
        ...

    def fail_waiting(self, error: IapError) -> None:
        """End what waits, as streams are refused."""
        ...

    def dispatch_soon(self) -> None:
        """Give what waits to a stream that is ready."""
        ...


class PipelineStream:
    """Sends operations and takes their answers. `is_open`: the broker has let the stream in.

    `len` tells how many it has sent that are not answered.
    """

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata, operations: Operations) -> None:
        self.channel = channel
        self._stub = BrokerServiceStub(channel)
        self._metadata = metadata
        self._operations = operations
        self._unanswered: dict[int, Operation] = {}
        self._to_send: list[Operation] = []
        self._to_cancel: list[int] = []
        self._has_something_to_send = asyncio.Event()
        self._last_sequence = 0
        self._call: Any = None
        self._running: asyncio.Task[None] | None = None
        self.is_open = False
        self._is_writing = False
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._unanswered)

    @property
    def is_ready(self) -> bool:
        """Whether a message would go out at once."""
        return self.is_open and not self._is_writing and not self._to_send

    def start(self) -> None:
        """Open the stream, and again whenever it ends."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    def send(self, operations: list[Operation]) -> None:
        """Send operations in one message; the stream is ready."""
        self._to_send = operations
        self._has_something_to_send.set()

    def forget(self, operation: Operation) -> None:
        """Cancel an operation at the broker if it is not answered."""
        if self._unanswered.get(operation.sequence) is operation:
            del self._unanswered[operation.sequence]
            self._to_cancel.append(operation.sequence)
            self._has_something_to_send.set()

    async def close(self) -> None:
        """End the stream; operations that are not answered are cancelled."""
        self._is_closing = True
        if self._running is None:
            return
        if self.is_open and not self._unanswered:
            await self._half_close(self._running)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        for operation in self._take_unanswered():
            operation.answer.cancel()

    async def _half_close(self, running: asyncio.Task[None]) -> None:
        """Let the broker end the stream by itself, as long as that takes no time."""
        with contextlib.suppress(*_CALL_HAS_ENDED):
            await self._call.done_writing()
        await asyncio.wait({running}, timeout=_CLOSE_SECONDS)

    async def _run(self) -> None:
        failures = 0
        while not self._is_closing:
            has_answered, error = await self._converse()
            self._hand_on(error)
            # One that has carried operations is replaced at once, such as when its broker stops and another takes over.
            failures = 0 if has_answered else failures + 1
            if failures and not self._is_closing:
                await asyncio.sleep(retry_policy.pause_seconds(failures))

    async def _converse(self) -> tuple[bool, IapError]:
        """Keep the stream open to its end; return whether it has answered anything, and what it ended with."""
        call: Any = self._stub.Pipeline(metadata=self._metadata, wait_for_ready=True)
        self._call = call
        writing: asyncio.Task[None] | None = None
        has_answered = False
        try:
            # What is sent before the broker has let the stream in might reach it long after its time.
            await call.initial_metadata()
            self.is_open = True
            writing = asyncio.create_task(self._write_all(call))
            self._operations.dispatch_soon()
            while (response := await call.read()) is not grpc.aio.EOF:
                has_answered = True
                self._take(response)
        except grpc.aio.AioRpcError as error:
            return has_answered, to_iap_error(error)
        finally:
            self.is_open = False
            if writing is not None:
                writing.cancel()
            call.cancel()
        return has_answered, UnavailableError(
            "the server has ended the stream", reason="UNAVAILABLE", code=grpc.StatusCode.UNAVAILABLE
        )

    def _hand_on(self, error: IapError) -> None:
        """Have done again what the stream has left when it broke; refuse it when streams are refused."""
        left = self._take_unanswered()
        if error.code not in retry_policy.RETRYABLE_CODES:
            for operation in left:
                operation.fail(error)
            self._operations.fail_waiting(error)
            return
        for operation in left:
            if operation.attempts >= retry_policy.MAX_ATTEMPTS:
                operation.fail(error)
        self._operations.add_again([operation for operation in left if not operation.answer.done()])

    def _take_unanswered(self) -> list[Operation]:
        left = [*self._unanswered.values(), *self._to_send]
        self._unanswered.clear()
        self._to_send = []
        self._to_cancel.clear()
        return left

    async def _write_all(self, call: Any) -> None:
        # When it cannot be written to any more, the call ends, and reading tells how.
        with contextlib.suppress(*_CALL_HAS_ENDED):
            while True:
                await self._has_something_to_send.wait()
                self._has_something_to_send.clear()
                message = self._next_message()
                if not (message.operations or message.cancelled_sequences):
                    self._operations.dispatch_soon()
                    continue
                self._is_writing = True
                try:
                    await call.write(message)
                finally:
                    self._is_writing = False
                self._operations.dispatch_soon()

    def _next_message(self) -> broker_pb2.PipelineRequest:
        now = asyncio.get_running_loop().time()
        message = broker_pb2.PipelineRequest(cancelled_sequences=self._to_cancel[:MAX_OPERATIONS])
        del self._to_cancel[:MAX_OPERATIONS]
        if self._to_cancel:
            self._has_something_to_send.set()
        operations, self._to_send = self._to_send, []
        for operation in operations:
            left_seconds = operation.deadline - now
            if left_seconds > 0 and not operation.answer.done():
                self._add_to(message, operation, left_seconds)
        return message

    def _add_to(self, message: broker_pb2.PipelineRequest, operation: Operation, left_seconds: float) -> None:
        self._last_sequence += 1
        operation.sequence = self._last_sequence
        operation.stream = self
        operation.attempts += 1
        self._unanswered[operation.sequence] = operation
        added = message.operations.add()
        added.sequence = operation.sequence
        getattr(added, operation.name).CopyFrom(operation.request)
        seconds = int(left_seconds)
        added.timeout.seconds, added.timeout.nanos = seconds, int((left_seconds - seconds) * 1e9)
        if operation.trace:
            added.metadata.update(operation.trace)

    def _take(self, response: broker_pb2.PipelineResponse) -> None:
        for result in response.results:
            operation = self._unanswered.pop(result.sequence, None)
            if operation is None or operation.answer.done():
                continue
            name = result.WhichOneof("response")
            if name == operation.name:
                answer = getattr(result, name)
                # By itself: a part would keep the whole message in memory.
                own = type(answer)()
                own.CopyFrom(answer)
                operation.answer.set_result(own)
            elif name == "error":
                self._operations.fail(operation, status_to_iap_error(result.error))
            else:
                operation.fail(
                    InternalError(
                        "the server's answer makes no sense", reason="INTERNAL", code=grpc.StatusCode.INTERNAL
                    )
                )
