"""What a worker process knows of its supervisor (`mesh_runtime.workers`)."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from mesh_runtime.addresses import Address, parse_address
from mesh_runtime.startup_errors import StartupError

# What passes between supervisor and worker, a line each; anything else a worker says is why it cannot serve.
SERVING: Final = b"serving\n"
HURRY: Final = b"hurry\n"

_VARIABLE: Final = "IAP_MESH_WORKER"
_EXIT_CODE_CANNOT_START: Final = 2
_ORDER_BYTES: Final = 64


class Worker:
    """One of several processes that serve one address, and one for HTTP if there is one, as this process is.

    The link to the supervisor also tells when that is gone: a worker then stops, for nobody would replace or stop it.
    """

    def __init__(self, listen: Address, link: socket.socket, *, http_listen: Address | None = None) -> None:
        self.listen = listen
        self.http_listen = http_listen
        self._link = link

    def report_serving(self, _address: Address) -> None:
        """Tell the supervisor that this worker serves."""
        self._report(SERVING)

    @contextlib.contextmanager
    def reporting_failure(self) -> Iterator[None]:
        """Make a StartupError the supervisor's to tell of, and exit: many workers may fail for the same reason."""
        try:
            yield
        except StartupError as error:
            self._report(" ".join(str(error).split()).encode() + b"\n")
            sys.exit(_EXIT_CODE_CANNOT_START)

    @contextlib.contextmanager
    def stop_orders(self, *, stop: Callable[[], None], hurry: Callable[[], None]) -> Iterator[None]:
        """See StopOrders.

        A signal never hurries a worker, however often it comes: service managers send SIGTERM to the supervisor and
        to each worker, and so the worker gets it twice.
        """
        loop = asyncio.get_running_loop()

        def read_order() -> None:
            if self._read_order():
                hurry()
            else:
                loop.remove_reader(self._link)
            stop()

        loop.add_signal_handler(signal.SIGTERM, stop)
        loop.add_reader(self._link, read_order)
        try:
            yield
        finally:
            loop.remove_reader(self._link)
            loop.remove_signal_handler(signal.SIGTERM)

    def _read_order(self) -> bytes:
        """Return what the supervisor ordered; nothing when it is gone."""
        try:
            return self._link.recv(_ORDER_BYTES)
        except OSError:
            return b""

    def _report(self, line: bytes) -> None:
        # A supervisor that is gone needs no report, and `stop_orders` finds out.
        with contextlib.suppress(OSError):
            self._link.sendall(line)


def worker_environment(addresses: Sequence[Address], link: socket.socket) -> dict[str, str]:
    """Return the environment of a worker that inherits this end of its link; the second address is the one for HTTP."""
    return {**os.environ, _VARIABLE: " ".join([str(link.fileno()), *map(str, addresses)])}


def this_worker() -> Worker | None:
    """Return this process as a worker; None if it was started by anything else than a supervisor.

    Call it once, early: from then on Ctrl-C, which a terminal sends to all processes, is left to the supervisor.
    """
    # Taken out, so that no process started from here believes it to be meant.
    started_as = os.environ.pop(_VARIABLE, None)
    if started_as is None:
        return None
    descriptor, listen, *http_listen = started_as.split(" ")
    link = socket.socket(fileno=int(descriptor))
    link.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The supervisor held it back while this process had no say yet.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return Worker(parse_address(listen), link, http_listen=parse_address(http_listen[0]) if http_listen else None)
