"""Reading accounts as they are now, beside the committer."""

from datetime import datetime

from broker_service.domain.book import Book
from broker_service.domain.identities import shard_of
from broker_service.domain.records import Entry, Reservation
from broker_service.engine.clock import Clock
from broker_service.storage import ledger_queries
from broker_service.storage.database import Database
from broker_service.storage.ledger_queries import EntrySelection, ReservationSelection


class LedgerReader:
    """Reads books, reservations and statements; everything answered before is seen."""

    def __init__(self, database: Database, clock: Clock, *, shards: int = 1) -> None:
        self._database = database
        self._clock = clock
        self._shards = shards

    def now(self) -> datetime:
        """Returns the present instant."""
        return self._clock()

    async def book(self, account_id: str) -> Book:
        """Returns an account with its grants. Raises AccountNotFound."""
        shard_id, now = shard_of(account_id, self._shards), self._clock()
        return await self._database.read(
            lambda connection: ledger_queries.book_of(connection, shard_id, account_id, now)
        )

    async def reservation(self, account_id: str, reservation_id: str) -> Reservation:
        """Returns a reservation. Raises ReservationNotFound."""
        shard_id, now = shard_of(account_id, self._shards), self._clock()
        return await self._database.read(
            lambda connection: ledger_queries.reservation_by_id(connection, shard_id, account_id, reservation_id, now)
        )

    async def reservations(self, account_id: str, selection: ReservationSelection) -> list[Reservation]:
        """Returns an account's reservations, newest first."""
        shard_id, now = shard_of(account_id, self._shards), self._clock()
        return await self._database.read(
            lambda connection: ledger_queries.reservations_of(connection, shard_id, account_id, selection, now)
        )

    async def entries(self, account_id: str, selection: EntrySelection) -> list[Entry]:
        """Returns lines of an account's statement, oldest first."""
        shard_id = shard_of(account_id, self._shards)
        return await self._database.read(
            lambda connection: ledger_queries.entries_of(connection, shard_id, account_id, selection)
        )
