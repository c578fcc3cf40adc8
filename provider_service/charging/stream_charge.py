"""The meter that a service sees of its stream."""

# ruff: noqa: A002 - arguments carry the contract's words, `credits` among them

from datetime import timedelta

from mesh_runtime.call_errors import CallError
from provider_service.charging.running_charge import CreditsRefused
from provider_service.charging.stream_lifetime import Lifetime
from provider_service.charging.stream_refusals import Ending, passed_on
from provider_service.charging.stream_request import StreamRequest
from provider_service.charging.stream_slices import Slices
from provider_service.services.service import ServiceFailure


class MeterRefused(ServiceFailure):
    """The stream cannot go on for another reason than credits; `error` is what the broker, or its absence, says."""

    def __init__(self, error: CallError) -> None:
        super().__init__("no more credits can be set aside", retryable=True)
        self.error = error


class MeteredCharge:
    """Counts what a stream costs, and has it set aside first.

    `refusal` is what the stream ends with if the service lets it: the last refusal, until the meter goes on.
    """

    def __init__(self, request: StreamRequest, slices: Slices, lifetime: Lifetime) -> None:
        self.refusal: Ending | None = None
        self._request = request
        self._slices = slices
        self._lifetime = lifetime
        self._metered_credits = 0
        self._stopped = False

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self._request.request_id

    @property
    def credits(self) -> int:
        """Whole credits that are set aside, owed ones included."""
        return self._slices.credits

    @property
    def metered_credits(self) -> int:
        """Whole credits metered so far."""
        return self._metered_credits

    def capture(self, credits: int) -> None:
        """Raises RuntimeError."""
        raise RuntimeError(f"a stream costs what it meters: {credits} credits cannot be captured otherwise")

    async def meter(self, credits: int) -> None:
        """Counts so many credits once they are set aside."""
        _check_credits(credits)
        try:
            # Again when another task of the service has metered meanwhile.
            while self._slices.credits < self._metered_credits + credits:
                self._check_running()
                await self._slices.cover(self._metered_credits + credits)
        except CallError as error:
            raise self._refuse(error) from error
        self._check_running()
        self._metered_credits += credits
        if credits:
            self.refusal = None
            self._slices.look_ahead(self._metered_credits)

    async def extend(self, *, credits: int = 0, ttl: timedelta | None = None) -> None:
        """Asks the broker for more credits, more time, or both."""
        _check_credits(credits)
        self._check_running()
        try:
            await self._slices.add(credits)
            if ttl is not None:
                await self._lifetime.set(ttl)
        except CallError as error:
            raise self._refuse(error) from error

    def stop(self) -> None:
        """Lets nothing more be metered."""
        self._stopped = True

    def _refuse(self, error: CallError) -> CreditsRefused | MeterRefused:
        self.refusal = passed_on(error)
        return CreditsRefused(error) if error.reason == "INSUFFICIENT_CREDITS" else MeterRefused(error)

    def _check_running(self) -> None:
        if self._stopped:
            raise RuntimeError("the stream has ended")


def _check_credits(credits: int) -> None:
    if not isinstance(credits, int) or isinstance(credits, bool):
        raise TypeError(f"credits must be a whole number, not {type(credits).__name__}")
    if credits < 0:
        raise ValueError(f"credits must be 0 or more, not {credits}")
