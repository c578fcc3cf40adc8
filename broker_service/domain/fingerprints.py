"""Telling whether two requests with one request_id ask for the same thing."""

import hashlib
import json
from collections.abc import Mapping

Parameter = str | int | bool | None | Mapping[str, str]


def fingerprint(*parameters: Parameter) -> str:
    """Returns 32 hexadecimal digits that differ whenever a parameter differs.

    What is stored is compared with what later versions compute, so the encoding must never change: JSON of the
    list, keys sorted, no spaces, ASCII; BLAKE2b of 16 bytes.
    """
    encoded = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(encoded.encode(), digest_size=16).hexdigest()
