"""Runs this project's commands as processes that need not import anything: they are forked from one that has.

Starting Python and importing gRPC or SQLAlchemy takes many times as long as most commands do. A forked process has all
of its own that a test looks at: arguments, environment, standard streams, and how it ends. Commands whose start or
signals are tested are started in the ordinary way.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FILES = 3
_CODE_BYTES = 4
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Program:
    """The module whose `main` runs a command, and the one to import beforehand that takes long."""

    entry: str
    heavy: str


IAP = Program("client_stub.__main__", "client_stub.cli.command")
BROKER = Program("broker_service.__main__", "broker_service.cli")


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
    asked = json.dumps([arguments, dict(environment)]).encode()
    ours, theirs = socket.socketpair()
    with ours, _file(standard_input) as given, _file() as output, _file() as errors:
        with theirs:
            files = [theirs.fileno(), given.fileno(), output.fileno(), errors.fileno()]
            socket.send_fds(_forker(program), [b"1"], files)
        ours.settimeout(timeout_seconds)
        ours.sendall(len(asked).to_bytes(_LENGTH_BYTES) + asked)
        code = ours.recv(_CODE_BYTES)
        assert code, "the command's process is gone"
        return Ended(int.from_bytes(code, signed=True), _content(output), _content(errors))


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


@cache
def _forker(program: Program) -> socket.socket:
    """Starts a process that forks, once, and returns what to ask it by; it ends when that is closed, however."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_commands", str(theirs.fileno()), program.entry, program.heavy],
            cwd=ROOT,
            # As `iap` sets it before gRPC is imported.
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _fork_until_closed(control: socket.socket) -> socket.socket | None:
    """Forks for each command that is asked for: returns in the process that is to run one, and None in the end."""
    # Nobody waits for those that only wait for a command.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        asked, files, _, _ = socket.recv_fds(control, 1, 1 + _FILES)
        if not asked:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for number, file in enumerate(files[1:]):
                os.dup2(file, number)
                os.close(file)
            return socket.socket(fileno=files[0])
        for file in files:
            os.close(file)


def _wait_for(command_pid: int, asker: socket.socket) -> None:
    _, status = os.waitpid(command_pid, 0)
    asker.sendall(os.waitstatus_to_exitcode(status).to_bytes(_CODE_BYTES, signed=True))


def _main(control: str, entry: str, heavy: str) -> None:
    """Serves the process that has started it; what it forks comes to the end of a command, and of Python, by itself."""
    import_module(heavy)
    run = import_module(entry).main
    asker = _fork_until_closed(socket.socket(fileno=int(control)))
    if asker is None:
        return
    with asker, asker.makefile("rb") as asked:
        arguments, environment = json.loads(asked.read(int.from_bytes(asked.read(_LENGTH_BYTES))))
        command_pid = os.fork()
        if command_pid:
            _wait_for(command_pid, asker)
            os._exit(0)
    sys.argv = [entry, *arguments]
    os.environ.clear()
    os.environ.update(environment)
    run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
