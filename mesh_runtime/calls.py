"""What happens around every call: its deadline, its answer when it fails, its line in the log."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from mesh_runtime import deadlines
from mesh_runtime.call_errors import CallError, internal, invalid_argument, overloaded, unavailable, unimplemented
from mesh_runtime.field_rules import FieldViolation
from mesh_runtime.logs import get_logger
from mesh_runtime.running_calls import RunningCalls

# Messages are of any type here: this module moves them and looks into none.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behavior: TypeAlias = Callable[[Any, Any], Any]

_STOPPING_RETRY_AFTER: Final = timedelta(seconds=1)
_OVERLOADED_RETRY_AFTER: Final = timedelta(milliseconds=200)
_UNDECODABLE: Final = FieldViolation(field="", description="The request is not a message of this method's type.")
_INFRASTRUCTURE_PREFIXES: Final = ("/grpc.health.", "/grpc.reflection.")
_logger = get_logger("mesh_runtime.calls")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """The outermost interceptor of a node.

    Handlers and inner interceptors raise CallError to answer with an error. Anything else they raise is a
    bug: the log gets the traceback, the caller gets INTERNAL without a word of it. Handlers are coroutine
    functions or asynchronous generator functions.
    """

    def __init__(
        self,
        domain: str,
        *,
        running_calls: RunningCalls | None = None,
        max_concurrent_calls: int | None = None,
    ) -> None:
        self._domain = domain
        self._running_calls = running_calls if running_calls is not None else RunningCalls()
        self._max_concurrent_calls = max_concurrent_calls
        # The last handler seen for each method and what it became; inner interceptors may return new ones.
        self._guarded: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the handler of the call, guarded; for an unknown method, one that says so."""
        method = handler_call_details.method
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:  # noqa: BLE001 - no text of an inner interceptor's error gets out
            return self._refusing_handler(method, error)
        if handler is None:
            return self._refusing_handler(method, unimplemented(self._domain, method))
        known = self._guarded.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        guarded = self._guard(method, handler)
        self._guarded[method] = (handler, guarded)
        return guarded

    def _guard(self, method: str, handler: Handler) -> Handler:
        guard = _CallGuard(
            method=method,
            domain=self._domain,
            running_calls=self._running_calls,
            max_concurrent_calls=self._max_concurrent_calls,
        )
        return guard.wrap(handler)

    def _refusing_handler(self, method: str, error: Exception) -> Handler:
        async def refuse(_request: object, _context: Context) -> None:
            raise error

        # Streaming both ways, as that waits for no request message before it answers.
        return self._guard(method, grpc.stream_stream_rpc_method_handler(refuse))


class _CallGuard:
    """Runs the calls of one method."""

    def __init__(
        self,
        *,
        method: str,
        domain: str,
        running_calls: RunningCalls,
        max_concurrent_calls: int | None,
    ) -> None:
        self._method = method
        self._domain = domain
        self._running_calls = running_calls
        self._max_concurrent_calls = max_concurrent_calls
        self._is_infrastructure = method.startswith(_INFRASTRUCTURE_PREFIXES)
        level = logging.DEBUG if self._is_infrastructure else logging.INFO
        # Asked once, so that a call below the level costs no line that nobody sees.
        self._log = _log_function(level) if _logger.is_enabled_for(level) else None

    def wrap(self, handler: Handler) -> Handler:
        """Return a handler of the same kind that runs the given one under guard.

        The wrapper decodes single requests and encodes single responses by itself, so that what fails there
        is answered like everything else instead of leaving as UNKNOWN with the exception's text.
        """
        decode = self._decoder(handler)
        encode = handler.response_serializer or _unchanged
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, decode, encode))
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(handler.stream_unary, _unchanged, encode), request_deserializer=decode
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, decode), response_serializer=handler.response_serializer
            )
        assert handler.stream_stream is not None  # noqa: S101 - one of the four is always set
        return grpc.stream_stream_rpc_method_handler(
            self._stream(handler.stream_stream, _unchanged),
            request_deserializer=decode,
            response_serializer=handler.response_serializer,
        )

    def _unary(
        self, behavior: Behavior, decode: Callable[[Any], Any], encode: Callable[[Any], bytes]
    ) -> Callable[[Any, Context], Awaitable[bytes | None]]:
        async def run(request: Any, context: Context) -> bytes | None:
            started = time.perf_counter()
            try:
                self._begin(context)
                response = encode(await behavior(decode(request), context))
            except BaseException as error:  # noqa: BLE001 - every way out of a call is answered and logged
                await self._fail(context, error, started)
                return None
            if self._log is not None:
                self._report(started, _final_code(context))
            return response

        return run

    def _stream(self, behavior: Behavior, decode: Callable[[Any], Any]) -> Callable[[Any, Context], Awaitable[None]]:
        async def run(request: Any, context: Context) -> None:
            started = time.perf_counter()
            try:
                self._begin(context)
                await _pump(behavior(decode(request), context), context)
            except BaseException as error:  # noqa: BLE001 - every way out of a call is answered and logged
                await self._fail(context, error, started)
                return
            if self._log is not None:
                self._report(started, _final_code(context))

        return run

    def _begin(self, context: Context) -> None:
        deadlines.start_deadline(context.time_remaining())
        if self._is_infrastructure:
            return
        if self._running_calls.refusing:
            raise unavailable(self._domain, "This server is stopping.", _STOPPING_RETRY_AFTER)
        if self._max_concurrent_calls is not None and len(self._running_calls) >= self._max_concurrent_calls:
            raise overloaded(self._domain, "This server is busy with other calls.", _OVERLOADED_RETRY_AFTER)
        self._running_calls.add(context)

    def _decoder(self, handler: Handler) -> Callable[[Any], Any]:
        deserialize = handler.request_deserializer
        if deserialize is None:
            return _unchanged

        def decode(request: bytes) -> Any:
            try:
                return deserialize(request)
            except DecodeError:
                raise invalid_argument(self._domain, [_UNDECODABLE]) from None

        return decode

    async def _fail(self, context: Context, error: BaseException, started: float) -> None:
        """Answer the call with the error, or let the error on to gRPC when that is what it waits for."""
        if isinstance(error, CallError):
            await self._answer(context, error, started)
        elif isinstance(error, grpc.aio.AbortError):
            self._report(started, context.code())
            raise error
        elif _is_cancellation(error):
            self._report(started, _cancellation_code())
            raise error
        elif isinstance(error, NotImplementedError) and context.code() is grpc.StatusCode.UNIMPLEMENTED:
            # So says the method of a generated servicer that nobody has overridden.
            await self._answer(context, unimplemented(self._domain, self._method), started)
        elif isinstance(error, (Exception, asyncio.CancelledError)):
            _logger.error("call.bug", method=self._method, exc_info=error)
            await self._answer(context, internal(self._domain), started)
        else:
            raise error

    async def _answer(self, context: Context, error: CallError, started: float) -> None:
        try:
            trailing_metadata: tuple[tuple[str, str | bytes], ...] = error.to_trailing_metadata()
        except Exception:
            # Such as metadata that is not text: a bug like any other.
            _logger.exception("call.bug", method=self._method, reason=error.reason)
            error = internal(self._domain)
            trailing_metadata = error.to_trailing_metadata()
        self._report(started, error.code, error.reason)
        if context.done():
            # The handler aborted the call already and went on; gRPC raises that abort again.
            return
        await context.abort(error.code, error.message, (*context.trailing_metadata(), *trailing_metadata))

    def _report(self, started: float, code: grpc.StatusCode, reason: str | None = None) -> None:
        if self._log is None:
            return
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        if reason is None:
            self._log("call", method=self._method, code=code.name, duration_ms=duration_ms)
        else:
            self._log("call", method=self._method, code=code.name, reason=reason, duration_ms=duration_ms)


async def _pump(responses: Any, context: Context) -> None:
    """Send what a streaming handler yields; one that writes by itself is only waited for."""
    if not hasattr(responses, "__aiter__"):
        await responses
        return
    # Closed here, as a generator that is dropped when the caller leaves would do its cleaning up much later.
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)


def _is_cancellation(error: BaseException) -> bool:
    """Whether the call ended because its caller left, its deadline passed or the server stopped."""
    if isinstance(error, asyncio.CancelledError):
        # Without a request to cancel this task, something that the handler awaited was cancelled instead.
        # gRPC would send no status at all for that, and leave the caller waiting for its deadline.
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    # The connection broke under a read or a write, or the server stopped; UsageError is a handler's mistake.
    return isinstance(error, grpc.aio.BaseError) and not isinstance(error, grpc.aio.UsageError)


def _final_code(context: Context) -> grpc.StatusCode:
    # None, other than its type says, while nobody has set a code.
    code: grpc.StatusCode | None = context.code()
    return grpc.StatusCode.OK if code is None else code


def _cancellation_code() -> grpc.StatusCode:
    remaining = deadlines.remaining_seconds()
    if remaining is not None and remaining <= 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED


def _log_function(level: int) -> Callable[..., Any]:
    return _logger.debug if level == logging.DEBUG else _logger.info


def _unchanged(message: Any) -> Any:
    return message
