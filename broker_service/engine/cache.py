"""Remembering what seldom or never changes."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

CachedKey = TypeVar("CachedKey", bound=Hashable)
Value = TypeVar("Value")


class LastingCache(Generic[CachedKey, Value]):
    """Values that never change, or that whoever uses them finds to be out of date; those not used for long go first.

    What is used comes into the newer of two halves; when that is full, it becomes the older one, whose values go. So at
    least the last `max_values / 2` are kept, at the price of a dictionary.
    """

    def __init__(self, *, max_values: int) -> None:
        self._half = max(max_values // 2, 1)
        self._newer: dict[CachedKey, Value] = {}
        self._older: dict[CachedKey, Value] = {}

    def get(self, key: CachedKey) -> Value | None:
        """Returns the value kept, if there is one."""
        value = self._newer.get(key)
        if value is None and (value := self._older.pop(key, None)) is not None:
            self.keep(key, value)
        return value

    def keep(self, key: CachedKey, value: Value) -> None:
        """Keeps a value from now on."""
        self._newer[key] = value
        if len(self._newer) >= self._half:
            self._older, self._newer = self._newer, {}

    def forget(self, key: CachedKey) -> None:
        """Drops a value that is out of date."""
        self._newer.pop(key, None)
        self._older.pop(key, None)


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
        kept = self.kept(key)
        if kept is not None:
            return kept
        loaded_at, times_forgotten = time.monotonic(), self._times_forgotten
        value = await load()
        # What was loaded before something was forgotten may be what was to be forgotten.
        if value is not None and times_forgotten == self._times_forgotten:
            self._values[key] = (loaded_at, value)
            self._values.move_to_end(key)
            if len(self._values) > self._max_values:
                self._values.popitem(last=False)
        return value

    def kept(self, key: CachedKey) -> Value | None:
        """Returns the value kept, if there is one that is young enough."""
        kept = self._values.get(key)
        if kept is None or time.monotonic() - kept[0] >= self._max_age_seconds:
            return None
        self._values.move_to_end(key)
        return kept[1]

    def forget(self, key: CachedKey) -> None:
        """Drops a value that has just been changed."""
        self._times_forgotten += 1
        self._values.pop(key, None)
