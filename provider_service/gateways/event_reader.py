"""Reading a stream of events within the time that each of them may take."""

import asyncio
from typing import Final

import aiohttp

from provider_service.gateways.server_sent_events import EventDecoder

STREAM_MAXIMUM_BYTES: Final = 64 * 1024 * 1024


class EventReader:
    """The events of a response.

    The first has to come by `first_end`, a reading of the event loop's clock; each of the others within
    `idle_seconds`, which may be changed on the way. Comments count for nothing: a proxy sends them for a server that
    is long dead. Nor does the time between two reads, which is the caller's.
    """

    def __init__(self, stream: aiohttp.StreamReader, *, first_end: float, idle_seconds: float) -> None:
        self.idle_seconds = idle_seconds
        self._stream = stream
        self._end: float | None = first_end
        self._decoder = EventDecoder()
        self._left_bytes = STREAM_MAXIMUM_BYTES

    async def read(self) -> list[str]:
        """Returns the data of the events that have come, at least one; or none at the end of the stream.

        Raises TimeoutError, ValueError when there is more than there may be, and what aiohttp raises.
        """
        end = asyncio.get_running_loop().time() + self.idle_seconds if self._end is None else self._end
        self._end = None
        async with asyncio.timeout_at(end):
            while chunk := await self._stream.readany():
                self._left_bytes -= len(chunk)
                if self._left_bytes < 0:
                    raise ValueError("the stream is too long")
                if events := self._decoder.feed(chunk):
                    return events
        return self._decoder.end()
