"""Telling whether two requests with one request_id ask for the same thing."""

import hashlib
from collections.abc import Mapping

import msgspec

_JSON = msgspec.json.Encoder(order="sorted")

Parameter = str | int | bool | None | Mapping[str, str]


def fingerprint(*parameters: Parameter) -> str:
    """Returns 32 hexadecimal digits that differ whenever a parameter differs.

    What is stored is compared with what later versions compute, so the encoding must never change: JSON of the
    list, keys sorted, no spaces, UTF-8; BLAKE2b of 16 bytes.
    """
    return hashlib.blake2b(_JSON.encode(parameters), digest_size=16).hexdigest()
