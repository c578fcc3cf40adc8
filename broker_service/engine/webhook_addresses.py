"""Which addresses the broker calls when strangers name them.

A URL is looked at when it is registered, so that a mistake is told at once. What protects is the second look: at the
address that a connection is really made to (`refuse_address`), for by then the name may lead somewhere else.
"""

import asyncio
import ipaddress
import socket
from typing import Final

from yarl import URL

from broker_service.domain.errors import InvalidField

_RESOLVE_SECONDS: Final = 3.0
# Lookups run on threads that others need too.
_LOOKUPS_AT_ONCE: Final = 8
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# Addresses that stand for an IPv4 address (RFC 6052).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefusedError(OSError):
    """The address is not one that strangers may have the broker call."""


class WebhookAddresses:
    """Tells the addresses that may be called.

    Public ones; loopback where a URL names it plainly and `allow_loopback` is set; any with `allow_private`.
    """

    def __init__(self, *, allow_loopback: bool, allow_private: bool) -> None:
        self._allow_loopback = allow_loopback
        self._allow_private = allow_private
        self._lookups = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    def check_form(self, text: str, field: str) -> URL:
        """Returns a URL whose form is right. Raises InvalidField."""
        if not text.isprintable() or " " in text or "\\" in text:
            raise InvalidField(field=field, description="must be a URL, without spaces and control characters")
        try:
            url = URL(text)
            host = url.host or ""
        except ValueError as error:
            raise InvalidField(field=field, description="must be a URL") from error
        if url.scheme not in ("https", "http") or not host:
            raise InvalidField(field=field, description="must be an https URL with a host")
        if url.user is not None or url.password is not None:
            raise InvalidField(field=field, description="must not contain credentials")
        if url.scheme == "http" and not is_loopback_name(host):
            raise InvalidField(field=field, description="must be https, except for localhost")
        literal = _literal(host)
        if literal is not None:
            self._check(literal, named_plainly=True, field=field)
        elif is_loopback_name(host) and not (self._allow_loopback or self._allow_private):
            raise InvalidField(field=field, description="must not lead to this machine")
        return url

    async def check(self, text: str, field: str) -> None:
        """Raises InvalidField if a URL's form is wrong, or if it leads to an address that is not called.

        A name that is not found, or not in time, is let through: it may come to be, and is looked up at each delivery.
        """
        url = self.check_form(text, field)
        host = url.host or ""
        if _literal(host) is not None:
            return
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS), self._lookups:
                found = await asyncio.get_running_loop().getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise InvalidField(field=field, description="must have a host name that can be looked up") from error
        except (TimeoutError, OSError):
            return
        for *_, address in found:
            self._check(ipaddress.ip_address(address[0]), named_plainly=is_loopback_name(host), field=field)

    def refuse_address(self, host: str, address: str) -> None:
        """Raises AddressRefusedError if a connection for a URL with this host must not be made to an address."""
        if not self._allows(ipaddress.ip_address(address), named_plainly=is_loopback_name(host)):
            raise AddressRefusedError(f"{address} is not a public address")

    def _check(self, address: Address, *, named_plainly: bool, field: str) -> None:
        if not self._allows(address, named_plainly=named_plainly):
            raise InvalidField(field=field, description="must not lead into a private network or to this machine")

    def _allows(self, address: Address, *, named_plainly: bool) -> bool:
        if self._allow_private or is_public(address):
            return True
        return self._allow_loopback and named_plainly and address.is_loopback


def is_loopback_name(host: str) -> bool:
    """Tells whether a URL's host says plainly that it is this machine."""
    literal = _literal(host)
    return host.lower() == "localhost" if literal is None else literal.is_loopback


def is_public(address: Address) -> bool:
    """Tells whether an address is on the internet: not private, link-local, shared, multicast or set apart otherwise.

    Of an IPv6 address that stands for an IPv4 address, that is asked.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    if address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if inner is not None:
        return is_public(inner)
    return address in _GLOBAL_UNICAST and address.is_global


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
