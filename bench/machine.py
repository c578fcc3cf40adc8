"""What the figures were measured on."""

import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.stage import SERVER_SETTINGS, postgres_program

# Servers, load generators and databases share so many, so that figures of machines can be compared.
CPUS: Final = 2

_CPU_INFORMATION: Final = Path("/proc/cpuinfo")
_MEMORY_INFORMATION: Final = Path("/proc/meminfo")
_KILOBYTES_PER_GIGABYTE: Final = 1024 * 1024
_FLUSHES: Final = 51
_PAGE_BYTES: Final = 8192


def use_few_cpus() -> None:
    """Keeps this process, and those it starts from now on, to `CPUS`."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])


def describe_machine() -> dict[str, str]:
    """Returns the facts that decide about figures, by name."""
    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {
        "CPUs used": f"{cpus} of {_cpu_model()}",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("grpcio", "uvloop", "SQLAlchemy", "asyncpg")},
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": _postgres(),
        "a write with its flush to the disk": f"{_flush_seconds() * 1000:.2g} ms",
    }


def _cpu_model() -> str:
    if not _CPU_INFORMATION.exists():
        return platform.machine()
    found = re.search(r"^model name\s*: (.+)$", _CPU_INFORMATION.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _postgres() -> str:
    said = subprocess.run((postgres_program("postgres"), "--version"), check=True, capture_output=True, text=True)
    settings = ", ".join(f"{name} {value}" for name, value in SERVER_SETTINGS.items())
    return f"{said.stdout.split()[-1]} ({settings}, else as it comes)"


def _flush_seconds() -> float:
    """Returns what a small write takes to be on the disk, where the databases are."""
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_FLUSHES):
            start = time.perf_counter()
            file.write(bytes(_PAGE_BYTES))
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _memory() -> str:
    if not _MEMORY_INFORMATION.exists():
        return "unknown"
    found = re.search(r"^MemTotal:\s+(\d+) kB$", _MEMORY_INFORMATION.read_text(encoding="utf-8"), re.MULTILINE)
    return f"{int(found[1]) / _KILOBYTES_PER_GIGABYTE:.0f} GB" if found else "unknown"
