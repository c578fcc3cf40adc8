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


class StreamCharge(Charge, Protocol):
    """The credits of a stream, metered as it goes.

    What is metered is owed once the next chunk has been taken from the service and written to the caller, or once the
    service has ended its stream in good order. What was metered for a chunk that the caller did not get is not.

    `credits` are those set aside so far, owed ones included. `extend` sets more aside than the slice ahead. `capture`
    is not for streams and raises RuntimeError: the meter alone says what they cost.
    """

    @property
    def metered_credits(self) -> int:
        """Whole credits metered so far."""

    async def meter(self, credits: int) -> None:  # noqa: A002 - the contract's word
        """Counts what the next chunk costs; returns when that many more credits are set aside. 0 is allowed.

        Call it before the chunk is yielded, from the task that yields. It seldom waits: the next slice is set aside
        while the service works. Raises InsufficientCredits when the account cannot pay; the chunk is then to be kept
        back, and what was metered with this call does not count. Left unhandled, or handled by returning, the stream
        ends and its caller is told so with the broker's offer; a service that goes on instead may meter less. Raises
        ServiceFailure when the broker cannot be used, and ValueError for less than 0.
        """


class InsufficientCredits(Exception):
    """The account cannot pay more. Left unhandled, its caller is told so, with what can be bought."""
