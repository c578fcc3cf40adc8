"""What a stream tells a durable journal, so that what was delivered is paid even if the process dies.

The journal is not here: this is where one is plugged in.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from provider_service.charging.payments import Reserved
from provider_service.charging.stream_request import StreamRequest


class StreamRecord(Protocol):
    """The journal's entry of one stream. Each call returns once what it tells is durable, or raises CallError.

    After a crash the entry and the reservation tell what is owed: what was delivered less what is captured. Whoever
    captures that uses `stream_request.capture_id`: then of its capture, and of one still on its way from the process
    that died, only one takes effect.
    """

    async def opening(self) -> None:
        """Credits are about to be set aside. Raises CallError when the request_id is used up."""

    async def refused(self) -> None:
        """Nothing was set aside for it; its request_id may be used again."""

    async def opened(self, reserved: Reserved) -> None:
        """Credits are set aside; the service is about to be asked for its first chunk."""

    async def delivered(self, total_credits: int) -> None:
        """So much is owed in all. Awaited after a chunk was written and before the next one is asked for."""

    async def closed(self, *, owed_credits: int, captured_credits: int) -> None:
        """Nothing is reserved any more. Less than was owed is captured when the reservation ended too early."""


class NoRecord:
    """Keeps nothing: after a crash, what was delivered and not captured yet stays unpaid."""

    async def opening(self) -> None:
        """Does nothing."""

    async def refused(self) -> None:
        """Does nothing."""

    async def opened(self, _reserved: Reserved) -> None:
        """Does nothing."""

    async def delivered(self, _total_credits: int) -> None:
        """Does nothing."""

    async def closed(self, *, owed_credits: int, captured_credits: int) -> None:
        """Does nothing."""


OpenRecord: TypeAlias = Callable[[StreamRequest], StreamRecord]


def no_record(_request: StreamRequest) -> StreamRecord:
    """Makes the record of a stream that keeps nothing."""
    return NoRecord()
