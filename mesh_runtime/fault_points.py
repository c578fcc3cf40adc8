"""Points at which a test lets a process be killed, or stop until the test has killed something else.

Switched on by the environment alone: IAP_FAULT_POINT=NAME:COUNT:SIGNAL sends the process that signal, KILL or STOP, at
the COUNTth passing of the point. Without it, a point is one function call that returns at once, or not even that where
`armed` is asked before.
"""

import os
import signal
from itertools import count
from typing import Final

VARIABLE: Final = "IAP_FAULT_POINT"
_wanted, _, _rest = os.environ.get(VARIABLE, "").partition(":")
_count, _, _signal = _rest.partition(":")
_passings = count(1)

armed: Final = bool(_wanted)


def passing(point: str) -> None:
    """Marks a point by its name."""
    if armed and point == _wanted and next(_passings) == int(_count):
        os.kill(os.getpid(), signal.Signals[f"SIG{_signal}"])
