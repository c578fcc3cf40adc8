"""How long the running call may still take.

gRPC does not hand a deadline on to the calls a handler makes, so the interceptor keeps it here and every
nested call asks for its budget.
"""

import contextvars
import time
from typing import Final

SHORTEST_BUDGET_SECONDS: Final = 0.01

# A reading of time.monotonic(); None without a deadline.
_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


def start_deadline(remaining_seconds: float | None) -> None:
    """Set the deadline of the running call, for this task and those it starts; None for no deadline."""
    _deadline.set(None if remaining_seconds is None else time.monotonic() + remaining_seconds)


def deadline() -> float | None:
    """Return the reading of time.monotonic() at which the running call's time is up; None without a deadline."""
    return _deadline.get()


def remaining_seconds() -> float | None:
    """Return what is left of the running call's deadline: negative once it has passed, None without one."""
    end = _deadline.get()
    return None if end is None else end - time.monotonic()


def budget_seconds(cap_seconds: float, keep_back_seconds: float = 0.0) -> float:
    """Return the timeout for a nested call: what remains less `keep_back_seconds`, at most `cap_seconds`.

    Never less than SHORTEST_BUDGET_SECONDS: gRPC fails a call without time before it is sent, and that error
    would hide that it is our own caller's deadline that ran out.
    """
    remaining = remaining_seconds()
    if remaining is None:
        return max(cap_seconds, SHORTEST_BUDGET_SECONDS)
    return max(min(remaining - keep_back_seconds, cap_seconds), SHORTEST_BUDGET_SECONDS)


def context_without_deadline() -> contextvars.Context:
    """Return a copy of the current context without a deadline, for work that outlives the call."""
    context = contextvars.copy_context()
    context.run(_deadline.set, None)
    return context
