"""The HTTP server beside the gRPC server: same process, same event loop, same rules for plaintext and TLS.

uvicorn speaks HTTP; here it gets its sockets, its limits and its orders to stop, all of which are the broker's.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from broker_service.transport.http.connection import LimitedConnection
from mesh_runtime.addresses import Address, is_loopback
from mesh_runtime.listening_ports import bind_port
from mesh_runtime.logs import get_logger
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.tls import ServerTls

logger = get_logger(__name__)

# More open connections than this get 503; those beyond LimitedConnection's own limit are closed unheard.
MAX_CONNECTIONS: Final = 1_000
MAX_HEADER_BYTES: Final = 16 * 1024
_KEEP_ALIVE_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Where and how HTTP is served; `drain_seconds` bounds how long running requests may take at the end."""

    listen: Address
    tls: ServerTls | None = None
    insecure: bool = False
    reuse_port: bool = False
    drain_seconds: float = 10.0


class HttpListener:
    """An address taken for HTTP, where nobody listens yet: its port is known before what depends on it is built."""

    def __init__(self, options: HttpOptions) -> None:
        """Raises StartupError."""
        if options.tls is None and not options.insecure and not is_loopback(options.listen.host):
            raise StartupError(
                f"cannot serve HTTP on {options.listen} without TLS: other machines can reach it; "
                "set a certificate and key, or allow plaintext explicitly"
            )
        self.options = options
        self.tls: ssl.SSLContext | None = None if options.tls is None else options.tls.context()
        self.address, self.sockets = bind_port(options.listen, reuse_port=options.reuse_port)

    def close(self) -> None:
        """Gives the address back."""
        for bound in self.sockets:
            bound.close()


class HttpServer:
    """Serves an application: `start` it once or never, then `begin_stop` and `wait_stopped`."""

    def __init__(self, listener: HttpListener, app: ASGIApp, *, hurried: asyncio.Event) -> None:
        """`hurried` makes a running or later stop cut what is still running."""
        self._listener = listener
        self._server = _Server(_configuration(listener, app))
        self._hurried = hurried
        self._running: asyncio.Task[None] | None = None

    @property
    def address(self) -> Address:
        """Where it serves, or will."""
        return self._listener.address

    async def start(self) -> None:
        """Begins to serve. Raises StartupError when another process has begun to listen there meanwhile."""
        self._running = asyncio.create_task(self._server.serve(sockets=self._listener.sockets))
        serving = asyncio.create_task(self._server.serving.wait())
        await asyncio.wait({self._running, serving}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        if self._running.done():
            self._listener.close()
            error = self._running.exception()
            self._running = None
            raise StartupError(f"cannot serve HTTP on {self.address}") from error
        logger.info("http.serving", address=str(self.address))

    def begin_stop(self) -> None:
        """Takes no new requests from now on; running ones finish."""
        self._server.should_exit = True

    async def wait_stopped(self) -> None:
        """Returns when the last request is over: in `drain_seconds` at most, at once when hurried."""
        self.begin_stop()
        if self._running is None:
            self._listener.close()
            return
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait({self._running, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not self._running.done():
            self._server.cut()
        await self._running


class _Server(uvicorn.Server):
    """uvicorn's server without its own signal handlers, which would take the node's."""

    def __init__(self, configuration: uvicorn.Config) -> None:
        super().__init__(configuration)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Captures none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and says so."""
        await super().startup(sockets=sockets)
        self.serving.set()

    def cut(self) -> None:
        """Ends every request and connection now."""
        self.force_exit = True
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _configuration(listener: HttpListener, app: ASGIApp) -> uvicorn.Config:
    settings: dict[str, Any] = {} if listener.tls is None else {"ssl_context_factory": lambda *_: listener.tls}
    return uvicorn.Config(
        app,
        http=LimitedConnection,
        ws="none",
        lifespan="off",
        # The broker has configured logging, and logs requests itself. What is below an error is a client's doing.
        log_config=None,
        log_level="error",
        access_log=False,
        # Whoever connects is who they are: nothing here depends on it, and headers can say anything.
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(listener.options.drain_seconds)),
        **settings,
    )
