"""What a customer is told when the broker refuses or fails.

A refusal that the customer can act on is passed on as it came. What is between this provider and its broker is not the
customer's concern: it is logged for the operator and answered without a word of it.
"""

from typing import Final

from google.rpc import status_pb2

from client_stub.errors import (
    AlreadyExistsError,
    CredentialsError,
    DeadlineExceededError,
    IapError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    ReservationStateError,
    TemporaryError,
)
from mesh_runtime.call_errors import CallError, internal, invalid_argument
from mesh_runtime.field_rules import FieldViolation
from mesh_runtime.logs import get_logger
from provider_service.charging.refusals import DOMAIN, RetriedInTime, broker_unavailable

_BROKER_DOMAIN: Final = "iap.broker"
_PASSED_ON: Final = frozenset(
    {
        "INSUFFICIENT_CREDITS",
        "ACCOUNT_NOT_FOUND",
        "ACCOUNT_SUSPENDED",
        "PROVIDER_SUSPENDED",
        "PERMISSION_DENIED",
        "REQUEST_ID_REUSED",
        "RESERVATION_NOT_FOUND",
        "RESERVATION_CAPTURED",
        "RESERVATION_RELEASED",
        "RESERVATION_EXPIRED",
        "STORAGE_CONFLICT",
        "OVERLOADED",
        "UNAVAILABLE",
    }
)
# What says for good that nothing was done. A key that is refused now may have been good for an earlier try.
_REFUSALS: Final = (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
)
_ACCOUNT_TOKEN: Final = "account_token"  # noqa: S105 - a field's name
_logger = get_logger("provider_service.charging")


class PassedOnError(RetriedInTime):
    """A refusal of the broker, passed on with the very status it came with."""

    def __init__(self, error: IapError) -> None:
        super().__init__(
            code=error.code,
            reason=error.reason,
            message=error.message,
            domain=error.domain,
            metadata=error.metadata,
            details=error.details,
        )
        self._status = error.status

    def to_status(self) -> status_pb2.Status:
        """Return a copy of the broker's status, details of kinds unknown here included."""
        status = status_pb2.Status()
        status.CopyFrom(self._status)
        return status


def to_call_error(error: IapError, *, rpc: str) -> CallError:
    """Returns what the customer is told of a call to the broker that failed; logs what is the operator's concern."""
    if error.domain == _BROKER_DOMAIN and error.reason in _PASSED_ON:
        return PassedOnError(error)
    if isinstance(error, (TemporaryError, DeadlineExceededError)):
        _logger.warning("broker.unavailable", rpc=rpc, reason=error.reason)
        return broker_unavailable()
    if isinstance(error, CredentialsError):
        _logger.error("broker.key_refused", rpc=rpc, reason=error.reason)
        return broker_unavailable()
    if isinstance(error, InvalidArgumentError) and _ACCOUNT_TOKEN in error.violations:
        return invalid_argument(DOMAIN, [FieldViolation(_ACCOUNT_TOKEN, error.violations[_ACCOUNT_TOKEN])])
    _logger.error("broker.call_failed", rpc=rpc, reason=error.reason, code=error.code.name, cause=error.message)
    return internal(DOMAIN)


def is_refusal(error: CallError) -> bool:
    """Whether an error from `to_call_error` says for good that the broker has done nothing."""
    return isinstance(error.__cause__, _REFUSALS)


def log_unpaid_work(error: IapError, *, reservation_id: str) -> None:
    """Tells the operator of work that was done and cannot be charged any more."""
    # An expired or released reservation is what an outage or a second process can bring about; the rest is a bug.
    log = _logger.warning if isinstance(error, (ReservationStateError, TemporaryError)) else _logger.error
    log("charging.work_unpaid", reservation_id=reservation_id, reason=error.reason)
