"""One server of the mesh as a process of its own, such as an operator would run it."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ANY_PORT: Final = "127.0.0.1:0"

# Tests put in its place what starts processes for less.
start_process: Callable[..., Awaitable[Process]] = asyncio.create_subprocess_exec

_LISTENING: Final = "listening on "
_HTTP: Final = "http on "
_HTTP_FLAG: Final = "--http-listen"
_START_SECONDS: Final = 20.0
# Longer than servers give themselves: 10 s for running calls, and a provider 10 s more to settle what it owes.
_STOP_SECONDS: Final = 25.0
_SHOWN_LOG_LINES: Final = 15
_OWN_VARIABLES: Final = "IAP_"


class ProcessFailedError(Exception):
    """A process did not do what it was started for; the text ends with what it said about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCommand:
    """How a server is started, but for its address.

    `environment` is for secrets, which other users could read from the arguments.
    """

    module: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class NodeProcess:
    """A server process that can be started, stopped, killed and started again at the same address.

    What it logs is appended to `log_path`. Whoever starts it also stops or kills it.
    """

    def __init__(self, command: NodeCommand, *, log_path: Path, listen: str = ANY_PORT) -> None:
        self.log_path = log_path
        self._command = command
        self._address = listen
        self._http_address = ""
        self._process: Process | None = None

    @property
    def address(self) -> str:
        """HOST:PORT; the real port once the server has been started."""
        return self._address

    @property
    def http_address(self) -> str:
        """HOST:PORT where a server that was told to serve HTTP does so, once it has been started."""
        return self._http_address

    @property
    def pid(self) -> int | None:
        """The process's id; None when it was not started."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process and return once it serves. Raises ProcessFailedError, with what the process logged."""
        if self.running:
            raise ProcessFailedError(f"{self._command.module} is running already")
        log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self._process = await start_process(
                *self._command_line(),
                cwd=ROOT,
                env=_environment(self._command.environment),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                # Ctrl-C is for whoever started this; it stops its processes in the right order.
                start_new_session=True,
            )
        try:
            self._address = await self._read_address(self._process, _LISTENING)
            if _HTTP_FLAG in self._command.arguments:
                self._http_address = await self._read_address(self._process, _HTTP)
        except BaseException as error:
            await self.kill()
            if isinstance(error, ProcessFailedError):
                raise ProcessFailedError(f"{error}{_tail(self.log_path, log_start)}") from None
            raise

    async def stop(self) -> int | None:
        """End the process by SIGTERM, or by SIGKILL if that takes too long; return its exit code.

        Returns None when it was not started.
        """
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            return self._process.returncode
        except BaseException:
            self.kill_now()
            raise

    async def kill(self) -> None:
        """End the process by SIGKILL: it cannot finish anything."""
        self.kill_now()
        if self._process is not None:
            await self._process.wait()

    def kill_now(self) -> None:
        """Send SIGKILL without waiting for the end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def restart(self) -> None:
        """Stop the process, if it runs, and start it again at the same address."""
        await self.stop()
        await self.start()

    async def wait(self) -> int:
        """Return the exit code when the process has ended."""
        if self._process is None:
            raise ProcessFailedError(f"{self._command.module} was not started")
        return await self._process.wait()

    def _command_line(self) -> tuple[str, ...]:
        module, arguments = self._command.module, self._command.arguments
        return (sys.executable, "-m", module, "serve", "--listen", self._address, *arguments)

    async def _read_address(self, process: Process, words: str) -> str:
        name = self._command.module
        if process.stdout is None:
            raise ProcessFailedError(f"{name} has no standard output")
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = (await process.stdout.readline()).decode()
        except TimeoutError:
            raise ProcessFailedError(f"{name} did not serve within {_START_SECONDS:g} seconds") from None
        if not line.startswith(words):
            raise ProcessFailedError(f"{name} did not start")
        return line.removeprefix(words).strip()


async def run_command(module: str, *arguments: str) -> str:
    """Run a command of a server's module to its end and return its output. Raises ProcessFailedError.

    Exit codes 0 and 1 count as an answer: `audit` says with 1 that the books differ.
    """
    process = await start_process(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        env=_environment({}),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(_START_SECONDS * 6):
            output, errors = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if not output or process.returncode not in (0, 1):
        raise ProcessFailedError(f"{module} {arguments[0]} failed: {errors.decode(errors='replace').strip()}")
    return output.decode()


def _environment(additions: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without the project's own variables, which are meant for other servers."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    return {**inherited, **additions}


def _tail(log_path: Path, start: int) -> str:
    """Return the last lines of what was logged from `start` on, each on a line of its own."""
    with log_path.open("rb") as log:
        log.seek(start)
        lines = log.read().decode(errors="replace").splitlines()
    return "".join(f"\n  {line}" for line in lines[-_SHOWN_LOG_LINES:])
