"""Paging by https://google.aip.dev/158: opaque tokens that belong to the request they came from."""

import base64
import binascii
import json
from typing import Any

from broker_service.domain.errors import InvalidField
from broker_service.domain.fingerprints import Parameter, fingerprint

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
# Beyond any sequence, number of credits or microsecond (of the year 2255) that is in a token of ours.
_MAX_CURSOR = 2**53

Cursor = list[Any]


def page_size(requested: int) -> int:
    """Returns how many a page holds: 100 unless asked, at most 1000."""
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def page_token(cursor: Cursor, *scope: Parameter) -> str:
    """Returns a token that goes on behind `cursor`, for a request whose other fields are `scope`."""
    content = json.dumps([fingerprint(*scope), cursor], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def cursor_of(token: str, types: tuple[type, ...], *scope: Parameter) -> Cursor | None:
    """Returns the cursor within a token, whose parts are of these types; None for the first page.

    Raises InvalidField if the token is not one of ours, or of a request with other fields.
    """
    if not token:
        return None
    try:
        request_fingerprint, cursor = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidField(field="page_token", description="must be a token of the page before") from error
    if not isinstance(cursor, list) or tuple(map(type, cursor)) != types or not all(map(_is_storable, cursor)):
        raise InvalidField(field="page_token", description="must be a token of the page before")
    if request_fingerprint != fingerprint(*scope):
        raise InvalidField(field="page_token", description="must go with the other fields of the page before")
    return cursor


def _is_storable(part: int | str) -> bool:
    """Tells a part that a database can be asked about from one that somebody made up."""
    if isinstance(part, int):
        return 0 <= part <= _MAX_CURSOR
    return "\0" not in part and part.isprintable()
