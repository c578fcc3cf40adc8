"""The payment of a request, for services tested without a broker."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass
class ServiceCharge:
    """Keeps what a service says of its cost, and grants all that it asks for."""

    request_id: str
    credits: int = 1
    captured: int | None = None

    def capture(self, credits: int) -> None:  # noqa: A002 - the contract's word
        self.captured = credits

    async def extend(self, *, credits: int = 0, ttl: timedelta | None = None) -> None:  # noqa: A002 - as above
        self.credits += credits
