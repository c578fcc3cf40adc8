"""From the status of a call to the exception that stands for it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from iap.broker.v1.broker_pb2 import Offer

from client_stub import errors
from client_stub.errors import IapError

_CLASS_BY_REASON: Final[Mapping[str, type[IapError]]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": errors.InvalidArgumentError,
        "CREDENTIALS_MISSING": errors.CredentialsError,
        "CREDENTIALS_INVALID": errors.CredentialsError,
        "PERMISSION_DENIED": errors.PermissionDeniedError,
        "ACCOUNT_NOT_FOUND": errors.AccountNotFoundError,
        "RESERVATION_NOT_FOUND": errors.ReservationNotFoundError,
        "SERVICE_NOT_FOUND": errors.NotFoundError,
        "PACK_NOT_FOUND": errors.NotFoundError,
        "PURCHASE_NOT_FOUND": errors.NotFoundError,
        "PROVIDER_NOT_FOUND": errors.NotFoundError,
        "CUSTOMER_NOT_FOUND": errors.NotFoundError,
        "KEY_NOT_FOUND": errors.NotFoundError,
        "INSUFFICIENT_CREDITS": errors.InsufficientCreditsError,
        "RESERVATION_CAPTURED": errors.ReservationCapturedError,
        "RESERVATION_RELEASED": errors.ReservationReleasedError,
        "RESERVATION_EXPIRED": errors.ReservationExpiredError,
        "CAPTURE_EXCEEDS_RESERVATION": errors.AmountError,
        "REFUND_EXCEEDS_CAPTURE": errors.AmountError,
        "BALANCE_OVERFLOW": errors.AmountError,
        "ACCOUNT_SUSPENDED": errors.SuspendedError,
        "PROVIDER_SUSPENDED": errors.SuspendedError,
        "REQUEST_ID_REUSED": errors.RequestIdReusedError,
        "SERVICE_EXISTS": errors.AlreadyExistsError,
        "PACK_ARCHIVED": errors.PurchaseError,
        "PACK_OF_OTHER_SERVICE": errors.PurchaseError,
        "SERVICE_RETIRED": errors.PurchaseError,
        "PURCHASE_PAID": errors.PurchaseError,
        "PURCHASE_FAILED": errors.PurchaseError,
        "CURRENCY_NOT_SUPPORTED": errors.PurchaseError,
        "CHECKOUT_EXPIRED": errors.PurchaseError,
        "PURCHASE_NOT_PAID": errors.PurchaseError,
        "NOTHING_TO_REFUND": errors.PurchaseError,
        "PURCHASE_OF_OTHER_GATEWAY": errors.PurchaseError,
        "PAYMENT_METHOD_MISSING": errors.PurchaseError,
        "GATEWAY_UNAVAILABLE": errors.UnavailableError,
        "PAYOUT_NOT_FOUND": errors.NotFoundError,
        "PAYOUT_BELOW_MINIMUM": errors.PayoutError,
        "PAYOUT_RESOLVED": errors.PayoutError,
        "WEBHOOK_NOT_FOUND": errors.NotFoundError,
        "STREAM_RUNNING": errors.StreamRunningError,
        "STREAM_NOT_READ": errors.PreconditionError,
        "STORAGE_CONFLICT": errors.ConflictError,
        "OVERLOADED": errors.OverloadedError,
        "UNAVAILABLE": errors.UnavailableError,
        "SERVICE_FAILED": errors.ServiceFailedError,
        "UNIMPLEMENTED": errors.UnimplementedError,
        "INTERNAL": errors.InternalError,
    }
)
# For what comes without a reason: from gRPC itself, from a proxy, or from a newer server.
_CLASS_BY_CODE: Final[Mapping[grpc.StatusCode, type[IapError]]] = MappingProxyType(
    {
        grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
        grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgumentError,
        grpc.StatusCode.UNAUTHENTICATED: errors.CredentialsError,
        grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
        grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
        grpc.StatusCode.FAILED_PRECONDITION: errors.PreconditionError,
        grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
        grpc.StatusCode.ABORTED: errors.ConflictError,
        grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
        grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
        # The server dropped the call; a cancellation of our own never comes this way.
        grpc.StatusCode.CANCELLED: errors.UnavailableError,
        grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
        grpc.StatusCode.UNIMPLEMENTED: errors.UnimplementedError,
    }
)
_CODE_BY_NUMBER: Final = MappingProxyType({code.value[0]: code for code in grpc.StatusCode})
_DETAIL_CLASS_BY_NAME: Final[Mapping[str, type[Message]]] = MappingProxyType(
    {
        detail_class.DESCRIPTOR.full_name: detail_class
        for detail_class in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.PreconditionFailure,
            error_details_pb2.ResourceInfo,
            error_details_pb2.RetryInfo,
            error_details_pb2.Help,
            error_details_pb2.LocalizedMessage,
            Offer,
        )
    }
)


def to_iap_error(error: grpc.aio.AioRpcError) -> IapError:
    """Return the exception that stands for a call's error status."""
    status = _received_status(error)
    if status is None:
        return _error_of_code(error.code(), error.details() or "")
    return status_to_iap_error(status)


def status_to_iap_error(status: status_pb2.Status) -> IapError:
    """Return the exception that stands for a status, such as one that a pipeline carries."""
    code = _CODE_BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    details = [message for packed in status.details if (message := _unpack(packed)) is not None]
    error_info = next((detail for detail in details if isinstance(detail, error_details_pb2.ErrorInfo)), None)
    if error_info is None:
        error_info = error_details_pb2.ErrorInfo(reason=code.name)
    return _class_of(error_info.reason, code)(
        status.message,
        reason=error_info.reason,
        code=code,
        domain=error_info.domain,
        metadata=dict(error_info.metadata),
        details=[detail for detail in details if not isinstance(detail, error_details_pb2.ErrorInfo)],
        status=status,
    )


def _received_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """Return the status among the trailing metadata; None when there is none that fits the call's own."""
    try:
        status: status_pb2.Status | None = rpc_status.from_call(error)
    except (ValueError, DecodeError):
        return None
    return status


def _error_of_code(code: grpc.StatusCode, message: str) -> IapError:
    return _class_of(code.name, code)(message, reason=code.name, code=code)


def _class_of(reason: str, code: grpc.StatusCode) -> type[IapError]:
    return _CLASS_BY_REASON.get(reason) or _CLASS_BY_CODE.get(code, errors.InternalError)


def _unpack(packed: PackedAny) -> Message | None:
    """Return the detail; None when it is of a kind we do not know or cannot be read."""
    detail_class = _DETAIL_CLASS_BY_NAME.get(packed.TypeName())
    if detail_class is None:
        return None
    detail = detail_class()
    try:
        packed.Unpack(detail)
    except DecodeError:
        return None
    return detail
