"""How the time that a caller gives is divided: most of it to the work, the end to paying for it and answering.

Times are readings of the event loop's clock, in seconds.
"""

from dataclasses import dataclass
from typing import Final

from mesh_runtime import deadlines

# For callers who set no deadline.
REQUEST_SECONDS: Final = 60.0
# What one call to the broker may take, whatever the caller allows.
RESERVE_SECONDS: Final = 10.0
SETTLE_CALL_SECONDS: Final = 5.0
# How long a caller waits for the capture or the release; both go on without it.
SETTLE_SECONDS: Final = 5.0
SHORTEST_SECONDS: Final = deadlines.SHORTEST_BUDGET_SECONDS

# Kept back from the work for the capture, as a share of the caller's time and at most.
_SETTLE_SHARE: Final = 0.25
_SETTLE_KEPT_BACK_SECONDS: Final = 3.0
# Kept back from everything, so that the caller gets our answer before its own deadline strikes.
_ANSWER_SHARE: Final = 0.1
_ANSWER_KEPT_BACK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class CallTimes:
    """When a caller needs the work done, and when it needs an answer."""

    work_end: float
    answer_end: float


def running_call_times(now: float) -> CallTimes:
    """Divides what is left of the running call's deadline."""
    remaining_seconds = deadlines.remaining_seconds()
    seconds = REQUEST_SECONDS if remaining_seconds is None else remaining_seconds
    return CallTimes(
        work_end=now + seconds - min(seconds * _SETTLE_SHARE, _SETTLE_KEPT_BACK_SECONDS),
        answer_end=now + seconds - min(seconds * _ANSWER_SHARE, _ANSWER_KEPT_BACK_SECONDS),
    )


def work_end_before_expiry(now: float, expiry: float) -> float:
    """Tells when the work on a reservation has to end, so that its capture still finds it active."""
    seconds = expiry - now
    return expiry - min(seconds * _SETTLE_SHARE, SETTLE_SECONDS)


def clamp_seconds(seconds: float, *, cap_seconds: float) -> float:
    """Returns a timeout of at most the cap, and never so short that gRPC would not even send the call."""
    return max(min(seconds, cap_seconds), SHORTEST_SECONDS)
