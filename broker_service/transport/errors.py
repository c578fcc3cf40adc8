"""The one translation from what the broker's inside raises to what a caller is told (protos: error_reason.proto)."""

from collections.abc import Sequence
from datetime import timedelta

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from iap.broker.v1 import broker_pb2

from broker_service.domain.errors import (
    AlreadyExists,
    InsufficientCredits,
    InvalidField,
    NotFound,
    Refusal,
    TokenOutdated,
)
from broker_service.engine.committer import DeadlinePassedError, HaltedError, OverloadedError
from broker_service.engine.payment_desk import GatewayUnavailableError
from broker_service.storage.errors import StorageConflictError, StorageError
from mesh_runtime.call_errors import CallError, invalid_argument, overloaded, retry_info, unavailable
from mesh_runtime.field_rules import FieldViolation

DOMAIN = "iap.broker"
_RETRY_AFTER = timedelta(milliseconds=200)
_RETRY_AFTER_OUTAGE = timedelta(seconds=1)

EXPECTED_ERRORS = (
    Refusal,
    StorageError,
    OverloadedError,
    DeadlinePassedError,
    HaltedError,
    GatewayUnavailableError,
)


def to_call_error(error: Exception, offer: broker_pb2.Offer | None = None) -> CallError:
    """Returns what a caller is told of one of EXPECTED_ERRORS; `offer` goes with InsufficientCredits."""
    if isinstance(error, InvalidField):
        return invalid_argument(DOMAIN, [FieldViolation(error.field, error.description)])
    if isinstance(error, InsufficientCredits):
        return _insufficient_credits(error, offer or broker_pb2.Offer())
    if isinstance(error, Refusal) and not isinstance(error, TokenOutdated):
        return _refused(error)
    return _not_done(error)


def credentials_missing() -> CallError:
    """Answers a call that needs a key and has none."""
    return _unauthenticated("CREDENTIALS_MISSING", "this call needs a key: metadata `authorization: Bearer <key>`")


def credentials_invalid() -> CallError:
    """Answers a call whose key is unknown, revoked or malformed."""
    return _unauthenticated("CREDENTIALS_INVALID", "the key is not valid")


def permission_denied(required: str) -> CallError:
    """Answers a call whose key is good, but not for this; `required` says what would be."""
    return CallError(
        code=grpc.StatusCode.PERMISSION_DENIED,
        reason="PERMISSION_DENIED",
        message=f"this call needs the {required}",
        domain=DOMAIN,
        metadata={"required": required},
    )


def stopping() -> CallError:
    """Ends a call that has no end of its own: the broker is stopping, another one can take over."""
    return unavailable(DOMAIN, "the broker is stopping", _RETRY_AFTER)


def renewing() -> CallError:
    """Ends a stream that has grown old: its caller connects again, perhaps to another broker."""
    return unavailable(DOMAIN, "the stream has grown old", _RETRY_AFTER)


def cancelled() -> CallError:
    """Answers an operation of a pipeline that its caller has cancelled."""
    return CallError(
        code=grpc.StatusCode.CANCELLED,
        reason="CANCELLED",
        message="the operation was cancelled before anything of it was done",
        domain=DOMAIN,
    )


def _unauthenticated(reason: str, message: str) -> CallError:
    return CallError(code=grpc.StatusCode.UNAUTHENTICATED, reason=reason, message=message, domain=DOMAIN)


def _refused(error: Refusal) -> CallError:
    details: Sequence[Message] = ()
    code = grpc.StatusCode.FAILED_PRECONDITION
    if isinstance(error, NotFound):
        code = grpc.StatusCode.NOT_FOUND
        name = str(error.facts.get(error.key, ""))
        details = [error_details_pb2.ResourceInfo(resource_type=error.resource, resource_name=name)]
    elif isinstance(error, AlreadyExists):
        code = grpc.StatusCode.ALREADY_EXISTS
    return CallError(
        code=code,
        reason=error.reason,
        message=str(error),
        domain=DOMAIN,
        metadata=_metadata(error),
        details=details,
    )


def _insufficient_credits(error: InsufficientCredits, offer: broker_pb2.Offer) -> CallError:
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type="CREDITS", subject=error.service, description=str(error))
    return CallError(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=error.reason,
        message=str(error),
        domain=DOMAIN,
        metadata=_metadata(error) | {"purchase_url": offer.purchase_url},
        details=[failure, offer],
    )


def _not_done(error: Exception) -> CallError:
    """Answers a call that can be tried again as it is."""
    if isinstance(error, OverloadedError):
        return overloaded(DOMAIN, "the broker has too much to do", _RETRY_AFTER)
    if isinstance(error, DeadlinePassedError):
        return overloaded(DOMAIN, "the call's time ran out while it waited for a commit", _RETRY_AFTER)
    # A token that is changed again and again while it is looked up is in the same case.
    if isinstance(error, StorageConflictError | TokenOutdated):
        return CallError(
            code=grpc.StatusCode.ABORTED,
            reason="STORAGE_CONFLICT",
            message="concurrent writers got in each other's way",
            domain=DOMAIN,
            details=[retry_info(_RETRY_AFTER)],
        )
    if isinstance(error, GatewayUnavailableError):
        return CallError(
            code=grpc.StatusCode.UNAVAILABLE,
            reason="GATEWAY_UNAVAILABLE",
            message=str(error),
            domain=DOMAIN,
            metadata={"gateway": error.gateway},
            details=[retry_info(_RETRY_AFTER_OUTAGE)],
        )
    if isinstance(error, HaltedError):
        return unavailable(DOMAIN, "the broker has stopped writing to its ledger", _RETRY_AFTER_OUTAGE)
    return unavailable(DOMAIN, "the broker's storage does not answer", _RETRY_AFTER_OUTAGE)


def _metadata(error: Refusal) -> dict[str, str]:
    return {name: str(value) for name, value in error.facts.items()}
