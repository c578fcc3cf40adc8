"""What the tests of a service need: the payment of a request, without a broker."""

# ruff: noqa: A002 - arguments carry the contract's words, `credits` among them

from dataclasses import dataclass, field
from datetime import timedelta

from provider_service.services.charge import InsufficientCredits


@dataclass
class FakeCharge:
    """A `Charge` that keeps what the work says of its cost, and refuses what the real one would.

    `credits` are set aside; `available` more can be had by `extend`, None for any number. Afterwards `captured` is what
    `capture` was last called with, None if it was not, and `charged` what the customer pays if the work has succeeded.
    """

    credits: int = 1
    request_id: str = "11111111-2222-4333-8444-555555555555"
    available: int | None = None
    captured: int | None = None
    extended_by: list[timedelta] = field(default_factory=list)

    @property
    def charged(self) -> int:
        """Whole credits that the request costs if the work succeeds."""
        return self.credits if self.captured is None else self.captured

    def capture(self, credits: int) -> None:
        """Notes what the work cost; TypeError or ValueError for what cannot be captured."""
        _check_whole(credits)
        if not 0 <= credits <= self.credits:
            raise ValueError(f"credits to capture must be from 0 to {self.credits}, not {credits}")
        self.captured = credits

    async def extend(self, *, credits: int = 0, ttl: timedelta | None = None) -> None:
        """Sets further credits aside and notes the time asked for. Raises InsufficientCredits."""
        if self.available is not None:
            if credits > self.available:
                raise InsufficientCredits(f"{credits - self.available} more credits are needed")
            self.available -= credits
        self.credits += credits
        if ttl is not None:
            self.extended_by.append(ttl)


@dataclass
class FakeStreamCharge:
    """A `StreamCharge` that counts what is metered, up to `available` credits, None for any number."""

    request_id: str = "11111111-2222-4333-8444-555555555555"
    available: int | None = None
    metered_credits: int = 0
    extended_by: list[timedelta] = field(default_factory=list)

    @property
    def credits(self) -> int:
        """Whole credits that are set aside: here, those that are owed."""
        return self.metered_credits

    def capture(self, credits: int) -> None:
        """Is not for streams."""
        raise RuntimeError("a stream is charged by its meter; capture is not for streams")

    async def extend(self, *, credits: int = 0, ttl: timedelta | None = None) -> None:
        """Notes the time asked for. Raises InsufficientCredits."""
        self._require(credits)
        if ttl is not None:
            self.extended_by.append(ttl)

    async def meter(self, credits: int) -> None:
        """Counts what the next chunk costs. Raises InsufficientCredits, and then counts nothing."""
        self._require(credits)
        self.metered_credits += credits

    def _require(self, credits: int) -> None:
        _check_whole(credits)
        if credits < 0:
            raise ValueError(f"credits must be 0 or more, not {credits}")
        if self.available is not None and self.metered_credits + credits > self.available:
            raise InsufficientCredits(f"{self.metered_credits + credits - self.available} more credits are needed")


def _check_whole(credits: int) -> None:
    if not isinstance(credits, int) or isinstance(credits, bool):
        raise TypeError(f"credits must be a whole number, not {type(credits).__name__}")
