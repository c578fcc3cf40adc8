"""A service's output, as it is sent and as the journal keeps it."""

from collections.abc import Mapping
from typing import Final

from google.protobuf.struct_pb2 import Struct

from client_stub.structs import to_struct

# Callers take no more than 4 MiB in one message; the rest of the response is small.
_LIMIT_BYTES: Final = 4 * 1024 * 1024 - 16 * 1024


def to_output(output: object, *, called: str = "a service's output") -> Struct:
    """Returns an output, or one chunk of it, as it is sent; raises for what cannot be, before anything is charged.

    `called` is for the message.
    """
    if not isinstance(output, Mapping):
        raise TypeError(f"{called} must be a mapping, not {type(output).__name__}")
    struct = to_struct(output)
    if struct.ByteSize() > _LIMIT_BYTES:
        raise ValueError(f"{called} must be at most {_LIMIT_BYTES} bytes, not {struct.ByteSize()}")
    return struct


def read_output(stored: bytes | None) -> Struct | None:
    """Returns an output from the journal."""
    return None if stored is None else Struct.FromString(stored)
