"""A light load generator for BrokerService.Reserve: `python -m bench.frames --target HOST:PORT …`.

With `--pipelined` the requests are operations of one Pipeline on each connection: what comes answered in one message is
replaced by the operations of another.

Each request has its own request_id; the accounts take turns, or one pays for all. Prints what it measured as one JSON
object.
"""

import argparse
import asyncio
import os
import time
from typing import Final

import msgspec
from google.protobuf.duration_pb2 import Duration
from iap.broker.v1 import broker_pb2

from bench.engine_lane import DESCRIPTION, pids_of, request_ids
from bench.http2 import Connection, ConnectionBrokenError
from bench.processes import microseconds_each, read_meters, thread_cpu_seconds
from bench.seeding import PROVIDER_KEY, account_token
from mesh_runtime.commands import run_event_loop

RESERVE_PATH: Final = "/iap.broker.v1.BrokerService/Reserve"
PIPELINE_PATH: Final = "/iap.broker.v1.BrokerService/Pipeline"

_DRAIN_SECONDS: Final = 10.0
# Of each operation, as bytes of its message.
_TIMEOUT: Final = broker_pb2.PipelineOperation(timeout=Duration(seconds=10)).SerializeToString()
_SEVEN_BITS: Final = 0x7F
_MIDDLE, _NEARLY_ALL = 0.5, 0.99


class Sent(msgspec.Struct, kw_only=True):
    """What came of it: requests answered OK within `seconds`, and those that were not over the whole run."""

    answered: int
    failed: int
    seconds: float
    latency_ms: dict[str, float]
    cpu_microseconds: dict[str, float]


class Load:
    """Keeps so many requests in flight on each connection."""

    def __init__(self, accounts: int) -> None:
        self._templates = [_template(number) for number in range(accounts)]
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
        if not self.stopped:
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
        if not self.stopped:
            self.send(connection, len(results))


async def main(arguments: argparse.Namespace) -> None:
    """Sends for a time and prints what came of it."""
    load = (PipelinedLoad if arguments.pipelined else Load)(arguments.accounts)
    connections = await _connect(arguments.target, arguments.connections, load)
    for number, connection in enumerate(connections):
        load.send(connection, len(range(number, arguments.in_flight, len(connections))))
        connection.flush()
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


async def _connect(target: str, number: int, load: Load) -> list[Connection]:
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
        timed = (("grpc-timeout", "10S"), *metadata)
        return Connection(authority=target, path=RESERVE_PATH, metadata=timed, answered=load.on_answer)

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


def _template(account_number: int) -> tuple[bytes, bytes]:
    """Returns a request's bytes before and after its request_id."""
    request_id = next(request_ids())
    request = broker_pb2.ReserveRequest(
        request_id=request_id, account_token=account_token(account_number), credits=1, description=DESCRIPTION
    )
    before, _, after = request.SerializeToString().partition(request_id.encode())
    return before, after


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.frames", description="Sends BrokerService.Reserve.")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--pipelined", action="store_true", help="send operations of Pipelines")
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--accounts", type=int, required=True, help="so many pay, in turns")
    parser.add_argument("--warm-up", type=float, required=True, help="seconds")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--meter", action="append", default=[], metavar="NAME=PID", help="whose CPU time counts too")
    return parser.parse_args()


if __name__ == "__main__":
    run_event_loop(main(_read_arguments()))
