"""A proxy in front of PostgreSQL that breaks the connection of a transaction at a chosen point.

It reads what the client sends, message by message (https://www.postgresql.org/docs/current/protocol-message-formats.html),
and so knows when COMMIT is on its way and when the server has carried it out. It listens on a Unix socket, where no
client asks for TLS, and runs on a thread of its own, so that a caller that blocks its event loop is served too.
"""

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.engine import URL, make_url

_PORT = 5432
_CANCEL_REQUEST = (80877102).to_bytes(4, "big")
_START_SECONDS = 10


class Fault(StrEnum):
    """What happens to the connection of a transaction that writes."""

    CUT_IN_BATCH = "cut in the midst of the batch"
    CUT_BEFORE_COMMIT = "cut before COMMIT reaches the server"
    CUT_AFTER_COMMIT = "cut between COMMIT and its answer"
    SILENT_IN_BATCH = "no word from the server in the midst of the batch"
    SILENT_AFTER_COMMIT = "no word from the server after COMMIT"

    @property
    def leaves_it_done(self) -> bool:
        """Whether the server has committed nevertheless."""
        return self in (Fault.CUT_AFTER_COMMIT, Fault.SILENT_AFTER_COMMIT)


class WireProxy:
    """Forwards everything; from `arm` on, until so many faults have struck, not everything."""

    def __init__(self, url: str) -> None:
        self._behind = make_url(url)
        self._directory = Path(tempfile.mkdtemp(prefix="iap-proxy-"))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wire-proxy")
        self._ready = threading.Event()
        self._armed: deque[Fault] = deque()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._wires: set[asyncio.Task[None]] = set()
        self._serving = self._thread.submit(asyncio.run, self._serve())
        assert self._ready.wait(_START_SECONDS), self._serving

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._serving.result()
        self._thread.shutdown()
        shutil.rmtree(self._directory)

    @property
    def url(self) -> str:
        """The URL of the database, by way of the proxy."""
        through = self._behind.set(host=None, port=None, query={"host": str(self._directory)})
        return through.render_as_string(hide_password=False)

    def arm(self, fault: Fault, *, times: int = 1) -> None:
        """Lets a fault strike the next transactions that write."""
        assert not self._armed, self._armed
        self._armed.extend([fault] * times)

    def disarm(self) -> None:
        """Lets everything pass again."""
        self._armed.clear()

    @property
    def unspent(self) -> int:
        """How many faults have not struck yet."""
        return len(self._armed)

    def take(self, *faults: Fault) -> Fault | None:
        """Returns the fault that is to strike now, if it is one of these."""
        return self._armed.popleft() if self._armed and self._armed[0] in faults else None

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_unix_server(self._connect, self._directory / f".s.PGSQL.{_PORT}")
        self._ready.set()
        await self._stop.wait()
        server.close()
        for wire in list(self._wires):
            wire.cancel()
        await asyncio.gather(*self._wires, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._wires.add(task)
        writers = [writer]
        try:
            upstream_reader, upstream_writer = await _open(self._behind)
            writers.append(upstream_writer)
            await _Wire(self, reader, writer, upstream_reader, upstream_writer).run()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # One side has gone; so does the other.
            pass
        finally:
            self._wires.discard(task)
            for each in writers:
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()


@dataclass(slots=True)
class _Wire:
    """One connection."""

    proxy: WireProxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upstream_reader: asyncio.StreamReader
    upstream_writer: asyncio.StreamWriter
    writes: bool = False
    silent: bool = False
    committed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Returns when one side has closed, or a fault cuts both off."""
        both = [asyncio.create_task(self._forward_requests()), asyncio.create_task(self._forward_answers())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _forward_requests(self) -> None:
        startup = await _read_message(self.reader)
        self._send(startup)
        if startup[4:8] == _CANCEL_REQUEST:
            await self.reader.read()
            return
        while True:
            kind = await self.reader.readexactly(1)
            message = await _read_message(self.reader)
            text = message[4:].rstrip(b"\0; ").upper() if kind == b"Q" else b""
            fault = self._fault_at(kind, text)
            if text.startswith(b"BEGIN"):
                self.writes = b"READ ONLY" not in text
            if fault is not None:
                await self._strike(fault, kind + message)
                return
            self._send(kind + message)

    def _fault_at(self, kind: bytes, text: bytes) -> Fault | None:
        """Returns what strikes in the place of a message: in a transaction that writes, COMMIT or what comes before."""
        if not self.writes:
            return None
        if text == b"COMMIT":
            return self.proxy.take(Fault.CUT_BEFORE_COMMIT, Fault.CUT_AFTER_COMMIT, Fault.SILENT_AFTER_COMMIT)
        return self.proxy.take(Fault.CUT_IN_BATCH, Fault.SILENT_IN_BATCH) if kind != b"Q" else None

    async def _strike(self, fault: Fault, message: bytes) -> None:
        """Returns when the connection is to be closed."""
        if fault.leaves_it_done:
            self.silent = True
            self._send(message)
            await self.committed.wait()
        if fault in (Fault.SILENT_IN_BATCH, Fault.SILENT_AFTER_COMMIT):
            self.silent = True
            # Whatever else the client says goes unheard, until it hangs up.
            while await self.reader.read(65_536):
                pass

    async def _forward_answers(self) -> None:
        while True:
            kind = await self.upstream_reader.readexactly(1)
            message = await _read_message(self.upstream_reader)
            if not self.silent:
                self.writer.write(kind + message)
            elif kind == b"Z":
                # Ready for the next query: COMMIT has been carried out.
                self.committed.set()

    def _send(self, message: bytes) -> None:
        self.upstream_writer.write(message)


async def _open(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.host or str(url.query.get("host", "")), url.port or _PORT
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host or "127.0.0.1", port)


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """Returns a message's length and body."""
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "big") - 4)
