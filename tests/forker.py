"""A process that has imported what takes long, and from which programs are forked that need not import it again.

Starting Python and importing gRPC or SQLAlchemy takes many times as long as what most tests do with a process. A forked
one has all of its own that a test looks at: process id, session, arguments, environment, directory, standard streams,
how it takes signals and how it ends. Only what is about starting itself is started in the ordinary way.
"""

import atexit
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module, reload
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FILES = 3
_NUMBER_BYTES = 4
_LENGTH_BYTES = 8
_READY = b"1"
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Imports:
    """What is imported beforehand, and variables that must be set before."""

    modules: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """How one process is run: by `python` followed by `head` and the arguments."""

    head: Sequence[str]
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str = str(ROOT)
    own_session: bool = False


class ForkedPeer:
    """The other end of one forked process, which tells its `pid` when it begins and its exit code in the end.

    An exit code is negative where a signal ended the process, as in `subprocess`.
    """

    def __init__(self, imports: Imports, orders: Orders, files: Sequence[int]) -> None:
        """Forks; `files` become the standard streams. Waits until the process is there."""
        prepare_forker(imports)
        asked = json.dumps(asdict(orders)).encode()
        self.socket, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_forker(imports), [_READY], [theirs.fileno(), *files])
        self.socket.sendall(len(asked).to_bytes(_LENGTH_BYTES) + asked)
        self.pid = self._read()

    def read_exit_code(self) -> int:
        """Waits for the end, as long as the socket's timeout lets it."""
        with self.socket:
            return self._read()

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _read(self) -> int:
        number = self.socket.recv(_NUMBER_BYTES)
        assert number, "whoever forked the process is gone"
        return int.from_bytes(number, signed=True)


def prepare_forker(imports: Imports) -> None:
    """Returns once processes with these imports can be forked."""
    with _one_at_a_time:
        _forker(imports)


@cache
def _forker(imports: Imports) -> socket.socket:
    """Starts a process that forks, once, and returns what to ask it by; it ends when that is closed, however."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forker", str(theirs.fileno()), *imports.modules],
            cwd=ROOT,
            env={**os.environ, **dict(imports.environment)},
            pass_fds=[theirs.fileno()],
            # Ctrl-C is for the tests, which end what they started.
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    assert ours.recv(1) == _READY
    return ours


def _fork_until_closed(control: socket.socket) -> socket.socket | None:
    """Forks for each process that is asked for: returns in one that is to care for it, and None in the end."""
    control.sendall(_READY)
    while True:
        asked, files, _, _ = socket.recv_fds(control, 1, 1 + _FILES)
        _collect_ended()
        if not asked:
            return None
        if os.fork() == 0:
            control.close()
            for number, file in enumerate(files[1:]):
                os.dup2(file, number)
                os.close(file)
            return socket.socket(fileno=files[0])
        for file in files:
            os.close(file)


def _collect_ended() -> None:
    """Leaves none that has ended uncollected, so that the CPU time of all is counted in the end."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _care_for(pid: int, asker: socket.socket) -> None:
    """Waits for the end of a process, and tells it."""
    for number in range(_FILES):
        # Whoever reads its output waits for the end of it.
        os.close(number)
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        _tell(os.waitstatus_to_exitcode(status), asker)


def _tell(number: int, asker: socket.socket) -> None:
    asker.sendall(number.to_bytes(_NUMBER_BYTES, signed=True))


def _become(orders: Orders) -> None:
    """Makes this process what `python` would be that was started so."""
    os.environ.clear()
    os.environ.update(orders.environment)
    os.chdir(orders.directory)
    if orders.own_session:
        os.setsid()
    head = orders.head
    first = orders.directory if head[0] == "-m" else str(Path(head[0]).parent)
    added = orders.environment.get("PYTHONPATH", "")
    sys.path[:1] = [first, *filter(None, added.split(os.pathsep))]
    sys.argv = [head[-1], *orders.arguments]
    sys.orig_argv = [sys.executable, *head, *orders.arguments]
    if "mesh_runtime.fault_points" in sys.modules:
        # It looks at the environment once, when it is imported.
        reload(sys.modules["mesh_runtime.fault_points"])
    # Those that are there know of the files that were there before: whether one can be sought in, or is a terminal.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace", buffering=1, closefd=False)


def _run(head: Sequence[str]) -> None:
    if head[0] == "-m":
        runpy.run_module(head[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(head[0], run_name="__main__")


def _end(exit_code: int) -> None:
    """Ends as Python does, but without taking all modules apart, which takes longer than most commands do."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    # What cannot be written is told of in the ordinary way.
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


def _main(control: str, *modules: str) -> None:
    """Serves the process that has started it; what it forks runs a program to its end."""
    for module in modules:
        import_module(module)
    # What is there already is no garbage, and stays in memory that all share.
    gc.collect()
    gc.freeze()
    asker = _fork_until_closed(socket.socket(fileno=int(control)))
    if asker is None:
        return
    with asker:
        with asker.makefile("rb") as asked:
            orders = Orders(**json.loads(asked.read(int.from_bytes(asked.read(_LENGTH_BYTES)))))
        pid = os.fork()
        if pid:
            _care_for(pid, asker)
            os._exit(0)
        _become(orders)
        _tell(os.getpid(), asker)
    try:
        _run(orders.head)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        _end(end.code or 0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
