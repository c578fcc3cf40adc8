"""Addresses to listen on: whether they can be had, with a reason when not, and who is told of them."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from mesh_runtime.addresses import Address
from mesh_runtime.startup_errors import StartupError


def check_port(address: Address, *, reuse_port: bool) -> None:
    """Raise StartupError with the system's reason when the address cannot be bound.

    gRPC itself reports a failure without a reason and logs lines of its own. Between this check and the real
    bind another process may take the port; gRPC's own error then says it less well.
    """
    for family, kind, protocol, _, socket_address in _resolve(address):
        with socket.socket(family, kind, protocol) as probe:
            # As gRPC sets them, so that a port in TIME_WAIT is free to both.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                probe.bind(socket_address)
            except OSError as error:
                raise StartupError(f"cannot listen on {address}: {_reason(error)}") from error


@contextlib.contextmanager
def holding_port(address: Address) -> Iterator[Address]:
    """Keep an address for processes that will share it (SO_REUSEPORT), and give it with its real port.

    StartupError when somebody listens there already, willing to share or not. What holds it does not listen itself,
    so no connection is lost to it.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise StartupError("processes cannot share a port on this system")
    check_port(address, reuse_port=False)
    port = address.port
    with contextlib.ExitStack() as holders:
        for family, kind, protocol, _, (host, _, *scope) in _resolve(address):
            holder = holders.enter_context(socket.socket(family, kind, protocol))
            # Only for a port in TIME_WAIT: it would let a stranger in before anybody listens.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(address.port != 0))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                holder.bind((host, port, *scope))
            except OSError as error:
                raise StartupError(f"cannot listen on {address}: {_reason(error)}") from error
            port = holder.getsockname()[1]
        yield Address(host=address.host, port=port)


def bind_port(address: Address, *, reuse_port: bool) -> tuple[Address, list[socket.socket]]:
    """Take an address for a server that begins to listen later; return it with its real port, and the sockets.

    `reuse_port` shares it with other processes. StartupError when it is not to be had.
    """
    check_port(address, reuse_port=reuse_port)
    port = address.port
    with contextlib.ExitStack() as on_failure:
        sockets = []
        for family, kind, protocol, _, (host, _, *scope) in _resolve(address):
            bound = on_failure.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                bound.bind((host, port, *scope))
            except OSError as error:
                raise StartupError(f"cannot listen on {address}: {_reason(error)}") from error
            port = bound.getsockname()[1]
            sockets.append(bound)
        on_failure.pop_all()
    return Address(host=address.host, port=port), sockets


def print_listening(address: Address, http_address: Address | None = None) -> None:
    """Print the lines on standard output that tell scripts where a server can be reached."""
    print(f"listening on {address}", flush=True)
    if http_address is not None:
        print(f"http on {http_address}", flush=True)


def _resolve(address: Address) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
    try:
        return list(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    except socket.gaierror as error:
        raise StartupError(f"cannot listen on {address}: unknown host") from error


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
