"""The engine by itself, without gRPC: many callers that reserve and capture through the committer.

A process of its own, so that nothing else runs in its interpreter: `python -m bench.engine_lane --database …`. Prints
what it measured as one JSON object.
"""

import argparse
import asyncio
import cProfile
import io
import os
import pstats
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from bench.processes import microseconds_each, read_meters, thread_cpu_seconds
from bench.seeding import DEFAULT_TTL, PROVIDER_ID, account_id
from broker_service.domain.commands import Capture, Reserve
from broker_service.engine.clock import system_clock
from broker_service.engine.committer import Committer
from broker_service.storage.database import Database, open_database
from mesh_runtime.commands import run_event_loop
from mesh_runtime.garbage import collect_seldom

CREDITS: Final = 3
DESCRIPTION: Final = "bench"

_MAX_TTL: Final = timedelta(days=30)
_PROFILED_FUNCTIONS: Final = 30


class ProfiledThread(StrEnum):
    """Which thread's functions are timed."""

    LOOP = "loop"
    WRITER = "writer"


class Measured(msgspec.Struct, kw_only=True):
    """What came of it: pairs of a reserve and a capture, answered within `seconds`."""

    pairs: int
    seconds: float
    commands_per_commit: float
    cpu_microseconds: dict[str, float]
    profile: str = ""


@dataclass(slots=True)
class Callers:
    """Callers that each reserve and capture, one after the other, until they are stopped."""

    committer: Committer
    accounts: list[str]
    request_ids: Iterator[str]
    pairs: int = 0
    stopped: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, number: int) -> None:
        """Starts so many more."""
        self._tasks += [asyncio.create_task(self._call()) for _ in range(number)]

    async def stop(self) -> None:
        """Waits for those that are in the midst of a pair. Raises what any of them met."""
        self.stopped = True
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raises what a caller has met, if any has."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _call(self) -> None:
        execute, accounts = self.committer.execute, self.accounts
        while not self.stopped:
            account = random.choice(accounts)  # noqa: S311 - spreads load, guards nothing
            reserve = Reserve(
                request_id=next(self.request_ids),
                account_id=account,
                provider_id=PROVIDER_ID,
                provider_suspended=False,
                credits=CREDITS,
                ttl=None,
                default_ttl=DEFAULT_TTL,
                max_ttl=_MAX_TTL,
                description=DESCRIPTION,
                metadata={},
            )
            reserved = await execute(reserve)
            capture = Capture(
                request_id=next(self.request_ids),
                account_id=account,
                provider_id=PROVIDER_ID,
                reservation_id=reserved.reservation.reservation_id,
                credits=None,
                keep_open=False,
            )
            await execute(capture)
            self.pairs += 1


def request_ids() -> Iterator[str]:
    """Gives ids that look like UUIDs and are this process's alone, for less than a UUID costs."""
    prefix = str(uuid.uuid4())[:24]
    number = 0
    while True:
        yield f"{prefix}{number:012x}"
        number += 1


async def main(arguments: argparse.Namespace) -> None:
    """Measures once and prints it."""
    database = open_database(arguments.database)
    committer = Committer(database, system_clock)
    pids = {"engine": os.getpid(), **pids_of(arguments.meter)}
    callers = Callers(committer, [account_id(number) for number in range(arguments.accounts)], request_ids())
    # As the broker does.
    collect_seldom()
    callers.start(arguments.callers)
    await asyncio.sleep(arguments.warm_up)
    callers.check()
    async with _profiled(arguments.profile, database) as profile:
        meters, threads, counts = read_meters(pids), thread_cpu_seconds(os.getpid()), committer.counts
        pairs, start = callers.pairs, time.perf_counter()
        await asyncio.sleep(arguments.seconds)
        callers.check()
        pairs, seconds = callers.pairs - pairs, time.perf_counter() - start
        meters_after, threads_after, counts_after = (
            read_meters(pids),
            thread_cpu_seconds(os.getpid()),
            committer.counts,
        )
    await callers.stop()
    await committer.drain()
    await database.close()
    threads_each = microseconds_each(threads, threads_after, pairs)
    commits = max(counts_after.commits - counts.commits, 1)
    measured = Measured(
        pairs=pairs,
        seconds=seconds,
        commands_per_commit=(counts_after.commands - counts.commands) / commits,
        cpu_microseconds={
            **microseconds_each(meters, meters_after, pairs),
            **{f"engine's {name}": used for name, used in threads_each.items()},
        },
        profile="".join(profile),
    )
    print(msgspec.json.encode(measured).decode())


@asynccontextmanager
async def _profiled(thread: ProfiledThread | None, database: Database) -> AsyncIterator[list[str]]:
    """Times the functions of one thread; what it gives holds the table in the end."""
    table: list[str] = []
    if thread is None:
        yield table
        return
    profiler = cProfile.Profile()
    on_thread = _on_writer(database) if thread is ProfiledThread.WRITER else _on_loop
    await on_thread(profiler.enable)
    try:
        yield table
    finally:
        await on_thread(profiler.disable)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(_PROFILED_FUNCTIONS)
    table.append(text.getvalue())


async def _on_loop(switch: Callable[[], Any]) -> None:
    switch()


def _on_writer(database: Database) -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Returns what runs a function on the thread that writes, which SQLite has one of."""
    return lambda switch: database.write(lambda _: switch())


def pids_of(meters: list[str]) -> dict[str, int]:
    """Returns processes from NAME=PID."""
    return {name: int(pid) for name, _, pid in (meter.partition("=") for meter in meters)}


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.engine_lane", description="Measures the engine without gRPC.")
    parser.add_argument("--database", required=True)
    parser.add_argument("--accounts", type=int, required=True, help="so many share the load")
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--warm-up", type=float, required=True, help="seconds")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--meter", action="append", default=[], metavar="NAME=PID", help="whose CPU time counts too")
    parser.add_argument("--profile", type=ProfiledThread, choices=list(ProfiledThread))
    return parser.parse_args()


if __name__ == "__main__":
    run_event_loop(main(_read_arguments()))
