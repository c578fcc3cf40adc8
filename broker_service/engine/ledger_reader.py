"""Reading accounts as they are now, beside the committer."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from broker_service.domain.book import Book, latest_time
from broker_service.domain.checks import account_of
from broker_service.domain.commands import Settle
from broker_service.domain.errors import InvariantError
from broker_service.domain.identities import shard_of
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.records import Entry, Purchase, Reservation
from broker_service.engine.committer import Committer, HaltedError, OverloadedError
from broker_service.storage import ledger_queries, purchase_queries
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from broker_service.storage.ledger_queries import EntrySelection, ReservationSelection
from broker_service.storage.purchase_queries import PurchaseSelection
from mesh_runtime.logs import get_logger

Found = TypeVar("Found")

logger = get_logger(__name__)


class LedgerReader:
    """Reads books, reservations and statements; everything answered before is seen.

    Its time is the committer's. Books that contradict themselves halt the committer, and raise HaltedError. A `token`
    that is given is checked against the account as it is read: AccountNotFound, TokenOutdated.
    """

    def __init__(self, database: Database, committer: Committer, *, shards: int = 1) -> None:
        self._database = database
        self._committer = committer
        self._shards = shards

    async def check(self, account_id: str, token: KnownToken | None) -> None:
        """Checks a token, and reads nothing more."""
        if token is not None:
            await self._read(account_id, lambda *_: None, token)

    async def book(self, account_id: str, token: KnownToken | None = None) -> Book:
        """Returns an account with its grants. Raises AccountNotFound."""
        book, instant = await self.dated_book(account_id)
        if token is not None:
            token.check(account_of(book), instant)
        return book

    async def dated_book(self, account_id: str) -> tuple[Book, datetime]:
        """Returns an account with its grants, and the instant at which it stands so. Raises AccountNotFound."""

        def query(connection: Connection, shard_id: int, account: str, now: datetime) -> tuple[Book, datetime]:
            book = ledger_queries.book_of(connection, shard_id, account, now)
            return book, latest_time([book], now)

        return await self._read(account_id, query)

    async def reservation(self, account_id: str, reservation_id: str, token: KnownToken | None = None) -> Reservation:
        """Returns a reservation. Raises ReservationNotFound."""
        return await self._read(
            account_id,
            lambda connection, shard_id, account, now: ledger_queries.reservation_by_id(
                connection, shard_id, account, reservation_id, now
            ),
            token,
        )

    async def reservations(
        self, account_id: str, selection: ReservationSelection, token: KnownToken | None = None
    ) -> list[Reservation]:
        """Returns an account's reservations, newest first."""
        return await self._read(
            account_id,
            lambda connection, shard_id, account, now: ledger_queries.reservations_of(
                connection, shard_id, account, selection, now
            ),
            token,
        )

    async def purchase(self, account_id: str, purchase_id: str, token: KnownToken | None = None) -> Purchase:
        """Returns a purchase. Raises PurchaseNotFound."""
        return await self._read(
            account_id,
            lambda connection, shard_id, account, now: purchase_queries.purchase_by_id(
                connection, shard_id, account, purchase_id, now
            ),
            token,
        )

    async def purchases(
        self, account_id: str, selection: PurchaseSelection, token: KnownToken | None = None
    ) -> list[Purchase]:
        """Returns an account's purchases, newest first."""
        return await self._read(
            account_id,
            lambda connection, shard_id, account, now: purchase_queries.purchases_of(
                connection, shard_id, account, selection, now
            ),
            token,
        )

    async def entries(self, account_id: str, selection: EntrySelection, token: KnownToken | None = None) -> list[Entry]:
        """Returns lines of an account's statement, oldest first; what has expired by now is written down before."""
        if await self._read(account_id, ledger_queries.has_unwritten_expiry, token):
            # A statement without the last expiry is better than none.
            with contextlib.suppress(StorageError, OverloadedError):
                await self._committer.execute(Settle(account_id))
        return await self._read(
            account_id,
            lambda connection, shard_id, account, _now: ledger_queries.entries_of(
                connection, shard_id, account, selection
            ),
            token,
        )

    async def _read(
        self, account_id: str, query: Callable[[Connection, int, str, datetime], Found], token: KnownToken | None = None
    ) -> Found:
        shard_id, now = shard_of(account_id, self._shards), self._committer.now(account_id)

        def work(connection: Connection) -> Found:
            if token is not None:
                account = ledger_queries.stored_account(connection, shard_id, account_id)
                token.check(account, max(now, account.update_time))
            return query(connection, shard_id, account_id, now)

        try:
            return await self._database.read(work)
        except InvariantError as error:
            self._committer.halt(account_id)
            logger.exception("ledger.invariant_broken", shard_id=shard_id)
            raise HaltedError from error
