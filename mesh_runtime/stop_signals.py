"""SIGTERM and SIGINT: the first asks for an orderly stop, the second for a quick one, the third is the end."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopOrders(Protocol):
    """Where a process hears that it should stop: signals, or the supervisor whose worker it is."""

    def __call__(self, *, stop: Callable[[], None], hurry: Callable[[], None]) -> AbstractContextManager[None]:
        """Call these on the running event loop as orders come, within the context; `stop` perhaps several times."""
        ...


@contextlib.contextmanager
def stop_signals(
    *, stop: Callable[[], None], hurry: Callable[[], None], kill: Callable[[], None] | None = None
) -> Iterator[None]:
    """Call `stop` on the first signal and `hurry` on the second; the third ends the process, after `kill` if given."""
    loop = asyncio.get_running_loop()
    orders = 0

    def give_back() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def handle(number: signal.Signals) -> None:
        nonlocal orders
        orders += 1
        if orders == 1:
            stop()
        elif orders == 2:  # noqa: PLR2004 - the second
            hurry()
            if kill is None:
                # The system ends the process then, even if the event loop is stuck.
                give_back()
        elif kill is not None:
            kill()
            give_back()
            signal.raise_signal(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        give_back()
