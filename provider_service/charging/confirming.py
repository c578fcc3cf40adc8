"""Repeating a call to the broker until its outcome is known."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from client_stub.errors import (
    AmountError,
    IapError,
    InvalidArgumentError,
    NotFoundError,
    RequestIdReusedError,
    ReservationStateError,
)
from mesh_runtime.logs import get_logger

Response = TypeVar("Response")

NEVER: Final = float("inf")
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 5.0
# No room is left for another try when the reservation expires this soon.
_LAST_TRY_SECONDS: Final = 0.2
# What the broker has decided for good. After anything else the call may succeed yet, even where the fault is a bug or
# a key not known everywhere yet: giving up would leave work unpaid, or done again by a retry.
_DECIDED: Final = (ReservationStateError, NotFoundError, AmountError, RequestIdReusedError, InvalidArgumentError)
_logger = get_logger("provider_service.charging")


def is_decided(error: IapError) -> bool:
    """Whether the broker has decided for good that this call changes nothing."""
    return isinstance(error, _DECIDED)


async def until_confirmed(
    call: Callable[[], Awaitable[Response]], *, rpc: str, reservation_id: str, expiry: Callable[[], float]
) -> Response:
    """Repeats a call until the broker has decided, or until `expiry`, a reading of the event loop's clock.

    That is asked again each time, as reservations are prolonged. Raises IapError.
    """
    loop = asyncio.get_running_loop()
    for delay_seconds in _delays_seconds():
        try:
            return await call()
        except _DECIDED:
            raise
        except IapError as error:
            asked_seconds = 0.0 if error.retry_after is None else error.retry_after.total_seconds()
            left_seconds = expiry() - _LAST_TRY_SECONDS - loop.time()
            if left_seconds <= 0:
                raise
            wait_seconds = min(max(delay_seconds, min(asked_seconds, _LONGEST_DELAY_SECONDS)), left_seconds)
            _logger.warning("broker.unconfirmed", rpc=rpc, reservation_id=reservation_id, reason=error.reason)
            await asyncio.sleep(wait_seconds)
    raise AssertionError("the delays never end")


def _delays_seconds() -> Iterator[float]:
    """Grow up to a limit, for ever, each with a random part so that many callers do not return in step."""
    longest_seconds = _FIRST_DELAY_SECONDS
    while True:
        yield longest_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        longest_seconds = min(longest_seconds * 2, _LONGEST_DELAY_SECONDS)
