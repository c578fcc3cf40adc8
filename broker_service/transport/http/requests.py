"""Reading what strangers send over HTTP, within limits."""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

BODY_SECONDS: Final = 10.0
_MAX_FORM_BYTES: Final = 4 * 1024
_MAX_FORM_FIELDS: Final = 10
_FORM_TYPE: Final = "application/x-www-form-urlencoded"


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Returns the whole body. Raises HTTPException: 413 if it is longer, 408 if it takes longer than BODY_SECONDS."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request, max_bytes)
    except TimeoutError:
        raise HTTPException(408, "the request did not come in time", {"connection": "close"}) from None
    except ClientDisconnect:
        # Nobody is there to be told; this ends the request without a line about a bug.
        raise HTTPException(400, "the request was broken off") from None


async def read_form(request: Request) -> dict[str, str]:
    """Returns the fields of a form, each given once. Raises HTTPException: 400, 408, 413, 415."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HTTPException(415, f"expected {_FORM_TYPE}")
    body = await read_body(request, max_bytes=_MAX_FORM_BYTES)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FORM_FIELDS
        )
    except ValueError:
        raise HTTPException(400, "the form cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise HTTPException(400, "the form has a field twice")
    return fields


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the request is larger than {max_bytes} bytes", {"connection": "close"})
