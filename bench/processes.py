"""CPU time and memory of running processes, from /proc."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name, which is the second and may hold anything (proc_pid_stat(5)).
_PARENT: Final = 1
_TIMES: Final = slice(11, 15)
_OWN_TIMES: Final = slice(11, 13)
_KILOBYTE: Final = 1024


def cpu_seconds(pid: int) -> float:
    """Returns what a process has used, with all it has started and they in turn."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for directory in _PROC.glob("[0-9]*"):
        fields = _stat(directory / "stat")
        if fields:
            number = int(directory.name)
            parents[number] = int(fields[_PARENT])
            ticks[number] = sum(int(field) for field in fields[_TIMES])
    return sum(used for number, used in ticks.items() if _descends(number, pid, parents)) / _TICKS_PER_SECOND


def thread_cpu_seconds(pid: int) -> dict[str, float]:
    """Returns what a process itself has used: its first thread, and all others together."""
    first = others = 0
    for directory in (_PROC / str(pid) / "task").glob("*"):
        used = sum(int(field) for field in _stat(directory / "stat")[_OWN_TIMES])
        if directory.name == str(pid):
            first = used
        else:
            others += used
    return {"first thread": first / _TICKS_PER_SECOND, "other threads": others / _TICKS_PER_SECOND}


def resident_bytes(pid: int) -> int:
    """Returns how much memory a process occupies now."""
    for line in (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) * _KILOBYTE
    raise ProcessLookupError(pid)


def read_meters(pids: Mapping[str, int]) -> dict[str, float]:
    """Returns the CPU seconds of several processes, by name."""
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def microseconds_each(before: Mapping[str, float], after: Mapping[str, float], operations: int) -> dict[str, float]:
    """Returns what one operation took of each, between two readings of the meters."""
    return {name: (after[name] - before[name]) * 1e6 / max(operations, 1) for name in before}


def _stat(path: Path) -> list[str]:
    """Returns the fields behind the name; none of a process that has ended."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _descends(pid: int, ancestor: int, parents: Mapping[int, int]) -> bool:
    current: int | None = pid
    while current is not None and current != ancestor:
        current = parents.get(current)
    return current == ancestor
