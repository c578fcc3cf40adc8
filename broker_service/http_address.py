"""Where a broker serves HTTP, and how the outside names that place.

The HTTP server takes long to import: it is, where HTTP is served.
"""

from typing import TYPE_CHECKING

from broker_service.settings import BrokerSettings
from broker_service.transport.http.origins import web_url
from mesh_runtime.addresses import is_unspecified
from mesh_runtime.node import NodeOptions
from mesh_runtime.startup_errors import StartupError

if TYPE_CHECKING:
    from broker_service.transport.http.server import HttpListener


def open_http(settings: BrokerSettings, options: NodeOptions) -> "HttpListener | None":
    """Takes the address for HTTP, if one is asked for, under the node's own terms. Raises StartupError."""
    if settings.http_listen is None:
        return None
    from broker_service.transport.http.server import HttpListener, HttpOptions  # noqa: PLC0415 - see above

    return HttpListener(
        HttpOptions(
            listen=settings.http_listen,
            tls=options.tls,
            insecure=options.insecure,
            reuse_port=options.reuse_port,
            drain_seconds=options.drain_seconds,
        )
    )


def public_url_of(settings: BrokerSettings, listener: "HttpListener | None") -> str:
    """Returns where browsers reach the broker, without a slash at the end; empty: nowhere. Raises StartupError."""
    given = settings.http_url
    if given:
        if not web_url(given) or any(mark in given for mark in "?#@"):
            raise StartupError(f"invalid --http-url {given!r}: expected a URL such as https://pay.example")
        return given.rstrip("/")
    if listener is None:
        return ""
    if is_unspecified(listener.address.host):
        raise StartupError(f"--http-listen {listener.address} needs --http-url: browsers cannot know which host it is")
    return f"{'http' if listener.tls is None else 'https'}://{listener.address}"
