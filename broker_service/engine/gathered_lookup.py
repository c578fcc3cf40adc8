"""Looking many things up in one read.

While one read runs, the next one's keys gather; so a crowd of callers costs the database a few reads and not one each.
A caller that finds nobody reading goes at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

LookupKey = TypeVar("LookupKey", bound=Hashable)
Value = TypeVar("Value")

_MAX_KEYS = 500


class GatheredLookup(Generic[LookupKey, Value]):
    """Finds values by their keys through `read`, which is given several at once and leaves out what it can't find."""

    def __init__(self, read: Callable[[Collection[LookupKey]], Awaitable[Mapping[LookupKey, Value]]]) -> None:
        self._read = read
        self._waiting: dict[LookupKey, asyncio.Future[Value | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: LookupKey) -> Value | None:
        """Returns a key's value as a read that begins after this call finds it; what the read raises passes through."""
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        # Others may wait for the same answer when this caller leaves.
        return await asyncio.shield(answer)

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:_MAX_KEYS]
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._reading = None

    async def _answer(self, answers: dict[LookupKey, asyncio.Future[Value | None]]) -> None:
        try:
            found = await self._read(answers.keys())
        except Exception as error:  # noqa: BLE001 - each caller gets it
            for answer in answers.values():
                answer.set_exception(error)
                # Told even if nobody is left to hear it.
                answer.exception()
        else:
            for key, answer in answers.items():
                answer.set_result(found.get(key))
