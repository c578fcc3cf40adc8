"""Work that must finish even when the call that started it is cancelled."""

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any, TypeVar

from mesh_runtime.deadlines import context_without_deadline
from mesh_runtime.logs import get_logger

Result = TypeVar("Result")

_logger = get_logger("mesh_runtime.pending_tasks")


class PendingTasks:
    """Holds the tasks that outlive their callers; shutdown waits for them.

    The event loop keeps weak references only, so a task that nothing else holds may vanish half done.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def run_shielded(self, work: Coroutine[Any, Any, Result]) -> asyncio.Future[Result]:
        """Start the work at once and return its result to await.

        Cancelling the caller cancels the waiting, not the work. The work runs without the call's deadline, so
        what it calls needs caps of its own. What it raises reaches the caller; without one left, the log.
        """
        task = asyncio.get_running_loop().create_task(work, context=context_without_deadline())
        self._tasks.add(task)
        outcome = asyncio.shield(task)
        task.add_done_callback(functools.partial(self._finish, outcome))
        return outcome

    async def drain(self, timeout_seconds: float) -> int:
        """Wait until no work is left, that which running work adds included; return how many tasks remain.

        Those are left running: to cancel them is the caller's decision.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        while self._tasks and (left_seconds := end - loop.time()) > 0:
            await asyncio.wait(tuple(self._tasks), timeout=left_seconds)
        return len(self._tasks)

    def _finish(self, outcome: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if outcome.cancelled() and not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("task.orphan_failed", task=task.get_name(), exc_info=error)
