"""Telling a webhook's deliveries from what others make up.

    from client_stub.webhooks import SignatureError, verify

    async def receive(request):
        body = await request.read()
        try:
            event = verify(SECRET, request.headers, body)
        except SignatureError:
            return Response(status=400)
        if not seen(event["event_id"]):  # Each event comes at least once.
            handle(event)
        return Response(status=204)

It needs nothing but this module and the standard library.
"""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final

SIGNATURE_HEADER: Final = "iap-signature"
EVENT_ID_HEADER: Final = "iap-event-id"
DEFAULT_TOLERANCE_SECONDS: Final = 300.0

_SIGNATURE: Final = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-f]{64})")


class SignatureError(ValueError):
    """The delivery is not, or not any more, to be believed. The message is one line for a log."""


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    tolerance_seconds: float = DEFAULT_TOLERANCE_SECONDS,
    *,
    now_seconds: float | None = None,
) -> dict[str, Any]:
    """Return the event of a delivery that the webhook's secret has signed just now.

    `body` is what came, byte for byte; a body that was parsed and written anew has another signature. What was signed
    longer ago than the tolerance, or as far in the future, may be somebody's recording; `now_seconds`, since 1970, is
    the present by default. Raises SignatureError.
    """
    value = next((text for name, text in headers.items() if name.lower() == SIGNATURE_HEADER), None)
    if value is None:
        raise SignatureError(f"there is no {SIGNATURE_HEADER} header")
    parsed = _SIGNATURE.fullmatch(value.strip())
    if parsed is None:
        raise SignatureError(f"the {SIGNATURE_HEADER} header is not of the form t=<seconds>,v1=<hex>")
    expected = hmac.new(secret.encode(), parsed[1].encode() + b"." + body, hashlib.sha256).hexdigest()
    # In the same time whatever is wrong, so that nobody can guess a signature digit by digit.
    if not hmac.compare_digest(expected, parsed[2]):
        raise SignatureError("the signature is not that of this body and secret")
    now = time.time() if now_seconds is None else now_seconds
    if abs(now - int(parsed[1])) > tolerance_seconds:
        raise SignatureError("it was signed too long ago, or the clocks disagree")
    try:
        event = json.loads(body)
    except ValueError as error:
        raise SignatureError("the body is no JSON") from error
    if not isinstance(event, dict):
        raise SignatureError("the body is no JSON object")
    return event
