"""What a stream tells a durable journal, so that what was delivered is paid even if the process dies.

The journal is not here: this is where one is plugged in.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from provider_service.charging.payments import Reserved
from provider_service.charging.stream_request import StreamRequest


class StreamRecord(Protocol):
    """The journal's entry of one stream. Each call returns once what it tells is durable.

    After a crash the entry and the reservation tell what is owed: what was delivered less what is captured. Captures
    are named by what was captured before them (`Captures`), so that one repeated by whoever settles the entry, and
    one still on its way from the process that died, cannot both take effect.
    """

    async def opened(self, reserved: Reserved) -> None:
        """Credits are set aside; the service is about to be asked for its first chunk."""

    async def delivered(self, total_credits: int) -> None:
        """So much is owed in all. Awaited after a chunk was written and before the next one is asked for."""

    async def closed(self, captured_credits: int) -> None:
        """Everything is settled with the broker, or cannot be settled any more; so much is known to be captured.

        Also told when `opened` has failed and the credits are back, but not after a bug: then it stays as it is, to be
        settled after the process.
        """


class NoRecord:
    """Keeps nothing: after a crash, what was delivered and not captured yet stays unpaid."""

    async def opened(self, _reserved: Reserved) -> None:
        """Does nothing."""

    async def delivered(self, _total_credits: int) -> None:
        """Does nothing."""

    async def closed(self, _captured_credits: int) -> None:
        """Does nothing."""


OpenRecord: TypeAlias = Callable[[StreamRequest], StreamRecord]


def no_record(_request: StreamRequest) -> StreamRecord:
    """Makes the record of a stream that keeps nothing."""
    return NoRecord()
