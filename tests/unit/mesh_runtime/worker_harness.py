"""A supervisor with its workers as real processes, and what their callers see."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from tests.forked_processes import start_process
from tests.unit.mesh_runtime.harness import Caller

PROGRAM = Path(__file__).with_name("example_workers.py")
ROOT = Path(__file__).parents[3]
# Which worker gets a connection, chance decides: so many are made, and as many again until enough workers have one.
CONNECTIONS = 6
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Supervised:
    """A supervisor whose workers serve."""

    process: Process
    address: str
    log_path: Path

    async def pids(self, at_least: int = 2) -> set[int]:
        """Those that answer on new connections, which are made until so many have answered, or in vain."""
        found: set[int] = set()
        for _ in range(ROUNDS):
            found |= await self._answering()
            if len(found) >= at_least:
                break
        return found

    async def _answering(self) -> set[int]:
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(connection(self.address)) for _ in range(CONNECTIONS)]
            # A connection that a worker had not yet accepted when it was killed is reset, and made again.
            calls = [caller.unary("ProcessId", timeout=30, wait_for_ready=True) for caller in callers]
            return {int(answer.value) for answer in await asyncio.gather(*calls)}

    def events(self, name: str) -> list[dict[str, Any]]:
        """What was logged by this name so far."""
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    async def wait_for_event(self, name: str, **fields: Any) -> dict[str, Any]:
        """The first event with this name and these fields."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events(name) if fields.items() <= event.items()]

        await until(lambda: bool(found()))
        return found()[0]

    async def hold_in_each(self, path: Path, stack: AsyncExitStack) -> list[Any]:
        """Calls that last until the file exists, at least one in each of two workers."""
        calls: list[Any] = []

        def holders() -> list[str]:
            """The worker of each call, by the file that it has made, whose name says so."""
            return [file.name.split("-")[1] for file in path.parent.glob("held-*")]

        def are_held() -> bool:
            return len(holders()) == len(calls)

        for _ in range(ROUNDS):
            callers = [await stack.enter_async_context(connection(self.address)) for _ in range(CONNECTIONS)]
            calls += [asyncio.ensure_future(caller.unary("Hold", str(path), timeout=60)) for caller in callers]
            await until(are_held)
            if len(set(holders())) > 1:
                return calls
        raise AssertionError("one worker gets all connections")

    async def finish(self) -> tuple[int, str]:
        """The exit code and the rest of the output."""
        assert self.process.stdout is not None
        output = await asyncio.wait_for(self.process.stdout.read(), 30)
        return await asyncio.wait_for(self.process.wait(), 30), output.decode()


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[Caller]:
    """A caller with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield Caller(channel)


async def start(directory: Path, *arguments: str, **environment: str) -> Process:
    """Start the example program; what it logs goes to `log` in the directory."""
    with (directory / "log").open("ab") as log:
        return await start_process(
            sys.executable,
            str(PROGRAM),
            *arguments,
            stdout=PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            # A process group of their own, as a shell would give them.
            start_new_session=True,
        )


@asynccontextmanager
async def supervising(directory: Path, *arguments: str, **environment: str) -> AsyncIterator[Supervised]:
    """Two workers that serve, unless the arguments say otherwise."""
    process = await start(directory, *arguments, **environment)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert line.startswith("listening on 127.0.0.1:"), line
        yield Supervised(process, line.removeprefix("listening on ").strip(), directory / "log")
    finally:
        kill_group(process)
        await process.wait()


def kill_group(process: Process) -> None:
    """End a supervisor and all its workers, those of a dead supervisor included."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in other processes."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)
