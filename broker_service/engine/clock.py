"""Where the broker's time comes from; injected, so that tests can move it."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Returns the present instant, aware and in UTC."""
    return datetime.now(UTC)


class ShardClock:
    """A shard's time, which never runs backwards: what has expired for one caller has expired for all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest = clock()
        # Asked on the event loop, and by the thread that writes.
        self._lock = Lock()

    def now(self) -> datetime:
        """Returns the present instant, or the latest one told before if the clock has stepped back behind it."""
        return self.observe(self._clock())

    def observe(self, instant: datetime) -> datetime:
        """Takes note of an instant at which something happened; returns the latest one."""
        with self._lock:
            self._latest = max(self._latest, instant)
            return self._latest
