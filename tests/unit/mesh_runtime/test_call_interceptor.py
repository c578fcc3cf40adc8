import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from mesh_runtime import deadlines
from mesh_runtime.call_errors import CallError, invalid_argument, unavailable
from mesh_runtime.field_rules import FieldViolation
from mesh_runtime.node import NodeOptions
from tests.unit.mesh_runtime.harness import (
    DOMAIN,
    LOOPBACK,
    SERVICE,
    Caller,
    both_streams,
    calling,
    path,
    request_stream,
    response_stream,
    seen,
    unary,
    unpack,
)

SECRET = "tok_do_not_tell"


async def echo(request: StringValue, _context: Any) -> StringValue:
    return request


async def refuse(_request: Any, _context: Any) -> StringValue:
    raise CallError(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="INSUFFICIENT_CREDITS",
        message="3 credits are missing.",
        domain=DOMAIN,
        metadata={"missing": "3"},
        details=[StringValue(value="offer")],
    )


async def break_down(_request: Any, _context: Any) -> StringValue:
    raise RuntimeError(SECRET)


async def failure(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def stream_failure(call: Any) -> tuple[list[str], grpc.aio.AioRpcError]:
    received: list[str] = []
    try:
        async for response in call:
            received.append(response.value)  # noqa: PERF401 - a comprehension would lose them at the error
    except grpc.aio.AioRpcError as error:
        return received, error
    raise AssertionError("the stream did not fail")


def calls_logged(logs: list[Any], method: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == "call" and entry["method"] == path(method)]


def bugs_logged(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["event"] == "call.bug"]


async def test_a_call_error_reaches_the_caller_with_all_its_details() -> None:
    async with calling(Refuse=unary(refuse)) as caller:
        error = seen(await failure(caller.unary("Refuse")))
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.message == "3 credits are missing."
    assert (error.info.domain, error.info.reason) == (DOMAIN, "INSUFFICIENT_CREDITS")
    assert dict(error.info.metadata) == {"missing": "3"}
    assert unpack(error.status.details[1], StringValue()).value == "offer"


async def test_an_unexpected_error_becomes_internal_and_none_of_its_text_gets_out() -> None:
    with capture_logs() as logs:
        async with calling(BreakDown=unary(break_down)) as caller:
            raw = await failure(caller.unary("BreakDown"))
    error = seen(raw)
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert error.message == "An internal error occurred."
    everything = f"{raw.details()} {raw.debug_error_string()} {raw.trailing_metadata()}"
    assert SECRET not in everything
    assert "RuntimeError" not in everything
    (bug,) = bugs_logged(logs)
    assert (bug["log_level"], bug["method"]) == ("error", path("BreakDown"))
    assert isinstance(bug["exc_info"], RuntimeError)


async def test_a_group_of_errors_becomes_internal() -> None:
    async def break_twice(_request: StringValue, _context: Any) -> StringValue:
        raise ExceptionGroup(SECRET, [ValueError(SECRET)])

    async with calling(BreakTwice=unary(break_twice)) as caller:
        error = seen(await failure(caller.unary("BreakTwice")))
    assert error.reason == "INTERNAL"


async def test_one_line_is_logged_for_a_call_and_nothing_of_its_content() -> None:
    with capture_logs() as logs:
        async with calling(Echo=unary(echo)) as caller:
            await caller.unary("Echo", SECRET)
    (line,) = calls_logged(logs, "Echo")
    assert set(line) == {"event", "log_level", "source", "method", "code", "duration_ms"}
    assert (line["log_level"], line["code"]) == ("info", "OK")
    assert line["duration_ms"] >= 0
    assert round(line["duration_ms"], 3) == line["duration_ms"]
    assert SECRET not in str(logs)


async def test_the_line_of_a_refused_call_names_the_reason_only() -> None:
    with capture_logs() as logs:
        async with calling(Refuse=unary(refuse)) as caller:
            await failure(caller.unary("Refuse"))
    (line,) = calls_logged(logs, "Refuse")
    assert (line["code"], line["reason"], line["log_level"]) == (
        "FAILED_PRECONDITION",
        "INSUFFICIENT_CREDITS",
        "info",
    )
    assert "3 credits" not in str(logs)
    assert not bugs_logged(logs)


async def test_health_checks_are_logged_at_debug_level() -> None:
    with capture_logs() as logs:
        async with calling() as caller:
            await health_pb2_grpc.HealthStub(caller.channel).Check(health_pb2.HealthCheckRequest())
    (line,) = [entry for entry in logs if entry["event"] == "call"]
    assert (line["log_level"], line["method"]) == ("debug", "/grpc.health.v1.Health/Check")


async def test_an_unknown_method_is_unimplemented_for_every_kind_of_caller() -> None:
    with capture_logs() as logs:
        async with calling() as caller:
            unary_error = seen(await failure(caller.unary("Nothing")))
            request_stream_error = seen(await failure(caller.request_stream("Nothing")))
            _, raw = await stream_failure(caller.response_stream("Nothing"))
            _, raw_both = await stream_failure(caller.both_streams("Nothing"))
    for error in (unary_error, request_stream_error, seen(raw), seen(raw_both)):
        assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
        assert dict(error.info.metadata) == {"rpc": "Nothing"}
    assert not bugs_logged(logs)


async def test_a_method_of_a_generated_servicer_that_nobody_overrode_is_unimplemented() -> None:
    # The methods of generated servicers are not coroutine functions; this is the whole of one.
    def generated(_request: StringValue, context: Any) -> None:
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")

    with capture_logs() as logs:
        async with calling(
            Unary=unary(generated), Stream=response_stream(generated), Both=both_streams(generated)
        ) as caller:
            errors = [seen(await failure(caller.unary("Unary")))]
            errors += [seen((await stream_failure(caller.response_stream("Stream")))[1])]
            errors += [seen((await stream_failure(caller.both_streams("Both", ["1"])))[1])]
    assert [error.reason for error in errors] == ["UNIMPLEMENTED"] * 3
    assert errors[0].message == f"The method {path('Unary')} is not implemented here."
    assert not bugs_logged(logs)


async def test_not_implemented_within_a_handler_is_a_bug() -> None:
    async def lacking(_request: StringValue, _context: Any) -> StringValue:
        raise NotImplementedError(SECRET)

    with capture_logs() as logs:
        async with calling(Lacking=unary(lacking)) as caller:
            error = seen(await failure(caller.unary("Lacking")))
    assert error.reason == "INTERNAL"
    assert len(bugs_logged(logs)) == 1


async def test_a_request_that_cannot_be_decoded_is_an_invalid_argument() -> None:
    async def consume(requests: AsyncIterator[StringValue], _context: Any) -> StringValue:
        async for _ in requests:
            pass
        return StringValue()

    async def forward(requests: AsyncIterator[StringValue], _context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield request

    garbage = b"\xff\xff\xff"
    with capture_logs() as logs:
        async with calling(Echo=unary(echo), Consume=request_stream(consume), Both=both_streams(forward)) as caller:
            channel: Any = caller.channel
            errors = [await failure(channel.unary_unary(path("Echo"))(garbage))]
            errors += [await failure(channel.stream_unary(path("Consume"))(iter([garbage])))]
            errors += [(await stream_failure(channel.stream_stream(path("Both"))(iter([garbage]))))[1]]
    assert [seen(error).reason for error in errors] == ["INVALID_ARGUMENT"] * 3
    assert not bugs_logged(logs)


@pytest.mark.parametrize("answer", [None, b"not a message", 7])
async def test_a_response_of_the_wrong_type_is_a_bug(answer: object) -> None:
    async def wrong(_request: StringValue, _context: Any) -> Any:
        return answer

    async def wrong_stream(_request: StringValue, _context: Any) -> Any:
        yield answer

    with capture_logs() as logs:
        async with calling(Wrong=unary(wrong), WrongStream=response_stream(wrong_stream)) as caller:
            error = seen(await failure(caller.unary("Wrong")))
            _, stream_error = await stream_failure(caller.response_stream("WrongStream"))
    assert error.reason == seen(stream_error).reason == "INTERNAL"
    assert len(bugs_logged(logs)) == 2


async def test_streaming_handlers_work_in_both_styles() -> None:
    async def generate(request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        for letter in request.value:
            yield StringValue(value=letter)

    async def write(request: StringValue, context: Any) -> None:
        for letter in request.value:
            await context.write(StringValue(value=letter))

    async def join(requests: AsyncIterator[StringValue], _context: Any) -> StringValue:
        return StringValue(value="".join([request.value async for request in requests]))

    async def forward(requests: AsyncIterator[StringValue], _context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value=request.value.upper())

    async def read_and_write(_requests: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(request)

    with capture_logs() as logs:
        async with calling(
            Generate=response_stream(generate),
            Write=response_stream(write),
            Join=request_stream(join),
            Forward=both_streams(forward),
            ReadAndWrite=both_streams(read_and_write),
        ) as caller:
            assert [one.value async for one in caller.response_stream("Generate", "ab")] == ["a", "b"]
            assert [one.value async for one in caller.response_stream("Write", "ab")] == ["a", "b"]
            assert (await caller.request_stream("Join", ["a", "b"])).value == "ab"
            assert [one.value async for one in caller.both_streams("Forward", ["a", "b"])] == ["A", "B"]
            assert [one.value async for one in caller.both_streams("ReadAndWrite", ["a"])] == ["a"]
    assert [entry["code"] for entry in logs if entry["event"] == "call"] == ["OK"] * 5


async def test_a_stream_that_fails_half_way_delivers_what_came_before_and_the_status() -> None:
    async def two_then_refuse(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="1")
        yield StringValue(value="2")
        raise unavailable(DOMAIN, "Going away.", timedelta(seconds=2))

    async with calling(Two=response_stream(two_then_refuse)) as caller:
        received, raw = await stream_failure(caller.response_stream("Two"))
    assert received == ["1", "2"]
    error = seen(raw)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert unpack(error.status.details[1], error_details_pb2.RetryInfo()).retry_delay.seconds == 2


async def test_an_abort_by_the_handler_passes_through() -> None:
    async def abort(_request: StringValue, context: Any) -> StringValue:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing", (("x-own", "1"),))
        return StringValue()

    with capture_logs() as logs:
        async with calling(Abort=unary(abort)) as caller:
            error = await failure(caller.unary("Abort"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    assert ("x-own", "1") in tuple(error.trailing_metadata())
    (line,) = calls_logged(logs, "Abort")
    assert line["code"] == "NOT_FOUND"
    assert not bugs_logged(logs)


async def test_an_error_raised_after_an_abort_changes_nothing_for_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def abort_and_go_on(_request: StringValue, context: Any) -> StringValue:
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        except grpc.aio.AbortError as error:
            raise RuntimeError(SECRET) from error
        return StringValue()

    async with calling(AbortAndGoOn=unary(abort_and_go_on)) as caller:
        error = await failure(caller.unary("AbortAndGoOn"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    assert not caplog.records, "gRPC has nothing to complain about"


async def test_trailing_metadata_of_the_handler_travels_with_the_error() -> None:
    async def mark_and_refuse(request: StringValue, context: Any) -> StringValue:
        context.set_trailing_metadata((("x-own", "1"),))
        return await refuse(request, context)

    async with calling(Refuse=unary(mark_and_refuse)) as caller:
        error = await failure(caller.unary("Refuse"))
    assert ("x-own", "1") in tuple(error.trailing_metadata())
    assert seen(error).reason == "INSUFFICIENT_CREDITS"


async def test_a_code_set_by_the_handler_is_the_one_logged() -> None:
    async def set_code(_request: StringValue, context: Any) -> StringValue:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        return StringValue()

    with capture_logs() as logs:
        async with calling(SetCode=unary(set_code)) as caller:
            await failure(caller.unary("SetCode"))
    assert calls_logged(logs, "SetCode")[0]["code"] == "DATA_LOSS"


async def test_a_cancelled_call_stops_its_handler_and_is_logged_as_cancelled() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(_request: StringValue, _context: Any) -> StringValue:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return StringValue()

    with capture_logs() as logs:
        async with calling(Wait=unary(wait)) as caller:
            call = caller.unary("Wait")
            await asyncio.wait_for(started.wait(), 5)
            call.cancel()
            await asyncio.wait_for(cancelled.wait(), 5)
    (line,) = calls_logged(logs, "Wait")
    assert line["code"] == "CANCELLED"
    assert not bugs_logged(logs)


async def test_a_caller_that_leaves_a_stream_closes_the_generator_and_is_no_bug() -> None:
    closed = asyncio.Event()

    async def endless(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        try:
            while True:
                yield StringValue(value="x" * 100_000)
        finally:
            closed.set()

    with capture_logs() as logs:
        async with calling(Endless=response_stream(endless)) as caller:
            call = caller.response_stream("Endless")
            await call.read()
            call.cancel()
            await asyncio.wait_for(closed.wait(), 5)
    (line,) = calls_logged(logs, "Endless")
    assert line["code"] == "CANCELLED"
    assert not bugs_logged(logs)


async def test_a_call_whose_deadline_passes_is_logged_as_such() -> None:
    finished = asyncio.Event()

    async def wait(_request: StringValue, _context: Any) -> StringValue:
        try:
            await asyncio.sleep(30)
        finally:
            finished.set()
        return StringValue()

    with capture_logs() as logs:
        async with calling(Wait=unary(wait)) as caller:
            error = await failure(caller.unary("Wait", timeout=0.2))
            await asyncio.wait_for(finished.wait(), 5)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert calls_logged(logs, "Wait")[0]["code"] == "DEADLINE_EXCEEDED"


async def test_something_cancelled_beneath_the_handler_is_a_bug_and_answered() -> None:
    async def await_cancelled(_request: StringValue, _context: Any) -> StringValue:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future
        return StringValue()

    with capture_logs() as logs:
        async with calling(AwaitCancelled=unary(await_cancelled)) as caller:
            error = seen(await failure(caller.unary("AwaitCancelled")))
    assert error.reason == "INTERNAL"
    assert len(bugs_logged(logs)) == 1


async def test_the_deadline_of_the_caller_is_the_deadline_of_the_handler() -> None:
    async def tell(_request: StringValue, _context: Any) -> StringValue:
        return StringValue(value=str(deadlines.remaining_seconds()))

    async with calling(Tell=unary(tell)) as caller:
        limited = await caller.unary("Tell", timeout=5)
        unlimited = await caller.unary("Tell", timeout=None)
    # The server's view may exceed the caller's own timeout by a little.
    assert 4 < float(limited.value) < 5.1
    assert unlimited.value == "None"


async def test_calls_beyond_the_limit_are_overloaded_and_health_checks_are_not() -> None:
    started, released = asyncio.Event(), asyncio.Event()

    async def hold(request: StringValue, _context: Any) -> StringValue:
        started.set()
        await released.wait()
        return request

    options = NodeOptions(listen=LOOPBACK, max_concurrent_calls=1)
    async with calling(options, Hold=unary(hold)) as caller:
        first = caller.unary("Hold", "first")
        await asyncio.wait_for(started.wait(), 5)
        error = seen(await failure(caller.unary("Hold", "second")))
        health = health_pb2_grpc.HealthStub(caller.channel)
        checked = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        released.set()
        assert (await first).value == "first"
        assert (await _eventually_admitted(caller)).value == "third"
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert unpack(error.status.details[1], error_details_pb2.RetryInfo()).HasField("retry_delay")
    assert checked.status == health_pb2.HealthCheckResponse.SERVING


async def _eventually_admitted(caller: Caller) -> Any:
    """A caller may have its answer a moment before the server counts the call as finished."""
    for _ in range(100):
        try:
            return await caller.unary("Hold", "third")
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.01)
    raise AssertionError("the first call was never counted as finished")


class Gate(grpc.aio.ServerInterceptor):
    """An inner interceptor that fails in its own way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        raise self._error


async def test_an_inner_interceptor_refuses_a_call_with_a_call_error() -> None:
    gate = Gate(
        CallError(code=grpc.StatusCode.UNAUTHENTICATED, reason="CREDENTIALS_MISSING", message="No key.", domain=DOMAIN)
    )
    async with calling(interceptors=[gate], Echo=unary(echo)) as caller:
        error = seen(await failure(caller.unary("Echo")))
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING")


async def test_an_inner_interceptor_that_breaks_is_a_bug() -> None:
    with capture_logs() as logs:
        async with calling(interceptors=[Gate(RuntimeError(SECRET))], Echo=unary(echo)) as caller:
            raw = await failure(caller.unary("Echo"))
    assert seen(raw).reason == "INTERNAL"
    assert SECRET not in f"{raw.details()} {raw.trailing_metadata()}"
    assert len(bugs_logged(logs)) == 1


async def test_an_error_that_cannot_be_rendered_is_a_bug() -> None:
    async def refuse_badly(_request: StringValue, _context: Any) -> StringValue:
        raise CallError(
            code=grpc.StatusCode.ABORTED,
            reason="STORAGE_CONFLICT",
            message=SECRET,
            domain=DOMAIN,
            metadata={"attempts": 3},  # type: ignore[dict-item]  # the mistake under test
        )

    with capture_logs() as logs:
        async with calling(RefuseBadly=unary(refuse_badly)) as caller:
            error = seen(await failure(caller.unary("RefuseBadly")))
    assert error.reason == "INTERNAL"
    assert len(bugs_logged(logs)) == 1


async def test_an_error_with_too_many_details_still_arrives_as_itself() -> None:
    async def refuse_at_length(_request: StringValue, _context: Any) -> StringValue:
        raise CallError(
            code=grpc.StatusCode.FAILED_PRECONDITION,
            reason="INSUFFICIENT_CREDITS",
            message="Not enough.",
            domain=DOMAIN,
            details=[StringValue(value="kept"), StringValue(value="x" * 50_000)],
        )

    async with calling(Refuse=unary(refuse_at_length)) as caller:
        error = seen(await failure(caller.unary("Refuse")))
    assert error.reason == "INSUFFICIENT_CREDITS"
    assert unpack(error.status.details[1], StringValue()).value == "kept"
    assert len(error.status.details) == 2


async def test_any_number_of_violations_of_any_length_arrives_with_the_first_ones_listed() -> None:
    async def refuse_all(_request: StringValue, _context: Any) -> StringValue:
        raise invalid_argument(DOMAIN, [FieldViolation(field="é" * 1_000, description="€" * 1_000)] * 1_000)

    async with calling(Refuse=unary(refuse_all)) as caller:
        error = seen(await failure(caller.unary("Refuse")))
    detail = unpack(error.status.details[1], error_details_pb2.BadRequest())
    assert error.reason == "INVALID_ARGUMENT"
    assert error.message.endswith("… (and 999 more)")
    assert 0 < len(detail.field_violations) < 1_000
