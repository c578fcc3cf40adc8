"""Passing chunks from the task that makes them to the task that writes them, one at a time."""

import asyncio
from dataclasses import dataclass

from google.protobuf.struct_pb2 import Struct
from iap.broker.v1.broker_pb2 import Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPiece:
    """One message of a stream. The last one of a stream that ends well has no chunk, and the balance if it is known."""

    chunk: Struct | None
    charged_credits: int
    reservation_id: str
    balance: Balance | None = None


class HandoverBroken(Exception):
    """Nobody takes the pieces any more."""


class Handover:
    """A place for one piece. gRPC's call may be touched by its own task only; hence two sides.

    The maker waits in `give` until its piece is written, so that it is driven as fast as the caller reads and no
    faster, and nothing gathers in between.
    """

    def __init__(self) -> None:
        self._piece: StreamPiece | None = None
        self._offered = asyncio.Event()
        self._written: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a piece is given and not written yet."""
        return self._written is not None

    async def give(self, piece: StreamPiece) -> None:
        """Returns once the piece is written. Raises HandoverBroken when it is not going to be."""
        if self._closed:
            raise HandoverBroken
        self._piece, self._written = piece, asyncio.get_running_loop().create_future()
        self._offered.set()
        try:
            await self._written
        finally:
            self._piece = self._written = None

    async def take(self) -> StreamPiece | None:
        """Returns the next piece to be written; None when there are no more."""
        while self._piece is None:
            if self._closed:
                return None
            self._offered.clear()
            await self._offered.wait()
        piece, self._piece = self._piece, None
        return piece

    def confirm(self) -> None:
        """Tells the maker that the piece taken is written."""
        if self._written is not None and not self._written.done():
            self._written.set_result(None)

    def close(self) -> None:
        """Ends the pieces: no more are given."""
        self._closed = True
        self._offered.set()

    def break_off(self) -> None:
        """Ends the pieces from the other side: what was given and is not written never will be."""
        self.close()
        if self._written is not None and not self._written.done():
            self._written.set_exception(HandoverBroken())
