"""One event to one webhook: a signed POST, to an address that may be called.

The signature covers the time of sending and the body, so that a receiver can tell what we sent from what others made
up, and refuse what somebody has recorded and sends again.
"""

import hashlib
import hmac
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from broker_service.domain.events import exact_data
from broker_service.engine.clock import Clock
from broker_service.engine.webhook_addresses import AddressRefusedError, WebhookAddresses
from broker_service.storage.deliveries import Claim

CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 15.0
_READ_BYTES: Final = 4_096
_ERROR_CHARACTERS: Final = 200


class WebhookSender:
    """Posts events. It has one session, opened on the event loop it is first used on."""

    def __init__(
        self,
        addresses: WebhookAddresses,
        clock: Clock,
        *,
        connections: int,
        connect_seconds: float = CONNECT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._addresses = addresses
        self._clock = clock
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=total_seconds, sock_connect=connect_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, claim: Claim) -> str:
        """Delivers an event; returns why it was not delivered, or "" if the receiver has answered with 2xx."""
        body = body_of(claim)
        sent_seconds = int(self._clock().timestamp())
        headers = {
            "content-type": "application/json",
            "iap-event-id": claim.event.event_id,
            "iap-signature": f"t={sent_seconds},v1={signature_of(claim.signing_secret, sent_seconds, body)}",
        }
        try:
            url = URL(claim.url)
            self._refuse_literal(url)
            async with self._open_session().post(url, data=body, headers=headers, allow_redirects=False) as response:
                # What it says is of no interest; what is left of it goes with the connection.
                await response.content.read(_READ_BYTES)
                if not response.content.at_eof():
                    response.close()
                return "" if _is_success(response.status) else f"answered with HTTP status {response.status}"
        except TimeoutError:
            return f"no answer within {self._timeout.total:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _describe(error)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _refuse_literal(self, url: URL) -> None:
        """Raises AddressRefusedError, or ValueError for a number that is no address and yet would be called as one."""
        host = url.host or ""
        if host.replace(".", "").isdigit() or ":" in host:
            self._addresses.refuse_address(host, host)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections,
                    resolver=_CheckingResolver(self._addresses.refuse_address),
                    use_dns_cache=False,
                ),
                headers={"user-agent": "iap-broker", "accept-encoding": "identity"},
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


class _CheckingResolver(AbstractResolver):
    """Gives the connector only addresses that may be called: what it was not given it cannot connect to."""

    def __init__(self, refuse: Callable[[str, str], None]) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._refuse = refuse

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Looks a name up. Raises AddressRefusedError if any of its addresses must not be called."""
        found = await self._inner.resolve(host, port, family)
        for address in found:
            self._refuse(host, address["host"])
        return found

    async def close(self) -> None:
        """See AbstractResolver."""
        await self._inner.close()


def body_of(claim: Claim) -> bytes:
    """Returns what is posted: the same bytes at every try."""
    event = claim.event
    document: dict[str, Any] = {
        "event_id": event.event_id,
        "position": claim.position,
        "type": event.type.value,
        "time": event.time,
        "provider_id": event.provider_id,
        "customer_id": event.customer_id,
        "account_id": event.account_id,
        "data": exact_data(event),
    }
    return msgspec.json.encode(document)


def signature_of(signing_secret: str, sent_seconds: int, body: bytes) -> str:
    """Returns the HMAC-SHA256 of "<seconds>.<body>", in hexadecimal."""
    signed = str(sent_seconds).encode() + b"." + body
    return hmac.new(signing_secret.encode(), signed, hashlib.sha256).hexdigest()


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _describe(error: Exception) -> str:
    """Returns a failure in words for the webhook's owner; of our network they tell only what that owner chose."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressRefusedError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "its certificate is not valid"
        case aiohttp.ClientConnectorDNSError():
            return "its host name is not found"
        case aiohttp.ClientConnectionError() | OSError():
            return "the connection failed"
        case _:
            return f"the exchange failed ({type(error).__name__})"[:_ERROR_CHARACTERS]
