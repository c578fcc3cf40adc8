"""What ends a stream, and what answers a stream that cannot begin (protos: error_reason.proto).

The errors that end a stream tell gRPC not to repeat the call by itself, as its request_id is used up.
"""

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Final, TypeAlias

import grpc
from iap.broker.v1.broker_pb2 import Reservation, ReservationState

from mesh_runtime.call_errors import CallError, bad_request, invalid_argument, retry_info
from mesh_runtime.field_rules import FieldViolation
from provider_service.charging.refusals import DOMAIN, ServiceFailed, input_violations
from provider_service.services.service import InvalidInput, ServiceFailure

Ending: TypeAlias = Callable[[int], CallError]
"""Makes the error that a stream ends with; given what is charged, in whole credits."""

_RETRY_AFTER: Final = timedelta(seconds=1)


def streams_only(service: str) -> CallError:
    """Answers a ServeRequest to a service that answers in chunks only."""
    return invalid_argument(DOMAIN, [FieldViolation("service", f"{service} answers in chunks only: use ServeStream")])


def stream_running(request_id: str, service: str) -> CallError:
    """Answers a request_id whose stream is still running or being settled, here or in another process."""
    return CallError(
        code=grpc.StatusCode.ALREADY_EXISTS,
        reason="STREAM_RUNNING",
        message="a stream of this request_id is running; its chunks go to the call that began it",
        domain=DOMAIN,
        metadata={"request_id": request_id, "service": service},
    )


def ended_before(reservation: Reservation) -> CallError:
    """Answers a request_id whose stream has ended: chunks are not kept, so there is nothing to give again."""
    charged = reservation.captured_credits
    metadata = {"reservation_id": reservation.reservation_id, "charged_credits": str(charged)}
    match reservation.state:
        case ReservationState.RESERVATION_STATE_CAPTURED:
            state = "CAPTURED"
        case ReservationState.RESERVATION_STATE_RELEASED:
            state = "RELEASED"
        case _:
            state = "EXPIRED"
            metadata["expire_time"] = reservation.expire_time.ToDatetime(UTC).isoformat().replace("+00:00", "Z")
    return CallError(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=f"RESERVATION_{state}",
        message=f"this stream has ended; {_charged(charged)}; nothing is charged again; use a new request_id",
        domain=DOMAIN,
        metadata=metadata,
    )


def passed_on(error: CallError) -> Ending:
    """Ends a stream with the broker's refusal, or as `interrupted` when the broker is not to be had."""
    if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
        return broker_unavailable
    return bug if error.code is grpc.StatusCode.INTERNAL else lambda _charged_credits: error


def broker_unavailable(charged_credits: int) -> CallError:
    """Ends a stream whose credits are used up, or about to expire, while the broker cannot be used."""
    return _unavailable("the credit broker cannot be used at the moment", charged_credits)


def stopping(charged_credits: int) -> CallError:
    """Ends a stream because the server stops."""
    return _unavailable("this server is stopping", charged_credits)


def left(charged_credits: int) -> CallError:
    """Ends a stream whose caller is gone; nobody reads it."""
    return _ended(grpc.StatusCode.CANCELLED, "CANCELLED", "the caller is gone", charged_credits)


def not_read(seconds: float) -> Ending:
    """Ends a stream that its caller has not read for so long."""

    def make(charged_credits: int) -> CallError:
        return _ended(
            grpc.StatusCode.FAILED_PRECONDITION,
            "STREAM_NOT_READ",
            f"the stream was not read for {seconds:g} s",
            charged_credits,
        )

    return make


def out_of_time(service: str) -> Ending:
    """Ends a stream at the caller's deadline."""

    def make(charged_credits: int) -> CallError:
        message = f"{service} was not done in time"
        return _ended(grpc.StatusCode.DEADLINE_EXCEEDED, "SERVICE_FAILED", message, charged_credits, service=service)

    return make


def service_failed(service: str, failure: ServiceFailure) -> Ending:
    """Ends a stream whose work failed."""
    code = grpc.StatusCode.UNAVAILABLE if failure.retryable else grpc.StatusCode.FAILED_PRECONDITION

    def make(charged_credits: int) -> CallError:
        return _ended(code, "SERVICE_FAILED", failure.message, charged_credits, service=service)

    return make


def invalid_input(error: InvalidInput) -> Ending:
    """Ends a stream whose input turned out to break the service's rules."""
    violations = input_violations(error)

    def make(charged_credits: int) -> CallError:
        refused = invalid_argument(DOMAIN, violations)
        return ServiceFailed(
            code=refused.code,
            reason=refused.reason,
            message=f"{refused.message}; {_charged(charged_credits)}",
            domain=DOMAIN,
            metadata={**refused.metadata, "charged_credits": str(charged_credits)},
            details=[bad_request(violations)],
        )

    return make


def bug(charged_credits: int) -> CallError:
    """Ends a stream for a bug of the service or of ours; says nothing of it."""
    return _ended(grpc.StatusCode.INTERNAL, "INTERNAL", "an internal error occurred", charged_credits)


def _unavailable(message: str, charged_credits: int) -> CallError:
    return ServiceFailed(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="UNAVAILABLE",
        message=f"{message}; {_charged(charged_credits)}; use a new request_id to go on",
        domain=DOMAIN,
        metadata={"charged_credits": str(charged_credits)},
        details=[retry_info(_RETRY_AFTER)],
    )


def _ended(code: grpc.StatusCode, reason: str, message: str, charged_credits: int, **metadata: str) -> CallError:
    return ServiceFailed(
        code=code,
        reason=reason,
        message=f"{message}; {_charged(charged_credits)}",
        domain=DOMAIN,
        metadata={**metadata, "charged_credits": str(charged_credits)},
    )


def _charged(charged_credits: int) -> str:
    if not charged_credits:
        return "nothing was charged"
    return f"what was delivered was charged, in credits: {charged_credits}"
