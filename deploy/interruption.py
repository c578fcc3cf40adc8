"""Running a program to its end, whichever way that comes: nothing it started is left behind."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

EXIT_CODE_INTERRUPTED: Final = 130
EXIT_CODE_TERMINATED: Final = 143


def run_to_end(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run the coroutine function and return its exit code.

    Ctrl-C, SIGTERM and a closed terminal cancel it, so that it can put away what it started, and give the exit codes
    of a shell.
    """
    try:
        return asyncio.run(_cancelled_by_signals(main))
    except KeyboardInterrupt:
        return EXIT_CODE_INTERRUPTED
    except asyncio.CancelledError:
        return EXIT_CODE_TERMINATED


async def _cancelled_by_signals(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for name in ("SIGTERM", "SIGHUP"):
        # Not every platform has both, nor a way to handle them.
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), task.cancel)  # type: ignore[union-attr]
    return await main()
