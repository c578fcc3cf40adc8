"""The meter of a stream, without a broker."""

from dataclasses import dataclass, field
from datetime import timedelta

from provider_service.services.charge import InsufficientCredits


@dataclass
class FakeStreamCharge:
    """A `StreamCharge` for an account with `available` credits, which sets aside what is asked for and no more.

    `meters` are the amounts metered, one for each call.
    """

    available: int = 1_000_000
    credits: int = 0
    request_id: str = "11111111-2222-4333-8444-555555555555"
    meters: list[int] = field(default_factory=list)

    @property
    def metered_credits(self) -> int:
        return sum(self.meters)

    def capture(self, credits: int) -> None:  # noqa: A002 - the contract's word
        raise RuntimeError(f"{credits} credits cannot be captured")

    async def meter(self, credits: int) -> None:  # noqa: A002 - as above
        assert credits >= 0
        await self.extend(credits=max(0, self.metered_credits + credits - self.credits))
        self.meters.append(credits)

    async def extend(self, *, credits: int = 0, ttl: timedelta | None = None) -> None:  # noqa: A002 - as above
        assert ttl is None
        if self.credits + credits > self.available:
            raise InsufficientCredits("more credits are needed")
        self.credits += credits
