"""Remembering for a short while what seldom changes."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

CachedKey = TypeVar("CachedKey", bound=Hashable)
Value = TypeVar("Value")


class ShortCache(Generic[CachedKey, Value]):
    """Values that may be up to `max_age_seconds` old; the least recently used go first when it is full.

    A None is not kept: what did not exist a moment ago may exist now.
    """

    def __init__(self, *, max_age_seconds: float, max_values: int) -> None:
        self._max_age_seconds = max_age_seconds
        self._max_values = max_values
        self._values: OrderedDict[CachedKey, tuple[float, Value]] = OrderedDict()
        self._times_forgotten = 0

    async def get(self, key: CachedKey, load: Callable[[], Awaitable[Value]]) -> Value:
        """Returns the value kept, or loads it; what loading raises passes through and is not kept."""
        kept = self._values.get(key)
        if kept is not None and time.monotonic() - kept[0] < self._max_age_seconds:
            self._values.move_to_end(key)
            return kept[1]
        loaded_at, times_forgotten = time.monotonic(), self._times_forgotten
        value = await load()
        # What was loaded before something was forgotten may be what was to be forgotten.
        if value is not None and times_forgotten == self._times_forgotten:
            self._values[key] = (loaded_at, value)
            self._values.move_to_end(key)
            if len(self._values) > self._max_values:
                self._values.popitem(last=False)
        return value

    def forget(self, key: CachedKey) -> None:
        """Drops a value that has just been changed."""
        self._times_forgotten += 1
        self._values.pop(key, None)
