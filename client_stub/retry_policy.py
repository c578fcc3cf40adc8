"""How often what has failed is tried again, and after which pause: by gRPC for calls, by us for a pipeline.

Safe for everything: what moves credits or money carries a request_id.
"""

import random
from typing import Final

import grpc

MAX_ATTEMPTS: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
PAUSE_MULTIPLIER: Final = 2
# CANCELLED is what a server that stops answers to a call which comes at that moment; cancelling a call here ends it at
# once, whatever this says.
RETRYABLE_CODES: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
# As much as gRPC adds and takes away.
_JITTER: Final = 0.2


def pause_seconds(failures: int) -> float:
    """Return how long to wait after so many failures in a row, at least one."""
    longest: float = min(FIRST_PAUSE_SECONDS * PAUSE_MULTIPLIER ** (failures - 1), LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - hides nothing
