"""What serving a request asks of a journal; the package's docstring says in which order."""

from collections.abc import Sequence
from typing import Protocol

from provider_service.journal.entries import Entry, RequestKey


class Journal(Protocol):
    """Keeps the entries of requests, each of them under one key.

    Open entries belong to the process that opened or adopted them; no other may change them.
    """

    @property
    def owner(self) -> int:
        """The number by which this process is known in the journal."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes may use it at the same time."""

    async def open(self, entry: Entry) -> Entry | None:
        """Begins a request; returns the entry that is there already, and None if there was none."""

    async def find(self, key: RequestKey) -> Entry | None:
        """Returns the entry as it now stands, what is written behind left out."""

    async def working(self, key: RequestKey, *, reservation_id: str) -> bool:
        """Its work is about to begin. Wipes the account's token."""

    async def metered(self, key: RequestKey, *, credits: int) -> bool:  # noqa: A002 - the contract's word
        """A stream's work has come to cost so many credits in all."""

    async def done(self, key: RequestKey, *, credits: int, output: bytes | None) -> bool:  # noqa: A002 - as above
        """Its work is done, and so many credits are to be captured for it."""

    async def failed(self, key: RequestKey, *, reservation_id: str) -> bool:
        """Its credits are to be released, whatever its service does after a crash."""

    def captured(self, key: RequestKey, *, reservation_id: str, credits: int) -> None:  # noqa: A002 - as above
        """It is paid. Written behind."""

    def released(self, key: RequestKey, *, reservation_id: str | None = None) -> None:
        """Its credits are back. Written behind."""

    def unpaid(self, key: RequestKey) -> None:
        """Its credits cannot be captured any more. Written behind."""

    def remove(self, key: RequestKey) -> None:
        """Nothing was reserved for it: as if it had not been. Written behind."""

    async def adopt(self) -> Sequence[Entry]:
        """Takes open entries over from processes that are gone; returns them without their outputs.

        Not more than a few at once: call again while there are any.
        """

    async def prune(self, *, before: int) -> int:
        """Deletes settled entries opened before an instant (microseconds since 1970); returns how many.

        Not more than a few at once, as above.
        """

    async def close(self) -> None:
        """Writes what is left to be written, if it can be, and closes."""
