"""The addresses a server listens on."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from mesh_runtime.startup_errors import StartupError

_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, with an IPv6 host in brackets; StartupError names the text when it is none."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise StartupError(f"invalid address {text!r}: write an IPv6 address in brackets, such as [::1]:50051")
    if not host or not (port.isascii() and port.isdigit()):
        raise StartupError(f"invalid address {text!r}: expected HOST:PORT, such as 127.0.0.1:50051")
    if int(port) > _HIGHEST_PORT:
        raise StartupError(f"invalid address {text!r}: a port is at most {_HIGHEST_PORT}")
    return Address(host=host, port=int(port))


def is_unspecified(host: str) -> bool:
    """Whether the host stands for every address of this machine: 0.0.0.0 or ::."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host: 127.0.0.0/8, ::1 or `localhost` (RFC 6761, section 6.3)."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
