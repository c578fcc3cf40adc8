"""Setting credits aside for a charge, and finding what was set aside when nothing says so."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

import grpc.aio
from iap.broker.v1.broker_pb2 import Reservation, ReserveResponse

from client_stub.errors import (
    DeadlineExceededError,
    IapError,
    InternalError,
    TemporaryError,
    UnavailableError,
)

# Longer than a broker takes to restart.
_ASKED_AGAIN_FOR_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
# After these a Reserve may have been done. OVERLOADED and STORAGE_CONFLICT are not among them: an attempt of the
# channel's before may have been done unanswered, but asking a busy broker again after each refusal would keep it busy.
# That rare reservation is left to expire.
_UNCLEAR: Final = (UnavailableError, DeadlineExceededError, InternalError)
# These say nothing, or only of the last of several calls that nothing was done.
_NO_ANSWER: Final = (*_UNCLEAR, TemporaryError)
_logger = logging.getLogger(__name__)


class Reserving:
    """Sets the credits aside for one charge. `own_id`: `charge` made the request_id, so that nobody else has it."""

    def __init__(self, reserve: Callable[[], Awaitable[ReserveResponse]], *, request_id: str, own_id: bool) -> None:
        self._reserve = reserve
        self._request_id = request_id
        self._own_id = own_id

    async def call(self) -> ReserveResponse:
        """Reserve."""
        return await self._reserve()

    async def find_unwanted(self, reserving: asyncio.Task[ReserveResponse]) -> Reservation | None:
        """Return what is to be given back of a call that the charge does not go on from; None if there is nothing."""
        try:
            response = await reserving
        except _UNCLEAR as error:
            # An id of the caller's is not used again: what that reserves, a retry with it would then find released.
            return await self._ask_again(error) if self._own_id else None
        except IapError:
            return None
        return response.reservation if self._own_id or not response.replayed else None

    async def _ask_again(self, error: IapError) -> Reservation | None:
        """Repeat the call until it is answered: the answer tells what the first one reserved.

        To read the reservation instead would not do: the first call may still be on its way.
        """
        try:
            return await self._repeat(error)
        except (*_NO_ANSWER, grpc.aio.UsageError) as last:
            # A usage error is a channel that was closed meanwhile.
            _logger.warning("charge.left_to_expire request_id=%s cause=%r", self._request_id, last)
        except IapError:
            # A refusal: nothing was reserved.
            pass
        return None

    async def _repeat(self, error: IapError) -> Reservation:
        """Return what is reserved; raise what the last call ended with."""
        loop = asyncio.get_running_loop()
        end, longest_pause_seconds = loop.time() + _ASKED_AGAIN_FOR_SECONDS, _FIRST_PAUSE_SECONDS
        while True:
            # A random part, so that many charges do not return in step to a broker that is back.
            asked_seconds = 0.0 if error.retry_after is None else error.retry_after.total_seconds()
            pause_seconds = longest_pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - hides nothing
            await asyncio.sleep(max(pause_seconds, min(asked_seconds, _LONGEST_PAUSE_SECONDS)))
            longest_pause_seconds = min(longest_pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            try:
                return (await self._reserve()).reservation
            except _NO_ANSWER as again:
                if loop.time() >= end:
                    raise
                error = again
