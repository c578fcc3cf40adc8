"""What a service sees of the payment for the request that it works on."""

from datetime import timedelta
from typing import Protocol


class Charge(Protocol):
    """The credits set aside for one request.

    A service that does nothing with it is paid all of them when its work succeeds, and nothing when it fails.
    """

    @property
    def request_id(self) -> str:
        """The request's id, the same in every retry: to be passed on to what the service calls."""

    @property
    def credits(self) -> int:
        """Whole credits that are set aside: the quoted price and what `extend` has added."""

    def capture(self, credits: int) -> None:  # noqa: A002 - the contract's word
        """Says how many credits the work cost, from 0 to `credits`; the last word counts, the rest goes back.

        They are taken when the work is done, and none if it fails. Raises ValueError for any other amount.
        """

    async def extend(self, *, credits: int = 0, ttl: timedelta | None = None) -> None:  # noqa: A002 - as above
        """Sets further credits aside, or gives the work `ttl` from now before its reservation expires, or both.

        Raises InsufficientCredits when the account cannot pay more; left unhandled, that is what the caller is told,
        with the broker's offer, and nothing is charged. Raises ServiceFailure when the broker cannot be used.
        """


class InsufficientCredits(Exception):
    """The account cannot pay more. Left unhandled, its caller is told so, with what can be bought."""
