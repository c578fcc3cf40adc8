"""A journal on a disk."""

import secrets
from collections.abc import Callable, Sequence

from provider_service.journal.committer import Committer
from provider_service.journal.entries import Entry, RequestKey, Step, new_move
from provider_service.journal.store import Store, open_store

# Positive in the databases' signed whole numbers.
_OWNER_BITS = 62


class DurableJournal:
    """See Journal. Everything goes through one committer, on one connection."""

    def __init__(self, store: Store, *, owner: int, tell_writable: Callable[[bool], None]) -> None:
        self.owner = owner
        self.is_shared = store.is_shared
        self._store = store
        self._committer = Committer(store, tell_writable=tell_writable)

    async def open(self, entry: Entry) -> Entry | None:
        """See Journal."""
        found: Entry | None = await self._committer.write(entry.key, entry._replace(owner=self.owner))
        return found

    async def find(self, key: RequestKey) -> Entry | None:
        """See Journal."""
        return await self._committer.run(lambda: self._store.find(key))

    async def working(self, key: RequestKey, *, reservation_id: str) -> bool:
        """See Journal."""
        return bool(await self._committer.write(key, new_move(key, Step.WORKING, reservation_id=reservation_id)))

    async def metered(self, key: RequestKey, *, credits: int) -> bool:  # noqa: A002 - the contract's word
        """See Journal."""
        return bool(await self._committer.write(key, new_move(key, Step.WORKING, credits=credits)))

    async def done(self, key: RequestKey, *, credits: int, output: bytes | None) -> bool:  # noqa: A002 - as above
        """See Journal."""
        return bool(await self._committer.write(key, new_move(key, Step.DONE, credits=credits, output=output)))

    async def failed(self, key: RequestKey, *, reservation_id: str) -> bool:
        """See Journal."""
        return bool(await self._committer.write(key, new_move(key, Step.FAILED, reservation_id=reservation_id)))

    def captured(self, key: RequestKey, *, reservation_id: str, credits: int) -> None:  # noqa: A002 - as above
        """See Journal."""
        move = new_move(key, Step.CAPTURED, reservation_id=reservation_id, credits=credits)
        self._committer.write_behind(key, move)

    def released(self, key: RequestKey, *, reservation_id: str | None = None) -> None:
        """See Journal."""
        self._committer.write_behind(key, new_move(key, Step.RELEASED, reservation_id=reservation_id))

    def unpaid(self, key: RequestKey) -> None:
        """See Journal."""
        self._committer.write_behind(key, new_move(key, Step.UNPAID))

    def remove(self, key: RequestKey) -> None:
        """See Journal."""
        self._committer.write_behind(key, key)

    async def adopt(self) -> Sequence[Entry]:
        """See Journal."""
        return await self._committer.run(self._store.adopt)

    async def prune(self, *, before: int) -> int:
        """See Journal."""
        return await self._committer.run(lambda: self._store.prune(before))

    async def close(self) -> None:
        """See Journal."""
        await self._committer.close()


async def open_journal(database_url: str, *, tell_writable: Callable[[bool], None]) -> DurableJournal:
    """Opens a journal, and makes it if it is not there; `tell_writable` is told when it no longer, or again, can be.

    Raises JournalUnusableError.
    """
    owner = secrets.randbits(_OWNER_BITS)
    store = await open_store(database_url, owner=owner)
    return DurableJournal(store, owner=owner, tell_writable=tell_writable)
