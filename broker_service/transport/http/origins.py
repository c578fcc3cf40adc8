"""Origins (RFC 6454) and addresses: who may post a form here, and where a page may lead."""

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request

_WEB_SCHEMES: Final = ("http", "https")
# Browsers drop some of these and take others for a slash.
_NEVER_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f\\]")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def is_same_origin(request: "Request", own_url: str) -> bool:
    """Tells whether a form came from a page of this server, as far as the browser says.

    Browsers say so with each form that is posted (Sec-Fetch-Site, or in older ones Origin); what says neither is none,
    and cannot be made to post by somebody else's page. Behind a proxy the public address counts, `own_url`.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return True
    given = _endpoint(origin)
    own = {_endpoint(own_url), _endpoint(f"{request.url.scheme}://{request.headers.get('host', '')}")}
    return given is not None and given in own


def web_url(text: str) -> str:
    """Returns a URL if it is one that a browser may be sent to: http or https, with a host; else an empty text."""
    return text if _split(text) is not None and not _NEVER_IN_URLS.search(text) else ""


def host_of(url: str) -> str:
    """Returns the host that a URL leads to, for people to read: no user before it, letters beyond ASCII as in DNS."""
    host = (urlsplit(url).hostname or "") if web_url(url) else ""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _endpoint(url: str) -> tuple[str, str, int] | None:
    parts = _split(url)
    if parts is None or parts.hostname is None:
        return None
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _WEB_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if valid else None
