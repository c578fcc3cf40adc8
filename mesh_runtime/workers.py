"""Several processes that serve one port, and the supervisor that keeps them running.

The supervisor needs no gRPC and never forks: each worker is this very program run again, with the same interpreter
and arguments, and finds out by `this_worker` that it is one. Connections are spread by the system (SO_REUSEPORT).
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from mesh_runtime.addresses import Address
from mesh_runtime.listening_ports import holding_port, print_listening
from mesh_runtime.logs import get_logger
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.stop_signals import stop_signals
from mesh_runtime.waiting import happens_within
from mesh_runtime.worker import HURRY, SERVING, worker_environment

# Clients connect again after this long, so that they spread over workers that came later; gRPC varies it by a tenth.
MAX_CONNECTION_AGE_SECONDS: Final = 300.0

# A worker that dies is replaced after the first delay; each time another dies young, after twice the last one.
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 5.0
_YOUNG_SECONDS: Final = 10.0
_logger = get_logger("mesh_runtime.workers")


async def supervise(listen: Address, *, workers: int, http_listen: Address | None = None) -> None:
    """Serve an address, and perhaps one for HTTP, from so many processes until SIGTERM or SIGINT, replacing the dead.

    Prints `listening on HOST:PORT`, and `http on HOST:PORT`, once all of them serve. The first signal lets each worker
    finish its calls, a second hurries them, a third kills them and ends this process. Raises StartupError when a port
    is not to be had, or when a worker cannot serve to begin with; one that cannot later is tried again and again.
    """
    wanted = [listen] if http_listen is None else [listen, http_listen]
    with contextlib.ExitStack() as held:
        addresses = [held.enter_context(holding_port(address)) for address in wanted]
        await _Supervisor(addresses, workers).run()


class _Supervisor:
    def __init__(self, addresses: Sequence[Address], workers: int) -> None:
        self._addresses = addresses
        self._workers = workers
        self._running: set[_WorkerProcess] = set()
        self._first_ones: list[int] = []
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        with stop_signals(stop=self._stop, hurry=self._hurry, kill=self._kill):
            keepers = [asyncio.create_task(self._keep_one()) for _ in range(self._workers)]
            # They end when they are to stop; the first that cannot even begin stops them all.
            await asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
            self._end_all()
            for outcome in await asyncio.gather(*keepers, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
        _logger.info("workers.stopped")

    async def _keep_one(self) -> None:
        """Run a worker, and another each time it ends, until all are to stop."""
        previous: _WorkerProcess | None = None
        delay_seconds = _FIRST_DELAY_SECONDS
        while not self._stopping.is_set():
            worker = _WorkerProcess(self._addresses)
            lived_seconds = await self._run_to_its_end(worker, previous)
            if self._stopping.is_set():
                if worker.has_served and not worker.ended_well:
                    _logger.warning("workers.ended", pid=worker.pid, end=worker.end)
                return
            if previous is None and not worker.has_served:
                raise StartupError(worker.end)
            if lived_seconds >= _YOUNG_SECONDS:
                delay_seconds = _FIRST_DELAY_SECONDS
            _logger.warning("workers.ended", pid=worker.pid, end=worker.end, retry_seconds=delay_seconds)
            await happens_within(self._stopping, delay_seconds)
            delay_seconds = min(2 * delay_seconds, _LONGEST_DELAY_SECONDS)
            previous = worker

    async def _run_to_its_end(self, worker: "_WorkerProcess", previous: "_WorkerProcess | None") -> float:
        """Return for how many seconds it lived."""
        started = time.monotonic()
        self._running.add(worker)
        try:
            await worker.run(on_serving=partial(self._serves, worker, previous))
        finally:
            self._running.discard(worker)
        return time.monotonic() - started

    def _serves(self, worker: "_WorkerProcess", previous: "_WorkerProcess | None") -> None:
        if previous is not None:
            _logger.info("workers.replaced", pid=worker.pid, previous_pid=previous.pid)
            return
        self._first_ones.append(worker.pid)
        if len(self._first_ones) == self._workers and not self._stopping.is_set():
            print_listening(*self._addresses)
            addresses = [str(address) for address in self._addresses]
            _logger.info("workers.started", address=addresses[0], addresses=addresses, pids=sorted(self._first_ones))

    def _stop(self) -> None:
        _logger.info("workers.stopping", pids=sorted(worker.pid for worker in self._running))
        self._end_all()

    def _end_all(self) -> None:
        self._stopping.set()
        for worker in self._running:
            # Ends one that does not serve yet at once; the others finish their calls.
            worker.send_signal(signal.SIGTERM)

    def _hurry(self) -> None:
        for worker in self._running:
            worker.hurry()

    def _kill(self) -> None:
        for worker in self._running:
            worker.send_signal(signal.SIGKILL)


class _WorkerProcess:
    """One worker. `end` says how it ended, or why it could not serve; `pid` is 0 while there is no process.

    It `ended_well` if it did so because it was told to.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.pid = 0
        self.has_served = False
        self.end = ""
        self.ended_well = False
        self._addresses = addresses
        self._link, self._its_link = socket.socketpair()
        self._process: subprocess.Popen[bytes] | None = None

    async def run(self, *, on_serving: Callable[[], None]) -> None:
        """Start it, call `on_serving` once it serves, and return when it has ended."""
        with self._link:
            try:
                with self._its_link:
                    self._process = _start(self._addresses, self._its_link)
            except OSError as error:
                self.end = f"cannot start a worker: {os.strerror(error.errno or 0).lower()}"
                return
            self.pid = self._process.pid
            await self._listen(on_serving)
            # The link ends with the process, so this is short.
            code = await asyncio.to_thread(self._process.wait)
        self.end = self.end or _end(code)
        self.ended_well = code in (0, -signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self._process is not None:
            self._process.send_signal(number)

    def hurry(self) -> None:
        """Make it cancel its calls rather than wait for them, once it has been told to stop."""
        with contextlib.suppress(OSError):
            self._link.send(HURRY)

    async def _listen(self, on_serving: Callable[[], None]) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=self._link)
        with contextlib.suppress(OSError):
            async for line in reader:
                if line == SERVING:
                    self.has_served = True
                    on_serving()
                else:
                    self.end = line.decode(errors="replace").strip()
        writer.close()


def _start(addresses: Sequence[Address], link: socket.socket) -> subprocess.Popen[bytes]:
    # Ctrl-C in a terminal reaches the worker as well, where it would break its imports; it begins with SIGINT held
    # back, and then leaves it to the supervisor.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(  # noqa: S603 - the command that started this process
            [sys.executable, *sys.orig_argv[1:]],
            env=worker_environment(addresses, link),
            stdin=subprocess.DEVNULL,
            pass_fds=(link.fileno(),),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(code: int) -> str:
    return (
        f"a worker was ended by {signal.Signals(-code).name}" if code < 0 else f"a worker ended with exit code {code}"
    )
