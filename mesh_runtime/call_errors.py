"""The errors a call answers with, in the error model of https://google.aip.dev/193.

- CallError: what a handler, or code below it, raises
- invalid_argument: fields that break a rule, with BadRequest
- unavailable: draining, or something we need is down, with RetryInfo
- overloaded: too much at once, with RetryInfo
- unimplemented: an RPC this server does not have
- internal: a bug of ours; says nothing about it
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mesh_runtime.field_rules import FieldViolation

_NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})
_STATUS_METADATA_KEY: Final = "grpc-status-details-bin"
# Callers refuse trailing metadata above 8 KiB in all by default (`grpc.max_metadata_size`) and would see
# RESOURCE_EXHAUSTED instead of this error. Bytes may grow by a third on the wire; the message is sent twice.
_MAX_STATUS_BYTES: Final = 4_000
_MAX_LISTED_VIOLATIONS_BYTES: Final = 1_200
_MAX_TEXT_CHARACTERS: Final = 200


class CallError(Exception):
    """Raise it to answer the running call with an error.

    `reason` is an UPPER_SNAKE_CASE name from the contract's catalogue and, within `domain`, what callers
    branch on; `metadata` holds every value that varies, so that nobody parses `message`.
    """

    def __init__(
        self,
        *,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        domain: str,
        metadata: Mapping[str, str] = _NO_METADATA,
        details: Sequence[Message] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.domain = domain
        self.metadata = metadata
        self.details = tuple(details)

    def to_status(self) -> status_pb2.Status:
        """Return the error as `google.rpc.Status`: ErrorInfo first, then the other details."""
        error_info = error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata)
        return status_pb2.Status(
            code=self.code.value[0],
            message=self.message,
            details=[_pack(detail) for detail in (error_info, *self.details)],
        )

    def to_trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata that carries the status.

        Last details are left out until the rest fits in what callers accept; ErrorInfo always stays.
        """
        status = self.to_status()
        while len(status.details) > 1 and status.ByteSize() > _MAX_STATUS_BYTES:
            del status.details[-1]
        return ((_STATUS_METADATA_KEY, status.SerializeToString()),)


def invalid_argument(domain: str, violations: Sequence[FieldViolation]) -> CallError:
    """Refuse a request for its fields; `violations` holds at least one."""
    first = violations[0]
    message = f"{first.field}: {first.description}" if first.field else first.description
    others = len(violations) - 1
    return CallError(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_ARGUMENT",
        message=_shorten(message) + (f" (and {others} more)" if others else ""),
        domain=domain,
        metadata={"field": _shorten(first.field)} if first.field else {},
        details=[bad_request(violations)],
    )


def bad_request(violations: Sequence[FieldViolation]) -> error_details_pb2.BadRequest:
    """Return the standard detail that lists fields which break a rule: the first ones, as many as fit."""
    detail = error_details_pb2.BadRequest()
    for violation in violations:
        if detail.ByteSize() > _MAX_LISTED_VIOLATIONS_BYTES:
            break
        detail.field_violations.add(field=_shorten(violation.field), description=_shorten(violation.description))
    return detail


def retry_info(retry_after: timedelta) -> error_details_pb2.RetryInfo:
    """Return the standard detail that says how long to wait before trying again."""
    detail = error_details_pb2.RetryInfo()
    detail.retry_delay.FromTimedelta(retry_after)
    return detail


def unavailable(domain: str, message: str, retry_after: timedelta) -> CallError:
    """Refuse a call that can be tried again as it is: draining, or something this server needs is down."""
    return CallError(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="UNAVAILABLE",
        message=message,
        domain=domain,
        details=[retry_info(retry_after)],
    )


def overloaded(domain: str, message: str, retry_after: timedelta) -> CallError:
    """Refuse a call because too much runs or waits already; nothing of it has been done."""
    return CallError(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason="OVERLOADED",
        message=message,
        domain=domain,
        details=[retry_info(retry_after)],
    )


def unimplemented(domain: str, method: str) -> CallError:
    """Refuse a method that this server does not have; `method` is its path, `/package.Service/Method`."""
    return CallError(
        code=grpc.StatusCode.UNIMPLEMENTED,
        reason="UNIMPLEMENTED",
        message=_shorten(f"The method {method} is not implemented here."),
        domain=domain,
        metadata={"rpc": _shorten(method.rpartition("/")[2])},
    )


def internal(domain: str) -> CallError:
    """Answer for a bug of ours with a fixed text: what went wrong is for our log, not for the caller."""
    return CallError(
        code=grpc.StatusCode.INTERNAL,
        reason="INTERNAL",
        message="An internal error occurred.",
        domain=domain,
    )


def _pack(detail: Message) -> PackedAny:
    packed = PackedAny()
    packed.Pack(detail)
    return packed


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_TEXT_CHARACTERS else text[: _MAX_TEXT_CHARACTERS - 1] + "…"
