"""Where the broker's time comes from; injected, so that tests can move it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Returns the present instant, aware and in UTC."""
    return datetime.now(UTC)
