"""Tasks that go on when their caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

# The event loop keeps weak references only: a task that nothing else holds may vanish half done.
_running: Final[set[asyncio.Task[Any]]] = set()


def start(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Start the work and hold it until it is done.

    Its failures are not reported: they reach a caller that still waits, and are logged where they happen.
    """
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_finish)
    return task


async def drain(timeout_seconds: float) -> int:
    """Wait until no task runs on this event loop, those that running ones start included; return how many are left.

    Those are not cancelled.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_seconds
    while own := [task for task in _running if task.get_loop() is loop]:
        left_seconds = end - loop.time()
        if left_seconds <= 0:
            return len(own)
        await asyncio.wait(own, timeout=left_seconds)
    return 0


def _finish(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        # Looked at, so that asyncio does not report it as never retrieved.
        task.exception()
