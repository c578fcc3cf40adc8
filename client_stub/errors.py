"""What a call can end with, one exception per family of reasons.

    IapError                        any refusal or failure of a call
    ├── InvalidArgumentError        fields break their rules                    .violations
    ├── CredentialsError            no key, or one that is not good
    ├── PermissionDeniedError       a good key, but not for this
    ├── NotFoundError               what the call names does not exist
    │   ├── AccountNotFoundError
    │   └── ReservationNotFoundError
    ├── PreconditionError           the call is right, but not as things stand
    │   ├── InsufficientCreditsError                                            .offer .missing …
    │   ├── ReservationStateError   the reservation is no longer active         .state
    │   │   ├── ReservationCapturedError
    │   │   ├── ReservationReleasedError
    │   │   └── ReservationExpiredError
    │   ├── AmountError             more than there is to take, or than a balance can hold
    │   ├── SuspendedError          the operator has stopped the account or the provider
    │   ├── PurchaseError           a pack cannot be bought, or a purchase not be paid or refunded
    │   └── PayoutError             too little to pay out, or a payout resolved already
    ├── AlreadyExistsError
    │   ├── RequestIdReusedError    the request_id was used with other parameters
    │   └── StreamRunningError      a stream of this request_id is running
    ├── TemporaryError              the same call may succeed later             .retry_after
    │   ├── UnavailableError        the server cannot be reached, or is stopping
    │   ├── OverloadedError
    │   └── ConflictError
    ├── DeadlineExceededError       no answer in time; whether it was done is unknown
    ├── ServiceFailedError          the provider's work failed; nothing was charged
    ├── UnimplementedError
    └── InternalError               a bug on the other side
    ConfigurationError              a ValueError: this side is set up wrongly

Cancelling a call raises asyncio.CancelledError and nothing of this.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import ClassVar, Final

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from iap.broker.v1.broker_pb2 import Offer, ReservationState

_NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


class ConfigurationError(ValueError):
    """A target, key or certificate cannot be used; one line that says which and why, free of secrets."""


class IapError(Exception):
    """A call was refused or failed.

    `reason` is what to branch on, a name from the contract's catalogue or, from servers that give none, the name
    of the gRPC code; `domain` says which server decided. `metadata` has every changing value of `message`,
    `details` the further details, unpacked.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        code: grpc.StatusCode,
        domain: str = "",
        metadata: Mapping[str, str] = _NO_METADATA,
        details: Sequence[Message] = (),
        status: status_pb2.Status | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.domain = domain
        self.metadata = metadata
        self.details = tuple(details)
        self._received_status = status

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else self.reason

    @property
    def status(self) -> status_pb2.Status:
        """The error as `google.rpc.Status`, as it was received, so that a server can pass it on."""
        return self._composed_status() if self._received_status is None else self._received_status

    @property
    def retry_after(self) -> timedelta | None:
        """How long the server asks to wait before trying again; None when it does not say."""
        for detail in self.details:
            if isinstance(detail, error_details_pb2.RetryInfo):
                retry_delay: timedelta = detail.retry_delay.ToTimedelta()
                return retry_delay
        return None

    def _composed_status(self) -> status_pb2.Status:
        error_info = error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata)
        packed = [PackedAny() for _ in range(1 + len(self.details))]
        for packing, detail in zip(packed, (error_info, *self.details), strict=True):
            packing.Pack(detail)
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)


class InvalidArgumentError(IapError):
    """Fields of the request break their rules."""

    @property
    def violations(self) -> Mapping[str, str]:
        """What is wrong with each field, by its name; the empty name stands for the whole request."""
        return {
            violation.field: violation.description
            for detail in self.details
            if isinstance(detail, error_details_pb2.BadRequest)
            for violation in detail.field_violations
        }


class CredentialsError(IapError):
    """The call carries no key, or one that is unknown, revoked or malformed."""


class PermissionDeniedError(IapError):
    """The key is good, but not for this."""


class NotFoundError(IapError):
    """What the call names does not exist, or not for this caller; `metadata` has its id."""


class AccountNotFoundError(NotFoundError):
    """No such account, or the account token is unknown."""


class ReservationNotFoundError(NotFoundError):
    """No such reservation, or it is another provider's."""


class PreconditionError(IapError):
    """The call is right, but cannot be done as things stand; repeating it unchanged does not help."""


class InsufficientCreditsError(PreconditionError):
    """The account cannot pay; `offer` says what to buy."""

    @property
    def offer(self) -> Offer | None:
        """The packs that would help; None when the server left them out."""
        return next((detail for detail in self.details if isinstance(detail, Offer)), None)

    @property
    def available(self) -> int:
        """Whole credits the account has free."""
        return _whole_number(self.metadata.get("available"))

    @property
    def required(self) -> int:
        """Whole credits the call needed."""
        return _whole_number(self.metadata.get("required"))

    @property
    def missing(self) -> int:
        """Whole credits the account lacks."""
        offer = self.offer
        return _whole_number(self.metadata.get("missing")) or (offer.missing_credits if offer else 0)


class ReservationStateError(PreconditionError):
    """The reservation is no longer active; the subclass says what became of it."""

    state: ClassVar[ReservationState] = ReservationState.RESERVATION_STATE_UNSPECIFIED


class ReservationCapturedError(ReservationStateError):
    """The reservation was captured: its work is paid."""

    state = ReservationState.RESERVATION_STATE_CAPTURED


class ReservationReleasedError(ReservationStateError):
    """The reservation was released: its work failed or was given up."""

    state = ReservationState.RESERVATION_STATE_RELEASED


class ReservationExpiredError(ReservationStateError):
    """The reservation's time ran out."""

    state = ReservationState.RESERVATION_STATE_EXPIRED


class AmountError(PreconditionError):
    """More was to be captured, refunded or granted than there is, or than a balance can hold."""


class SuspendedError(PreconditionError):
    """The operator has suspended the account or the provider."""


class PurchaseError(PreconditionError):
    """The pack cannot be bought, or the purchase not be paid or refunded."""


class PayoutError(PreconditionError):
    """There is too little to pay out, or the payout has been resolved already."""


class AlreadyExistsError(IapError):
    """What the call would make exists."""


class RequestIdReusedError(AlreadyExistsError):
    """The request_id was used before with other parameters."""


class StreamRunningError(AlreadyExistsError):
    """A stream of this request_id is running or being settled; its chunks go to the call that began it."""


class TemporaryError(IapError):
    """The same call, with the same request_id, may succeed after `retry_after`."""


class UnavailableError(TemporaryError):
    """The server, or what it needs, cannot be reached; whether the call was done is unknown."""


class OverloadedError(TemporaryError):
    """Too much at once; nothing was done."""


class ConflictError(TemporaryError):
    """Concurrent writers got in each other's way; nothing was done."""


class DeadlineExceededError(IapError):
    """No answer came in time; whether the call was done is unknown, and the same request_id finds out."""


class ServiceFailedError(IapError):
    """The provider's work failed; the credits were released. Of a stream, what was delivered before is paid."""

    @property
    def service(self) -> str:
        """The service that failed."""
        return self.metadata.get("service", "")


class UnimplementedError(IapError):
    """The server does not offer this call."""


class InternalError(IapError):
    """A bug of the server, or an answer that makes no sense."""


def _whole_number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
