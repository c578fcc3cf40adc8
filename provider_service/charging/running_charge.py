"""The payment for a request while its service works on it."""

# ruff: noqa: A002 - arguments carry the contract's words, `credits` among them

from collections.abc import Callable
from datetime import timedelta

from mesh_runtime.call_errors import CallError
from provider_service.charging.payments import Payments, Reserved
from provider_service.services.charge import InsufficientCredits
from provider_service.services.service import ServiceFailure


class CreditsRefused(InsufficientCredits):
    """The broker has refused further credits; `error` is what the caller is told if the service lets it be."""

    def __init__(self, error: CallError) -> None:
        super().__init__(error.message)
        self.error = error


class RunningCharge:
    """A reservation, what is to be captured of it, and more of it where that is asked for.

    `reserved` is the reservation as it now stands. `extended` is told whenever that changes.
    """

    def __init__(
        self, request_id: str, reserved: Reserved, *, payments: Payments, extended: Callable[[Reserved], None]
    ) -> None:
        self.reserved = reserved
        self._request_id = request_id
        self._capture_credits: int | None = None
        self._payments = payments
        self._extended = extended

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self._request_id

    @property
    def credits(self) -> int:
        """Whole credits that are set aside."""
        return self.reserved.reservation.reserved_credits

    @property
    def capture_credits(self) -> int:
        """Whole credits to be captured: all that are set aside, unless the service has said otherwise."""
        return self.credits if self._capture_credits is None else self._capture_credits

    def capture(self, credits: int) -> None:
        """Sets what is captured once the work is done; raises ValueError for what cannot be."""
        if not isinstance(credits, int) or isinstance(credits, bool):
            raise TypeError(f"credits must be a whole number, not {type(credits).__name__}")
        if not 0 <= credits <= self.credits:
            raise ValueError(f"credits to capture must be from 0 to {self.credits}, not {credits}")
        self._capture_credits = credits

    async def extend(self, *, credits: int = 0, ttl: timedelta | None = None) -> None:
        """Asks the broker for more credits, more time, or both."""
        try:
            self.reserved = await self._payments.extend(self.reserved, credits=credits, ttl=ttl)
        except CallError as error:
            if error.reason == "INSUFFICIENT_CREDITS":
                raise CreditsRefused(error) from error
            raise ServiceFailure("the reservation could not be extended", retryable=True) from error
        self._extended(self.reserved)
