"""Where a channel leads."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from client_stub.errors import ConfigurationError

_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:/\s]+):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Target:
    """A gRPC target (https://github.com/grpc/grpc/blob/master/doc/naming.md)."""

    name: str
    """The target as gRPC takes it."""
    loopback: bool
    """Whether nothing but this machine is reached by it."""
    several_servers: bool
    """Whether it may stand for several servers."""


def parse_target(text: str) -> Target:
    """Read `host:port`, `dns:///host:port`, `ipv4:a:port,b:port`, `ipv6:[a]:port,…` or `unix:path`.

    `dns:///` asks for every address of the name; plain `host:port` means one server. ConfigurationError names the
    text when it is none of these.
    """
    scheme, colon, rest = text.partition(":")
    match scheme if colon else "":
        case "unix" if rest:
            return Target(name=text, loopback=True, several_servers=False)
        case "dns" if rest.startswith("/"):
            host = _host(rest.rpartition("/")[2], text)
            return Target(name=text, loopback=_is_loopback(host), several_servers=True)
        case "ipv4" | "ipv6":
            hosts = [_host(address, text) for address in rest.split(",")]
            return Target(name=text, loopback=all(map(_is_loopback, hosts)), several_servers=len(hosts) > 1)
        case _:
            return Target(name=text, loopback=_is_loopback(_host(text, text)), several_servers=False)


def _host(address: str, target: str) -> str:
    matched = _HOST_AND_PORT.fullmatch(address)
    if matched is None or not 0 < int(matched["port"]) <= _HIGHEST_PORT:
        raise ConfigurationError(f"invalid target {target!r}: expected HOST:PORT, such as 127.0.0.1:50051")
    return matched["host"].strip("[]")


def _is_loopback(host: str) -> bool:
    # RFC 6761, section 6.3: the name `localhost` never leaves the machine.
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
