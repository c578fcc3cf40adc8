"""Starts this project's servers as processes that need not import anything: see forker.py."""

import asyncio
import os
import signal
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TypeAlias

from tests.forked_programs import program_of
from tests.forker import ForkedPeer, Orders, prepare_forker

Stream: TypeAlias = int | IO[bytes] | None


async def start_process(
    *line: str,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    start_new_session: bool = False,
) -> Process:
    """Starts one like `asyncio.create_subprocess_exec`, but forks those that run one of this project's programs."""
    found = program_of(line)
    if found is None:
        return await asyncio.create_subprocess_exec(
            *line, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=start_new_session
        )
    program, arguments = found
    orders = Orders(
        head=program.head,
        arguments=arguments,
        environment=dict(os.environ if env is None else env),
        directory=str(Path.cwd() if cwd is None else cwd),
        own_session=start_new_session,
    )
    await asyncio.to_thread(prepare_forker, program.imports)
    with ExitStack() as stack:
        given = (_file(stdin, os.O_RDONLY, stack), _file(stdout, os.O_WRONLY, stack), _file(stderr, os.O_WRONLY, stack))
        files = [number if its is None else its for number, (its, _) in enumerate(given)]
        peer = ForkedPeer(program.imports, orders, files)
    return ForkedProcess(peer, *[None if ours is None else await _open(ours) for _, ours in given[1:]])


class Pipe(asyncio.StreamReaderProtocol):
    """What a process writes, and when the last one that could write has closed it."""

    def __init__(self) -> None:
        self.reader = StreamReader()
        super().__init__(self.reader)
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)


class ForkedProcess(Process):
    """A forked process, to whoever has started it."""

    def __init__(self, peer: ForkedPeer, stdout: Pipe | None, stderr: Pipe | None) -> None:
        self.pid = peer.pid
        self.stdin = None
        self.stdout = None if stdout is None else stdout.reader
        self.stderr = None if stderr is None else stderr.reader
        self._pipes = [pipe for pipe in (stdout, stderr) if pipe is not None]
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(peer.socket, self._end)

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Returns when nothing more can be read, either, unless it has ended already: as asyncio's own do."""
        if not self._ended.done():
            await asyncio.shield(self._ended)
            for pipe in self._pipes:
                await asyncio.shield(pipe.closed)
        return self._ended.result()

    def send_signal(self, number: int) -> None:
        if self._ended.done():
            raise ProcessLookupError
        self._peer.send_signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def communicate(self, input: bytes | bytearray | memoryview | None = None) -> tuple[bytes, bytes]:  # noqa: A002 - as it is called there
        assert input is None, "nothing is written to a forked process"
        output, errors = await asyncio.gather(_rest(self.stdout), _rest(self.stderr))
        await self.wait()
        return output, errors

    def _end(self) -> None:
        self._loop.remove_reader(self._peer.socket)
        self._ended.set_result(self._peer.read_exit_code())


def _file(stream: Stream, flags: int, stack: ExitStack) -> tuple[int | None, IO[bytes] | None]:
    """Returns the process's end, None for what this process has itself, and this process's end of a pipe."""
    if stream is None:
        return None, None
    if stream == PIPE:
        reading, writing = os.pipe()
        stack.callback(os.close, writing)
        return writing, os.fdopen(reading, "rb", buffering=0)
    if stream == DEVNULL:
        null = os.open(os.devnull, flags)
        stack.callback(os.close, null)
        return null, None
    return (stream if isinstance(stream, int) else stream.fileno()), None


async def _open(file: IO[bytes]) -> Pipe:
    _, pipe = await asyncio.get_running_loop().connect_read_pipe(Pipe, file)
    return pipe


async def _rest(stream: StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()
