"""Where the broker's time comes from; injected, so that tests can move it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Returns the present instant, aware and in UTC."""
    return datetime.now(UTC)


class ShardClock:
    """A shard's time, which never runs backwards: what has expired for one caller has expired for all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest = clock()

    def now(self) -> datetime:
        """Returns the present instant, or the latest one observed if the clock has stepped back behind it."""
        return max(self._clock(), self._latest)

    def observe(self, instant: datetime) -> None:
        """Takes note of an instant at which something was committed."""
        self._latest = max(self._latest, instant)
