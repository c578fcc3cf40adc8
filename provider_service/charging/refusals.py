"""The errors that this provider itself answers with (protos: error_reason.proto)."""

from datetime import datetime, timedelta
from typing import Final

import grpc
from google.rpc import error_details_pb2

from mesh_runtime import deadlines
from mesh_runtime.call_errors import CallError, invalid_argument, retry_info
from mesh_runtime.field_rules import FieldViolation
from provider_service.services.service import InvalidInput, ServiceFailure

DOMAIN: Final = "iap.provider"
_RETRY_AFTER: Final = timedelta(seconds=1)
# See https://github.com/grpc/proposal/blob/master/A6-client-retries.md.
_DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", b"-1")


class ServiceFailed(CallError):
    """The work failed. gRPC is told not to repeat the call by itself, as its request_id is used up."""

    def to_trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata that carries the status and the request not to retry."""
        return (*super().to_trailing_metadata(), _DO_NOT_RETRY)


class RetriedInTime(CallError):
    """Something is down, and gRPC repeats the call by itself: as long as the caller's deadline leaves time for it.

    Near the deadline it is told not to. Else that would strike first, and the caller would learn that no answer came
    in time instead of what is the matter.
    """

    def to_trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata that carries the status and, near the deadline, the request not to retry."""
        metadata = super().to_trailing_metadata()
        remaining_seconds = deadlines.remaining_seconds()
        if self.code is not grpc.StatusCode.UNAVAILABLE or remaining_seconds is None:
            return metadata
        return metadata if remaining_seconds > _RETRY_AFTER.total_seconds() else (*metadata, _DO_NOT_RETRY)


def service_not_found(service: str) -> CallError:
    """Answers a request for a service that this server does not offer."""
    return CallError(
        code=grpc.StatusCode.NOT_FOUND,
        reason="SERVICE_NOT_FOUND",
        message=f"no such service here: {service}",
        domain=DOMAIN,
        metadata={"service": service},
        details=[error_details_pb2.ResourceInfo(resource_type="service", resource_name=service)],
    )


def invalid_input(error: InvalidInput) -> CallError:
    """Answers an input that breaks the service's rules."""
    return invalid_argument(DOMAIN, input_violations(error))


def input_violations(error: InvalidInput) -> list[FieldViolation]:
    """Returns what is wrong as fields of the request; a violation without a field is one of the input as a whole."""
    return [
        FieldViolation(f"input.{violation.field}" if violation.field else "input", violation.description)
        for violation in error.violations
    ]


def request_id_reused(request_id: str, *, rpc: str = "ServeRequest") -> CallError:
    """Answers a request_id that came with another service or input before."""
    return CallError(
        code=grpc.StatusCode.ALREADY_EXISTS,
        reason="REQUEST_ID_REUSED",
        message=f"request_id {request_id} was used before with another service or input",
        domain=DOMAIN,
        metadata={"request_id": request_id, "rpc": rpc},
    )


def service_failed(service: str, failure: ServiceFailure) -> CallError:
    """Answers when the work could not be done."""
    code = grpc.StatusCode.UNAVAILABLE if failure.retryable else grpc.StatusCode.FAILED_PRECONDITION
    return ServiceFailed(
        code=code,
        reason="SERVICE_FAILED",
        message=f"{failure.message}; nothing was charged",
        domain=DOMAIN,
        metadata={"service": service},
    )


def out_of_time(service: str) -> CallError:
    """Answers when the work took longer than the caller's deadline allows."""
    return ServiceFailed(
        code=grpc.StatusCode.DEADLINE_EXCEEDED,
        reason="SERVICE_FAILED",
        message=f"{service} was not done in time; nothing was charged",
        domain=DOMAIN,
        metadata={"service": service},
    )


def account_of_other_service(*, service: str, account_service: str) -> CallError:
    """Answers when the credits offered are for another service than the one asked for."""
    return CallError(
        code=grpc.StatusCode.PERMISSION_DENIED,
        reason="PERMISSION_DENIED",
        message=f"the account is for {account_service}, not for {service}",
        domain=DOMAIN,
        metadata={"service": service, "account_service": account_service},
    )


def reservation_released(reservation_id: str) -> CallError:
    """Answers a request_id whose work failed or was given up before."""
    return CallError(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="RESERVATION_RELEASED",
        message="this request failed or was given up before and was not charged; use a new request_id to try again",
        domain=DOMAIN,
        metadata={"reservation_id": reservation_id},
    )


def reservation_expired(reservation_id: str, expire_time: datetime) -> CallError:
    """Answers a request_id whose reservation ran out of time before it was captured; `expire_time` is in UTC."""
    return CallError(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="RESERVATION_EXPIRED",
        message="this request was not finished in time and was not charged; use a new request_id to try again",
        domain=DOMAIN,
        metadata={
            "reservation_id": reservation_id,
            "expire_time": expire_time.isoformat().replace("+00:00", "Z"),
        },
    )


def not_settled() -> CallError:
    """Answers a caller whose time is up before the outcome is known; the same request_id finds it out."""
    return _unavailable("no final outcome yet; ask again with the same request_id")


def broker_unavailable() -> CallError:
    """Answers while this provider gets no use out of its broker."""
    return _unavailable("the credit broker cannot be used at the moment")


def journal_unavailable() -> CallError:
    """Answers while this provider cannot write down what it does; nothing was done."""
    return _unavailable("this provider cannot keep its journal at the moment")


def _unavailable(message: str) -> CallError:
    return RetriedInTime(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="UNAVAILABLE",
        message=message,
        domain=DOMAIN,
        details=[retry_info(_RETRY_AFTER)],
    )
