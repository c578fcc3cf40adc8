"""Waiting for something that goes on whether or not anybody waits."""

import asyncio
import contextlib
from typing import Any


async def happens_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but only so long; return whether it has happened.

    Being cancelled always ends the waiting: `asyncio.wait_for` forgets that (before Python 3.12) when what it waits for
    happens at the same time.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def wait_until_done(future: "asyncio.Future[Any]", seconds: float) -> None:
    """Return when the future is done or the time is up; the future is left alone, also when the waiting is cancelled.

    As `asyncio.wait` for one future, at a third of its cost.
    """
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake(_future: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    future.add_done_callback(wake)
    timer = loop.call_later(max(seconds, 0), wake)
    try:
        await woken
    finally:
        timer.cancel()
        future.remove_done_callback(wake)
