"""Points at which a test kills a process, or stops it until the test has killed something else.

Switched on by the environment alone: IAP_FAULT_POINTS names a file. While it holds `NAME COUNT SIGNAL`, the process
that passes the point NAME for the COUNTth time since then deletes the file and sends itself the signal, KILL or STOP.
Without the variable, a point is one function call that returns at once, or not even that where `armed` is asked before.
"""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Final

VARIABLE: Final = "IAP_FAULT_POINTS"
_path: Final = os.environ.get(VARIABLE, "")
_passings: Final = Counter[str]()

armed: Final = bool(_path)


def passing(point: str) -> None:
    """Marks a point by its name."""
    if armed:
        _look(point)


def _look(point: str) -> None:
    path = Path(_path)
    try:
        order = path.read_text()
    except FileNotFoundError:
        return
    name, _, rest = order.partition(" ")
    if name != point:
        return
    count, _, signal_name = rest.partition(" ")
    _passings[order] += 1
    if _passings[order] == int(count):
        path.unlink()
        del _passings[order]
        os.kill(os.getpid(), signal.Signals[f"SIG{signal_name.strip()}"])
