"""Whether an address can be listened on, with a reason when not."""

import os
import socket

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


def _resolve(address: Address) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartupError(f"cannot listen on {address}: unknown host") from error
    return found  # type: ignore[return-value]


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
