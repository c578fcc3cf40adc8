"""Telling who watches an account when its balance changes.

Three things change a balance. A commit of this process wakes the account's watchers at once. Commits of other processes
and the passing of time are looked for now and then, with a few statements for all accounts watched. Whatever has woken
them, the balance is then read anew, one reading of an account after the other: so it never goes backwards.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from broker_service.domain.decide import Verdict
from broker_service.domain.identities import shard_of
from broker_service.domain.records import Account
from broker_service.engine.committer import Committer
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.writing import with_retries
from broker_service.storage.balance_queries import changed_accounts
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from mesh_runtime.logs import get_logger
from mesh_runtime.waiting import happens_within

logger = get_logger(__name__)

# Changes that come within this time of each other are told as one.
BURST_SECONDS: Final = 0.05
# What another process has committed, by a clock of its own, may become visible as late as this.
_LATE_COMMITS: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class BalanceReading:
    """An account with its balance, and an instant at which it was so."""

    account: Account
    time: datetime


@dataclass(slots=True, eq=False)
class _Watched:
    """An account that is watched: its latest reading, and what wakes each watcher.

    `reads_begun` and `reads_done` count readings; `stale` asks for another one. `failure` ends all watching.
    """

    watchers: set[asyncio.Event] = field(default_factory=set)
    reading: BalanceReading | None = None
    reads_begun: int = 0
    reads_done: int = 0
    stale: bool = False
    refreshing: asyncio.Task[None] | None = None
    failure: Exception | None = None

    def wake(self) -> None:
        for watcher in self.watchers:
            watcher.set()


class BalanceWatch:
    """The accounts that are watched through this process. A watcher costs the same however slowly it reads."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        reader: LedgerReader,
        *,
        shards: int = 1,
        closing: asyncio.Event,
        poll_seconds: float = 1.0,
        burst_seconds: float = BURST_SECONDS,
    ) -> None:
        self._database = database
        self._committer = committer
        self._reader = reader
        self._shards = shards
        self._closing = closing
        self._poll_seconds = poll_seconds
        self._burst_seconds = burst_seconds
        self._accounts: dict[str, _Watched] = {}
        self._polled = [committer.now_in(shard_id) for shard_id in range(shards)]
        self._refreshing: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(len(watched.watchers) for watched in self._accounts.values())

    def start(self) -> None:
        """Looks for changes by time and by other processes from now on, until the node is closing."""
        self._polling = asyncio.create_task(self._poll_until_closing(), name="balance-watch")

    async def close(self) -> None:
        """Returns when nothing of it is running any more; nobody may be watching."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])
        if self._refreshing:
            await asyncio.wait(self._refreshing)

    def committed(self, verdict: Verdict) -> None:
        """Takes note of what this process has committed."""
        if not self._accounts:
            return
        for changes in verdict.changes:
            if changes.account is not None and (watched := self._accounts.get(changes.account.account_id)) is not None:
                self._refresh(changes.account.account_id, watched)

    async def readings(self, account_id: str) -> AsyncGenerator[BalanceReading, None]:
        """Yields the latest reading: at once, after each change, and with every poll even if nothing has changed.

        Between polls a caller that is slow misses readings, not the last one. Ends when the node is closing. Raises
        AccountNotFound, StorageError, HaltedError.
        """
        watched = self._accounts.setdefault(account_id, _Watched())
        woken = asyncio.Event()
        watched.watchers.add(woken)
        # A reading on its way may be older than what the caller has been told already.
        first_read = watched.reads_begun + 1
        try:
            self._refresh(account_id, watched)
            while not self._closing.is_set():
                await woken.wait()
                woken.clear()
                if watched.failure is not None:
                    raise watched.failure
                if watched.reading is not None and watched.reads_done >= first_read and not self._closing.is_set():
                    yield watched.reading
        finally:
            watched.watchers.discard(woken)
            if not watched.watchers:
                self._forget(account_id, watched)

    def _refresh(self, account_id: str, watched: _Watched) -> None:
        watched.stale = True
        if watched.refreshing is None:
            watched.refreshing = asyncio.create_task(self._read_while_stale(account_id, watched))
            self._refreshing.add(watched.refreshing)
            watched.refreshing.add_done_callback(self._refreshing.discard)

    async def _read_while_stale(self, account_id: str, watched: _Watched) -> None:
        try:
            while watched.stale and watched.watchers:
                watched.stale = False
                watched.reads_begun += 1
                book, instant = await with_retries(partial(self._reader.dated_book, account_id))
                if book.account is not None:
                    watched.reading = BalanceReading(book.account, instant)
                watched.reads_done = watched.reads_begun
                watched.wake()
                await asyncio.sleep(self._burst_seconds)
        except Exception as error:  # noqa: BLE001 - it is raised where the watchers wait
            self._fail(account_id, watched, error)
        finally:
            watched.refreshing = None

    async def _poll_until_closing(self) -> None:
        while not await happens_within(self._closing, self._poll_seconds):
            try:
                await self._poll()
            except Exception as error:
                if not isinstance(error, StorageError):
                    logger.exception("balance_watch.crashed")
                for account_id, watched in list(self._accounts.items()):
                    self._fail(account_id, watched, error)
        for watched in self._accounts.values():
            watched.wake()

    async def _poll(self) -> None:
        """Has the accounts read that were changed by others or by time, and wakes everybody."""
        seen: defaultdict[int, dict[str, Account]] = defaultdict(dict)
        for account_id, watched in self._accounts.items():
            if watched.reading is not None:
                seen[shard_of(account_id, self._shards)][account_id] = watched.reading.account
        for shard_id in range(self._shards):
            now = self._committer.now_in(shard_id)
            since, self._polled[shard_id] = self._polled[shard_id] - _LATE_COMMITS, now
            if shard_id not in seen:
                continue
            find = partial(changed_accounts, shard_id=shard_id, seen=seen[shard_id], since=since, now=now)
            for account_id in await with_retries(partial(self._database.read, find)):
                if account_id in self._accounts:
                    self._refresh(account_id, self._accounts[account_id])
        for watched in self._accounts.values():
            watched.wake()

    def _fail(self, account_id: str, watched: _Watched, error: Exception) -> None:
        """Ends the watching of an account; who comes later begins anew."""
        watched.failure = error
        watched.wake()
        self._forget(account_id, watched)

    def _forget(self, account_id: str, watched: _Watched) -> None:
        if self._accounts.get(account_id) is watched:
            del self._accounts[account_id]
