"""A light load generator for Reserve and ServeRequest: `python -m bench.frames --target HOST:PORT …`.

Each request has its own request_id; the accounts take turns, or one pays for all. As many requests are in flight as it
is told, or so many are sent each second, whatever is answered by then. With `--pipelined` requests to reserve are
operations of one Pipeline on each connection: what comes answered in one message is replaced by the operations of
another. Prints what it measured as one JSON object.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from google.protobuf.duration_pb2 import Duration
from iap.broker.v1 import broker_pb2
from iap.provider.v1 import provider_pb2

from bench.engine_lane import DESCRIPTION, pids_of, request_ids
from bench.http2 import Connection, ConnectionBrokenError
from bench.processes import microseconds_each, read_meters, thread_cpu_seconds
from bench.seeding import PROVIDER_KEY, SERVICE, account_token
from mesh_runtime.commands import run_event_loop

PIPELINE_PATH: Final = "/iap.broker.v1.BrokerService/Pipeline"

_DRAIN_SECONDS: Final = 10.0
# Of each operation, as bytes of its message.
_TIMEOUT: Final = broker_pb2.PipelineOperation(timeout=Duration(seconds=10)).SerializeToString()
_SEVEN_BITS: Final = 0x7F
_MIDDLE, _NEARLY_ALL = 0.5, 0.99
# How often those requests are sent that are due, where so many are sent each second.
_TICK_SECONDS: Final = 0.001


class Rpc(StrEnum):
    """What is called."""

    RESERVE = "reserve"
    SERVE_REQUEST = "serve-request"


@dataclass(frozen=True, slots=True)
class Call:
    """How an RPC is called: its path, its metadata, and the message for a request_id and an account's token."""

    path: str
    metadata: Sequence[tuple[str, str]]
    message: Callable[[str, str], bytes]


class Sent(msgspec.Struct, kw_only=True):
    """What came of it: requests answered OK within `seconds`, and those that were not over the whole run."""

    answered: int
    failed: int
    seconds: float
    latency_ms: dict[str, float]
    cpu_microseconds: dict[str, float]


class Load:
    """Requests on their way; with `refill`, another one is sent for each that is answered."""

    def __init__(self, call: Call, accounts: int, *, refill: bool) -> None:
        self._templates = [_template(call, number) for number in range(accounts)]
        self._refill = refill
        self._request_ids = request_ids()
        self._starts: dict[tuple[Connection, int], float] = {}
        self._sent = 0
        self.latencies: list[float] = []
        self.answered = 0
        self.failed = 0
        self.stopped = False

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""
        return len(self._starts)

    def send(self, connection: Connection, count: int = 1) -> None:
        """Sends the next requests."""
        for _ in range(count):
            self._starts[connection, connection.send(self._next_request())] = time.perf_counter()

    def _next_request(self) -> bytes:
        before, after = self._templates[self._sent % len(self._templates)]
        self._sent += 1
        return before + next(self._request_ids).encode() + after

    def on_answer(self, connection: Connection, stream: int, is_ok: bool) -> None:
        """Counts an answer, and sends another request in its place."""
        self.latencies.append(time.perf_counter() - self._starts.pop((connection, stream)))
        if is_ok:
            self.answered += 1
        else:
            self.failed += 1
        if self._refill and not self.stopped:
            self.send(connection)


class PipelinedLoad(Load):
    """Keeps so many operations in flight on the stream of each connection."""

    def on_end(self, connection: Connection, _stream: int, _is_ok: bool) -> None:
        """Remembers that the stream has ended, which it never should."""
        connection.error = ConnectionBrokenError("the server has ended the stream")

    def send(self, connection: Connection, count: int = 1) -> None:
        """Sends the next operations, in one message."""
        message = bytearray()
        now = time.perf_counter()
        for _ in range(count):
            request = self._next_request()
            self._starts[connection, self._sent] = now
            operation = b"\x08" + _varint(self._sent) + b"\x12" + _varint(len(request)) + request + _TIMEOUT
            message += b"\x0a" + _varint(len(operation)) + operation
        connection.send_more(bytes(message))

    def on_message(self, connection: Connection, message: bytes) -> None:
        """Counts what it answers, and sends as many operations in place of them."""
        results = broker_pb2.PipelineResponse.FromString(message).results
        now = time.perf_counter()
        for result in results:
            self.latencies.append(now - self._starts.pop((connection, result.sequence)))
            if result.HasField("reserve"):
                self.answered += 1
            else:
                self.failed += 1
        if self._refill and not self.stopped:
            self.send(connection, len(results))


async def main(arguments: argparse.Namespace) -> None:
    """Sends for a time and prints what came of it."""
    call = CALLS[arguments.rpc]
    load = (PipelinedLoad if arguments.pipelined else Load)(call, arguments.accounts, refill=arguments.rate is None)
    connections = await _connect(arguments.target, arguments.connections, call, load)
    for number, connection in enumerate(connections if arguments.rate is None else ()):
        load.send(connection, len(range(number, arguments.in_flight, len(connections))))
        connection.flush()
    pace = asyncio.create_task(_send_at(arguments.rate, load, connections)) if arguments.rate else None
    pids = {"generator": os.getpid(), **pids_of(arguments.meter)}
    server = pids.get("server", os.getpid())
    await _sleep(arguments.warm_up, connections)
    load.latencies.clear()
    meters, threads = read_meters(pids), thread_cpu_seconds(server)
    answered, start = load.answered, time.perf_counter()
    await _sleep(arguments.seconds, connections)
    answered, seconds = load.answered - answered, time.perf_counter() - start
    meters_after, threads_after = read_meters(pids), thread_cpu_seconds(server)
    latencies = sorted(load.latencies)
    load.stopped = True
    if pace is not None:
        await pace
    await _drain(load, connections)
    threads_each = microseconds_each(threads, threads_after, answered)
    sent = Sent(
        answered=answered,
        failed=load.failed,
        seconds=seconds,
        latency_ms={
            f"latency_p{share * 100:.0f}_ms": latencies[int(len(latencies) * share)] * 1000
            for share in (_MIDDLE, _NEARLY_ALL)
            if latencies
        },
        cpu_microseconds={
            **microseconds_each(meters, meters_after, answered),
            **{f"server's {name}": used for name, used in threads_each.items()},
        },
    )
    print(msgspec.json.encode(sent).decode())


async def _send_at(rate: float, load: Load, connections: list[Connection]) -> None:
    """Sends `rate` requests each second, evenly, until the load is stopped: also while none is answered."""
    start, sent = time.perf_counter(), 0
    while not load.stopped:
        due = int((time.perf_counter() - start) * rate)
        for number in range(sent, due):
            load.send(connections[number % len(connections)])
        sent = max(sent, due)
        for connection in connections:
            connection.flush()
        await asyncio.sleep(_TICK_SECONDS)


async def _connect(target: str, number: int, call: Call, load: Load) -> list[Connection]:
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        metadata = (("authorization", f"Bearer {PROVIDER_KEY}"),)
        if isinstance(load, PipelinedLoad):
            return Connection(
                authority=target,
                path=PIPELINE_PATH,
                metadata=metadata,
                answered=load.on_end,
                received=load.on_message,
            )
        # A deadline, as every careful caller sets one.
        timed = (("grpc-timeout", "10S"), *call.metadata)
        return Connection(authority=target, path=call.path, metadata=timed, answered=load.on_answer)

    made = [await loop.create_connection(connection, host, int(port)) for _ in range(number)]
    return [protocol for _, protocol in made]


async def _sleep(seconds: float, connections: list[Connection]) -> None:
    await asyncio.sleep(seconds)
    for connection in connections:
        if connection.error is not None:
            raise connection.error


async def _drain(load: Load, connections: list[Connection]) -> None:
    end = time.monotonic() + _DRAIN_SECONDS
    while load.in_flight:
        if time.monotonic() > end:
            raise ConnectionBrokenError(f"{load.in_flight} requests were not answered within {_DRAIN_SECONDS:g} s")
        await _sleep(0.01, connections)
    for connection in connections:
        connection.close()


def _varint(number: int) -> bytes:
    """Returns a number as messages have it, seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > _SEVEN_BITS:
        encoded.append(number & _SEVEN_BITS | _SEVEN_BITS + 1)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _template(call: Call, account_number: int) -> tuple[bytes, bytes]:
    """Returns a request's bytes before and after its request_id."""
    request_id = next(request_ids())
    before, _, after = call.message(request_id, account_token(account_number)).partition(request_id.encode())
    return before, after


def _reserve_message(request_id: str, token: str) -> bytes:
    return broker_pb2.ReserveRequest(
        request_id=request_id, account_token=token, credits=1, description=DESCRIPTION
    ).SerializeToString()


def _serve_request_message(request_id: str, token: str) -> bytes:
    request = provider_pb2.ServeRequestRequest(request_id=request_id, service=SERVICE, account_token=token)
    # Given, though there is nothing in it.
    request.input.SetInParent()
    return request.SerializeToString()


CALLS: Final = {
    Rpc.RESERVE: Call(
        "/iap.broker.v1.BrokerService/Reserve", (("authorization", f"Bearer {PROVIDER_KEY}"),), _reserve_message
    ),
    Rpc.SERVE_REQUEST: Call("/iap.provider.v1.ProviderService/ServeRequest", (), _serve_request_message),
}


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.frames", description="Sends requests and measures the answers.")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--rpc", type=Rpc, choices=list(Rpc), default=Rpc.RESERVE)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--pipelined", action="store_true", help="send operations of Pipelines")
    sent = parser.add_mutually_exclusive_group(required=True)
    sent.add_argument("--in-flight", type=int)
    sent.add_argument("--rate", type=float, help="requests a second, whatever is answered by then")
    parser.add_argument("--accounts", type=int, required=True, help="so many pay, in turns")
    parser.add_argument("--warm-up", type=float, required=True, help="seconds")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--meter", action="append", default=[], metavar="NAME=PID", help="whose CPU time counts too")
    return parser.parse_args()


if __name__ == "__main__":
    run_event_loop(main(_read_arguments()))
