"""The database behind a journal: a SQLite file, or a PostgreSQL server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from provider_service.journal.entries import Entry, Move, RequestKey
from provider_service.journal.errors import JournalUnusableError

_FORMS = "sqlite:///path/to/file.db, postgresql+asyncpg://user:password@host:port/name or none"


@dataclass(slots=True)
class Batch:
    """What is written in one transaction; no key occurs in it twice."""

    openings: list[Entry] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    removals: list[RequestKey] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was not written: the entries that were there instead of new ones, and the steps not allowed any more."""

    found: Mapping[RequestKey, Entry]
    refused: frozenset[RequestKey]


class Store(Protocol):
    """Writes and reads entries for one process, its owner. One call at a time; all raise JournalUnavailableError."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes may use the database at the same time."""

    async def apply(self, batch: Batch) -> Verdict:
        """Returns once the batch is durable. Trying again after an error does no harm, whatever became of the first."""

    async def find(self, key: RequestKey) -> Entry | None:
        """Returns an entry."""

    async def adopt(self) -> Sequence[Entry]:
        """See Journal.adopt."""

    async def prune(self, before: int) -> int:
        """See Journal.prune."""

    async def probe(self) -> None:
        """Writes something of no importance."""

    async def close(self) -> None:
        """Closes the connection; nothing may be running."""


def was_opened_by(entry: Entry, found: Entry) -> bool:
    """Whether what is there is the very entry that was to be opened, by a try whose answer was lost."""
    return (found.owner, found.open_time, found.step) == (entry.owner, entry.open_time, entry.step)


def was_moved_by(move: Move, found: Entry | None, *, owner: int) -> bool:
    """Whether the entry stands where the step was to lead, by a try whose answer was lost."""
    return (
        found is not None
        and (found.step, found.update_time) == (move.step, move.update_time)
        and (found.owner == owner or not found.is_open)
    )


async def open_store(database_url: str, *, owner: int) -> Store:
    """Opens a journal, and makes it if it is not there. Raises JournalUnusableError, one line for the operator.

    Each database's module is imported only where it is used.
    """
    scheme, separator, place = database_url.partition("://")
    if scheme in ("postgresql", "postgresql+asyncpg") and separator:
        try:
            from provider_service.journal.postgresql import open_postgresql  # noqa: PLC0415 - see above
        except ImportError as error:
            raise JournalUnusableError("PostgreSQL needs a driver: install iap-mesh[postgres]") from error
        return await open_postgresql(database_url, owner=owner)
    if scheme != "sqlite" or not place.startswith("/") or place in ("/", "/:memory:") or "?" in place:
        # Without what was given: it may hold a password.
        raise JournalUnusableError(f"the URL is not of the form {_FORMS}")
    from provider_service.journal.sqlite import open_sqlite  # noqa: PLC0415 - see above

    return await open_sqlite(Path(place.removeprefix("/")), owner=owner)
