"""A journal in the memory of one process: what it knows is gone with it."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from provider_service.journal.entries import Entry, Move, RequestKey, Step, new_move

REMEMBERED_REQUESTS_MAXIMUM: Final = 10_000
REMEMBERED_BYTES_MAXIMUM: Final = 64 * 1024 * 1024
# About what an entry takes beside its output.
_ENTRY_BYTES: Final = 1_024


class MemoryJournal:
    """See Journal. Keeps all open entries, and as many of the settled ones as fit: the oldest make room."""

    owner = 0
    is_shared = False

    def __init__(
        self,
        *,
        requests_maximum: int = REMEMBERED_REQUESTS_MAXIMUM,
        bytes_maximum: int = REMEMBERED_BYTES_MAXIMUM,
    ) -> None:
        self._requests_maximum = requests_maximum
        self._bytes_maximum = bytes_maximum
        self._open: dict[RequestKey, Entry] = {}
        self._settled: OrderedDict[RequestKey, Entry] = OrderedDict()
        self._settled_bytes = 0

    async def open(self, entry: Entry) -> Entry | None:
        """See Journal."""
        found = self._find(entry.key)
        if found is None:
            self._open[entry.key] = entry
        return found

    async def find(self, key: RequestKey) -> Entry | None:
        """See Journal."""
        return self._find(key)

    async def working(self, key: RequestKey, *, reservation_id: str) -> bool:
        """See Journal."""
        return self._go(new_move(key, Step.WORKING, reservation_id=reservation_id))

    async def metered(self, key: RequestKey, *, credits: int) -> bool:  # noqa: A002 - the contract's word
        """See Journal."""
        return self._go(new_move(key, Step.WORKING, credits=credits))

    async def done(self, key: RequestKey, *, credits: int, output: bytes | None) -> bool:  # noqa: A002 - as above
        """See Journal."""
        return self._go(new_move(key, Step.DONE, credits=credits, output=output))

    async def failed(self, key: RequestKey, *, reservation_id: str) -> bool:
        """See Journal."""
        return self._go(new_move(key, Step.FAILED, reservation_id=reservation_id))

    def captured(self, key: RequestKey, *, reservation_id: str, credits: int) -> None:  # noqa: A002 - as above
        """See Journal."""
        self._go(new_move(key, Step.CAPTURED, reservation_id=reservation_id, credits=credits))

    def released(self, key: RequestKey, *, reservation_id: str | None = None) -> None:
        """See Journal."""
        self._go(new_move(key, Step.RELEASED, reservation_id=reservation_id))

    def unpaid(self, key: RequestKey) -> None:
        """See Journal."""
        self._go(new_move(key, Step.UNPAID))

    def remove(self, key: RequestKey) -> None:
        """See Journal."""
        self._open.pop(key, None)

    async def adopt(self) -> Sequence[Entry]:
        """See Journal. Nobody else has any."""
        return ()

    async def prune(self, *, before: int) -> int:
        """See Journal."""
        count = 0
        while self._settled and next(iter(self._settled.values())).open_time < before:
            self._forget_oldest()
            count += 1
        return count

    async def close(self) -> None:
        """See Journal."""

    def _find(self, key: RequestKey) -> Entry | None:
        return self._open.get(key) or self._settled.get(key)

    def _go(self, move: Move) -> bool:
        entry = self._find(move.key)
        if entry is None or not move.is_allowed(entry, owner=self.owner):
            return False
        entry = move.apply(entry)
        self._settled_bytes -= _size_bytes(self._settled.pop(move.key, None))
        if entry.is_open:
            self._open[move.key] = entry
            return True
        self._open.pop(move.key, None)
        self._settled[move.key] = entry
        self._settled_bytes += _size_bytes(entry)
        while len(self._settled) > self._requests_maximum or self._settled_bytes > self._bytes_maximum:
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        _, oldest = self._settled.popitem(last=False)
        self._settled_bytes -= _size_bytes(oldest)


def _size_bytes(entry: Entry | None) -> int:
    return 0 if entry is None else _ENTRY_BYTES + len(entry.output or b"")
