"""Group commit: while one batch is being written, the next one gathers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from mesh_runtime import fault_points
from mesh_runtime.logs import get_logger
from provider_service.journal.entries import Entry, Move, RequestKey
from provider_service.journal.errors import JournalUnavailableError
from provider_service.journal.store import Batch, Store, Verdict

Outcome = TypeVar("Outcome")

# How long what is written behind waits for something urgent to go along with.
WRITE_BEHIND_SECONDS: Final = 0.05
PROBE_SECONDS: Final = 0.5
CLOSE_SECONDS: Final = 5.0
_BATCH_CHANGES: Final = 512
_BATCH_BYTES: Final = 16 * 1024 * 1024
_logger = get_logger("provider_service.journal")

Change: TypeAlias = Entry | Move | RequestKey


class _Waiting(NamedTuple):
    key: RequestKey
    change: Change
    answer: "asyncio.Future[Any] | None"


class Committer:
    """Writes changes to a store in the order in which they come, many in one transaction.

    After a failure it refuses at once what others would wait for, keeps what is written behind, and tries until the
    store can be written again. `tell_writable` is told whenever that changes.
    """

    def __init__(self, store: Store, *, tell_writable: Callable[[bool], None]) -> None:
        self._store = store
        self._tell_writable = tell_writable
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._urgent = 0
        self._running: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self._others: set[asyncio.Task[Any]] = set()
        self._failure: JournalUnavailableError | None = None
        self._closed = False

    def write(self, key: RequestKey, change: Change) -> "asyncio.Future[Any]":
        """Writes a change; the answer comes once it is durable.

        It is the entry found instead of an opening, or whether a step could still be made. Raises
        JournalUnavailableError at once while nothing can be written.
        """
        if self._failure is not None:
            raise self._failure
        answer = self._loop.create_future()
        self._queue.append(_Waiting(key, change, answer))
        self._urgent += 1
        self._start()
        return answer

    def write_behind(self, key: RequestKey, change: Change) -> None:
        """Writes a change that nobody waits for, soon. What comes after the end is left to the next start."""
        if self._closed:
            return
        self._queue.append(_Waiting(key, change, None))
        self._start_later()

    async def run(self, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Does something else with the store between two batches; to its end, even if the caller is cancelled."""
        task = self._loop.create_task(self._run(work))
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        return await asyncio.shield(task)

    async def _run(self, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            try:
                return await work()
            except JournalUnavailableError as error:
                self._fail(error)
                raise

    async def close(self) -> None:
        """Writes what is still to be written, if that can be done, and closes the store."""
        if self._timer is not None:
            self._timer.cancel()
        if self._probing is not None:
            self._probing.cancel()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._queue and self._failure is None:
                    self._start()
                    if self._running is not None:
                        await self._running
        except TimeoutError:
            _logger.warning("journal.left_unwritten", changes=len(self._queue))
        async with self._turn:
            self._closed = True
            self._failure = self._failure or JournalUnavailableError("the journal is closed")
            self._refuse(list(self._queue), self._failure)
            self._queue.clear()
            await self._store.close()

    def _start(self) -> None:
        if self._running is None and self._failure is None:
            self._running = self._loop.create_task(self._write_batches())

    def _start_later(self) -> None:
        if self._running is None and self._timer is None and self._failure is None:
            self._timer = self._loop.call_later(WRITE_BEHIND_SECONDS, self._start_in_time)

    def _start_in_time(self) -> None:
        self._timer = None
        self._start()

    async def _write_batches(self) -> None:
        try:
            # Once more around the event loop, for those who come with what has just arrived.
            await asyncio.sleep(0)
            while True:
                async with self._turn:
                    await self._write_batch(self._take())
                if self._failure is not None or not self._urgent:
                    return
        finally:
            self._running = None
            if self._queue:
                self._start_later()

    async def _write_batch(self, taken: list[_Waiting]) -> None:
        try:
            verdict = await self._store.apply(_batch_of(taken))
        except JournalUnavailableError as error:
            self._queue.extendleft(waiting for waiting in reversed(taken) if waiting.answer is None)
            self._refuse(taken, error)
            self._fail(error)
        except BaseException as error:
            # A bug of ours; those who wait are to hear of it.
            self._refuse(taken, error)
            raise
        else:
            _answer(taken, verdict)

    def _take(self) -> list[_Waiting]:
        """Takes what fits into one batch; nothing else for a key that is in it already, as the order counts."""
        queue, taken, keys = self._queue, list[_Waiting](), set[RequestKey]()
        size_bytes = 0
        while queue and len(taken) < _BATCH_CHANGES and size_bytes < _BATCH_BYTES and queue[0].key not in keys:
            waiting = queue.popleft()
            keys.add(waiting.key)
            taken.append(waiting)
            if waiting.answer is not None:
                self._urgent -= 1
            if isinstance(waiting.change, Move):
                size_bytes += len(waiting.change.output or b"")
        return taken

    def _refuse(self, taken: list[_Waiting], error: BaseException) -> None:
        for waiting in taken:
            if waiting.answer is not None and not waiting.answer.done():
                waiting.answer.set_exception(error)

    def _fail(self, error: JournalUnavailableError) -> None:
        if self._failure is not None:
            return
        _logger.error("journal.unavailable", cause=str(error))
        self._failure = error
        waiting = [waiting for waiting in self._queue if waiting.answer is not None]
        self._queue = deque(waiting for waiting in self._queue if waiting.answer is None)
        self._urgent = 0
        self._refuse(waiting, error)
        self._tell_writable(False)
        self._probing = self._loop.create_task(self._probe())

    async def _probe(self) -> None:
        while self._failure is not None:
            await asyncio.sleep(PROBE_SECONDS)
            async with self._turn:
                try:
                    await self._store.probe()
                except JournalUnavailableError:
                    continue
            _logger.info("journal.available")
            self._failure = None
        self._tell_writable(True)
        if self._queue:
            self._start()


def _batch_of(taken: list[_Waiting]) -> Batch:
    batch = Batch()
    for waiting in taken:
        match waiting.change:
            case Move() as move:
                batch.moves.append(move)
            case Entry() as entry:
                batch.openings.append(entry)
            case key:
                batch.removals.append(key)
    return batch


def _answer(taken: list[_Waiting], verdict: Verdict) -> None:
    for key, change, answer in taken:
        if fault_points.armed:
            fault_points.passing(f"{_name_of(change)}_written")
        if answer is None or answer.done():
            continue
        answer.set_result(verdict.found.get(key) if isinstance(change, Entry) else key not in verdict.refused)


def _name_of(change: Change) -> str:
    return change.step.name.lower() if isinstance(change, Entry | Move) else "removed"
