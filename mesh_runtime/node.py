"""One gRPC server in one process, from its first byte to its last."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import grpc.aio

from mesh_runtime.addresses import Address, is_loopback
from mesh_runtime.calls import CallInterceptor
from mesh_runtime.garbage import collect_seldom
from mesh_runtime.health import Health
from mesh_runtime.listening_ports import check_port, print_listening
from mesh_runtime.logs import get_logger
from mesh_runtime.reflection import enable_reflection
from mesh_runtime.running_calls import RunningCalls
from mesh_runtime.servicer_registry import ServicerRegistry
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.stop_signals import StopOrders, stop_signals
from mesh_runtime.tls import ServerTls

# Calls count as over when none has run or begun for this long: gRPC may have accepted one that no handler has
# seen yet, and clients need a moment to learn that health has turned.
_QUIET_SECONDS: Final = 0.25
_REFUSING_SECONDS: Final = 0.3
# How long before the end of the drain time calls are asked to end by themselves: at most, and as a share of it.
_ENDING_SECONDS: Final = 1.5
_ENDING_SHARE: Final = 0.25
# A health watcher that takes no bytes holds up its own news; draining does not wait for it any longer.
_HEALTH_NEWS_SECONDS: Final = 1.0
_logger = get_logger("mesh_runtime.node")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How a node listens and how it stops.

    `drain_seconds` bounds how long running calls may take to finish once the node stops. For the first
    `announce_seconds` of it, while calls are still coming or running, the node takes new ones, so that health
    checks and load balancers see NOT_SERVING and move away before connections are closed.

    `reuse_port` lets several processes listen on one port (SO_REUSEPORT); without it a second one fails to
    start. `max_connection_age_seconds` makes clients connect again now and then, which spreads them over such
    processes; running calls are left alone. `max_concurrent_calls` refuses what exceeds it as OVERLOADED.
    """

    listen: Address
    tls: ServerTls | None = None
    insecure: bool = False
    drain_seconds: float = 10.0
    announce_seconds: float = 1.0
    reuse_port: bool = False
    max_connection_age_seconds: float | None = None
    max_concurrent_calls: int | None = None


class Node:
    """A server with health, reflection, error handling and an orderly end.

    Construct it inside a running event loop and add servicers to `servicers` before `start`;
    `service_names` are the full names of their services. Streams without an end of their own watch `closing`:
    once it is set the listening socket is about to shut, and they should end so that their callers connect
    elsewhere. `ending` is set when the drain time is nearly over, for calls that can end in good order before they
    are cancelled. `hurried` is set once what still runs is to be cancelled, for whatever else stops along.
    """

    def __init__(
        self,
        options: NodeOptions,
        *,
        domain: str,
        service_names: Sequence[str],
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._options = options
        self._running_calls = RunningCalls()
        self.hurried = asyncio.Event()
        self.closing = asyncio.Event()
        self.ending = asyncio.Event()
        guard = CallInterceptor(
            domain, running_calls=self._running_calls, max_concurrent_calls=options.max_concurrent_calls
        )
        self.server = grpc.aio.server(interceptors=[guard, *interceptors], options=_channel_options(options))
        # It has what the generated functions ask of a server.
        self.servicers = cast("grpc.aio.Server", ServicerRegistry(self.server))
        self.health = Health(self.servicers, service_names)
        enable_reflection(self.servicers, service_names)

    async def start(self) -> Address:
        """Bind, serve and turn healthy; return the address with the real port.

        StartupError when the address cannot be had, or is open to other machines without TLS or `insecure`.
        """
        address = self._bind()
        await self.health.set_serving(False)
        await self.server.start()
        await self.health.set_serving(True)
        return address

    async def announce_end(self) -> None:
        """Turn NOT_SERVING for good; calls are still taken."""
        try:
            async with asyncio.timeout(_HEALTH_NEWS_SECONDS):
                await self.health.stop_serving()
        except TimeoutError:
            _logger.warning("node.health_watcher_stuck")

    async def stop(self) -> None:
        """Turn NOT_SERVING, let running calls finish for at most `drain_seconds`, cancel the rest and close.

        Does nothing on a node that was not started or has stopped.
        """
        drain_seconds = self._options.drain_seconds
        end = time.monotonic() + drain_seconds
        kept_back_seconds = min(_ENDING_SECONDS, drain_seconds * _ENDING_SHARE)
        nearly_over = asyncio.get_running_loop().call_later(drain_seconds - kept_back_seconds, self.ending.set)
        await self.announce_end()
        await self._wait_until_quiet(min(self._options.announce_seconds, self._options.drain_seconds))
        # From here on new calls are UNAVAILABLE. Callers learn that, and back off, before the socket shuts: what
        # arrives in that very moment gRPC answers with CANCELLED.
        self._running_calls.refusing = True
        await self._wait_until_quiet(min(_REFUSING_SECONDS, max(end - time.monotonic(), 0.0)))
        remaining_seconds = max(end - time.monotonic(), 0.0)
        # Closes the listening socket and tells clients to connect elsewhere. It would also wait for those that
        # watch our health, who may stay for ever; hence the second stop.
        closed = asyncio.create_task(self.server.stop(remaining_seconds + 2 * _QUIET_SECONDS))
        # Once around the event loop, so that the socket is shut before streams end and their callers return.
        await asyncio.sleep(0)
        self.closing.set()
        await self._wait_until_quiet(remaining_seconds, closed)
        if self._running_calls:
            _logger.warning("node.calls_cancelled", calls=len(self._running_calls))
        await self.server.stop(None)
        await closed
        nearly_over.cancel()

    def hurry(self) -> None:
        """Make a running or later `stop` cancel what is still running instead of waiting for it."""
        self.hurried.set()

    async def wait_until_closed(self) -> None:
        """Return when the server has stopped; raises what broke it when it was not `stop` that did."""
        await self.server.wait_for_termination()

    def _bind(self) -> Address:
        listen, tls = self._options.listen, self._options.tls
        if tls is None and not self._options.insecure and not is_loopback(listen.host):
            raise StartupError(
                f"cannot listen on {listen} without TLS: other machines can reach it; "
                "set a certificate and key, or allow plaintext explicitly"
            )
        credentials = None if tls is None else tls.credentials()
        check_port(listen, reuse_port=self._options.reuse_port)
        try:
            if credentials is None:
                port = self.server.add_insecure_port(str(listen))
            else:
                port = self.server.add_secure_port(str(listen), credentials)
        except RuntimeError as error:
            raise StartupError(f"cannot listen on {listen}") from error
        if port == 0:
            raise StartupError(f"cannot listen on {listen}")
        return Address(host=listen.host, port=port)

    async def _wait_until_quiet(self, timeout_seconds: float, *others: asyncio.Task[None]) -> None:
        """Return when no calls come any more, when another task is done, when hurried or after the timeout."""
        own = {
            asyncio.create_task(self._running_calls.wait_until_quiet(_QUIET_SECONDS)),
            asyncio.create_task(self.hurried.wait()),
        }
        await asyncio.wait({*own, *others}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in own:
            task.cancel()


async def serve_until_signal(
    node: Node,
    *,
    before_stop: Callable[[], Awaitable[None]] | None = None,
    after_stop: Callable[[], Awaitable[None]] | None = None,
    announce: Callable[[Address], None] = print_listening,
    stop_orders: StopOrders = stop_signals,
) -> None:
    """Start the node, serve until SIGTERM or SIGINT, stop it and return.

    `before_stop` runs once health has turned NOT_SERVING, `after_stop` once the server is closed or has failed
    to start. A second signal cancels the calls that still run, a third ends the process at once. A worker has other
    `stop_orders`. Raises StartupError from `Node.start`, and what broke the server when no signal did.
    """
    stop_asked = asyncio.Event()
    with stop_orders(stop=stop_asked.set, hurry=node.hurry):
        try:
            address = await node.start()
            collect_seldom()
            try:
                announce(address)
                _logger.info("node.serving", address=str(address))
                await _wait_for_end(node, stop_asked)
            finally:
                await _stop(node, before_stop)
        finally:
            if after_stop is not None:
                await after_stop()


def _channel_options(options: NodeOptions) -> list[tuple[str, int]]:
    channel_options = [
        # On by default in gRPC, where a second server on the same port silently takes half the connections.
        ("grpc.so_reuseport", int(options.reuse_port)),
        # gRPC's default, stated because it is part of what callers can rely on.
        ("grpc.max_receive_message_length", 4 * 1024 * 1024),
        # A connection that died without a word is found after 140 seconds; after 2 hours by default.
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients may ping every 10 seconds, idle ones too; by default more than one in 5 minutes is abuse.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    if options.max_connection_age_seconds is not None:
        channel_options.append(("grpc.max_connection_age_ms", int(options.max_connection_age_seconds * 1000)))
    return channel_options


async def _wait_for_end(node: Node, stop_asked: asyncio.Event) -> None:
    # Never cancelled, as that would cancel the server's own future; it ends when the server does.
    closed = asyncio.create_task(node.wait_until_closed())
    asked = asyncio.create_task(stop_asked.wait())
    await asyncio.wait({closed, asked}, return_when=asyncio.FIRST_COMPLETED)
    if closed.done():
        asked.cancel()
        await closed


async def _stop(node: Node, before_stop: Callable[[], Awaitable[None]] | None) -> None:
    _logger.info("node.stopping")
    await node.announce_end()
    if before_stop is not None:
        try:
            await before_stop()
        except Exception:
            # The calls that still run deserve their answers all the same.
            _logger.exception("node.before_stop_failed")
    await node.stop()
    _logger.info("node.stopped")
