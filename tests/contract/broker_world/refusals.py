"""Errors as a caller sees them."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

Detail = TypeVar("Detail", bound=Message)

RETRY_REASONS = {"STORAGE_CONFLICT", "OVERLOADED", "UNAVAILABLE"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error, parsed: one ErrorInfo, and the other details as they came."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    message: str
    others: tuple[PackedAny, ...]

    def detail(self, detail_type: type[Detail]) -> Detail:
        """Returns the one detail of a type."""
        (packed,) = (packed for packed in self.others if _holds(packed, detail_type))
        return _unpack(packed, detail_type)

    @property
    def fields(self) -> list[str]:
        """The fields that a BadRequest names."""
        return [violation.field for violation in self.detail(error_details_pb2.BadRequest).field_violations]

    @property
    def resource(self) -> tuple[str, str]:
        """The kind and the name that a ResourceInfo gives."""
        info = self.detail(error_details_pb2.ResourceInfo)
        return info.resource_type, info.resource_name


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """Awaits a call that must fail, holds its error to the contract's form, and returns it parsed."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return parse_error(raised.value)


def parse_error(error: grpc.aio.AioRpcError) -> Refusal:
    statuses = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    assert len(statuses) == 1, f"one google.rpc.Status travels with {error.code()}: {error.details()}"
    status: Any = status_pb2.Status.FromString(statuses[0])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    infos = [packed for packed in status.details if _holds(packed, error_details_pb2.ErrorInfo)]
    assert len(infos) == 1, "every error carries one ErrorInfo"
    info = _unpack(infos[0], error_details_pb2.ErrorInfo)
    assert info.domain == "iap.broker"
    others = tuple(packed for packed in status.details if not _holds(packed, error_details_pb2.ErrorInfo))
    refusal = Refusal(error.code(), info.reason, dict(info.metadata), status.message, others)
    if info.reason in RETRY_REASONS:
        delay = refusal.detail(error_details_pb2.RetryInfo).retry_delay
        assert delay.ToMicroseconds() > 0
    return refusal


def _holds(packed: PackedAny, detail_type: type[Message]) -> bool:
    return packed.TypeName() == detail_type.DESCRIPTOR.full_name


def _unpack(packed: PackedAny, detail_type: type[Detail]) -> Detail:
    detail = detail_type()
    assert packed.Unpack(detail)
    return detail
