"""Runs this project's commands to their end as processes that need not import anything: see forker.py.

Commands whose start or signals are tested are started in the ordinary way.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from tests.forked_programs import Program
from tests.forker import ROOT, ForkedPeer, Orders


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote; a signal's number is negative, as in `subprocess`."""

    exit_code: int
    output: str
    errors: str


def run_forked(
    program: Program,
    *arguments: str,
    environment: Mapping[str, str],
    standard_input: str = "",
    timeout_seconds: float = 60,
) -> Ended:
    """Runs one command to its end. Raises TimeoutError, and leaves the command to itself then."""
    with _file(standard_input) as given, _file() as output, _file() as errors:
        files = [given.fileno(), output.fileno(), errors.fileno()]
        orders = Orders(head=program.head, arguments=arguments, environment=dict(environment))
        peer = ForkedPeer(program.imports, orders, files)
        peer.socket.settimeout(timeout_seconds)
        return Ended(peer.read_exit_code(), _content(output), _content(errors))


def run_started(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    standard_input: str = "",
    timeout_seconds: float = 60,
) -> Ended:
    """Does the same in the ordinary way."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        input=standard_input.encode(),
        capture_output=True,
        cwd=ROOT,
        env=dict(environment),
        timeout=timeout_seconds,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def _file(content: str = "") -> "tempfile._TemporaryFileWrapper[bytes]":
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - whoever asks for it closes it
    file.write(content.encode())
    file.seek(0)
    return file


def _content(file: "tempfile._TemporaryFileWrapper[bytes]") -> str:
    file.seek(0)
    return file.read().decode()
