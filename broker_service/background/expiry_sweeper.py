"""Writing down what time has ended.

Nothing waits for it: from its time on a reservation is expired for every call. But an account that nobody calls about
would keep its overdue rows for ever, and its statement the credits of grants that are gone.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from broker_service.domain.commands import Settle
from broker_service.engine.committer import Committer, HaltedError, OverloadedError
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from broker_service.storage.expiry_queries import DueAccount, accounts_due
from mesh_runtime.logs import get_logger
from mesh_runtime.waiting import happens_within

logger = get_logger(__name__)

_ROUND_ACCOUNTS = 500
# In one transaction: callers have to wait behind it.
_BATCH_ROWS = 500
_MAX_PAUSE_SECONDS = 30.0
_WARNING_SECONDS = 60.0
# A round that hangs on a database that says nothing is not waited for any longer than this.
_STOP_SECONDS = 5.0


class ExpirySweeper:
    """Settles accounts with something overdue, now and then, through the committer like everybody else.

    Several brokers of a database may each have one: who comes second finds nothing left to write.
    """

    def __init__(
        self,
        database: Database,
        committer: Committer,
        *,
        shards: int = 1,
        interval_seconds: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._committer = committer
        self._shards = list(range(shards))
        self._interval_seconds = interval_seconds
        # From 0 to 1: the brokers of a database are not to sweep all at the same instant.
        self._chance = chance
        # A bug of ours or a damaged row: trying again would fail again, every time.
        self._failed_accounts: set[str] = set()
        self._warned_at: float | None = None
        self._stopping = asyncio.Event()
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sweeps from now on, until it is stopped."""
        self._sweeping = asyncio.create_task(self._sweep_again_and_again(), name="expiry-sweeper")

    async def stop(self) -> None:
        """Returns when nothing of it is running any more; a batch on its way is waited for."""
        self._stopping.set()
        if self._sweeping is None:
            return
        _, running = await asyncio.wait([self._sweeping], timeout=_STOP_SECONDS)
        if running:
            self._sweeping.cancel()
            await asyncio.wait(running)

    async def sweep(self) -> int:
        """Writes down all that is overdue now, round by round; returns how many accounts that were.

        Raises StorageError, or OverloadedError, and may then have written a part.
        """
        settled_accounts = 0
        behind = list(self._shards)
        while behind and not self._stopping.is_set():
            for shard_id in list(behind):
                settled, complete = await self._sweep_round(shard_id)
                settled_accounts += settled
                if complete:
                    behind.remove(shard_id)
        return settled_accounts

    async def _sweep_again_and_again(self) -> None:
        pause_seconds = self._interval_seconds
        await happens_within(self._stopping, pause_seconds * self._chance())
        while not self._stopping.is_set():
            try:
                settled_accounts = await self.sweep()
            except OverloadedError:
                logger.debug("expiry.gave_way")
            except Exception as error:  # noqa: BLE001 - whatever has happened, it must not end for ever
                self._warn(error)
                pause_seconds = min(2 * pause_seconds, max(_MAX_PAUSE_SECONDS, self._interval_seconds))
            else:
                pause_seconds, self._warned_at = self._interval_seconds, None
                if settled_accounts:
                    logger.debug("expiry.swept", accounts=settled_accounts)
            await happens_within(self._stopping, pause_seconds * (0.75 + self._chance() / 2))

    async def _sweep_round(self, shard_id: int) -> tuple[int, bool]:
        """Settles the accounts overdue for longest; returns how many, and whether there is nothing more to do."""
        now = self._committer.now_in(shard_id)
        due = await self._database.read(partial(accounts_due, shard_id=shard_id, now=now, limit=_ROUND_ACCOUNTS))
        settled_accounts = 0
        try:
            for batch in _batches(it for it in due if it.account_id not in self._failed_accounts):
                if self._stopping.is_set():
                    break
                settled_accounts += await self._settle(batch)
        except HaltedError:
            # For good; the other shards go on.
            self._shards.remove(shard_id)
            return settled_accounts, True
        if len(due) < _ROUND_ACCOUNTS:
            return settled_accounts, True
        late_seconds = round((now - due[0].since).total_seconds(), 3)
        logger.info("expiry.behind", shard_id=shard_id, accounts=settled_accounts, late_seconds=late_seconds)
        # What nobody can settle would be found again at once.
        return settled_accounts, not settled_accounts

    async def _settle(self, account_ids: Sequence[str]) -> int:
        """Settles some accounts together, then gives callers as much time as that took; returns how many it settled.

        Raises StorageError, OverloadedError, HaltedError.
        """
        began = time.monotonic()
        settling = (self._committer.execute(Settle(account_id)) for account_id in account_ids)
        outcomes = await asyncio.gather(*settling, return_exceptions=True)
        failed = {
            account_id: outcome
            for account_id, outcome in zip(account_ids, outcomes, strict=True)
            if isinstance(outcome, BaseException)
        }
        for account_id, error in failed.items():
            if isinstance(error, (StorageError, OverloadedError, HaltedError)):
                raise error
            logger.error("expiry.account_failed", account_id=account_id, exc_info=error)
        self._failed_accounts.update(failed)
        await happens_within(self._stopping, time.monotonic() - began)
        return len(outcomes) - len(failed)

    def _warn(self, error: Exception) -> None:
        """Logs what keeps it from sweeping: an outage once a minute, a bug of ours each time."""
        if not isinstance(error, StorageError):
            logger.error("expiry.crashed", exc_info=error)
        elif self._warned_at is None or time.monotonic() - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("expiry.failed", cause=str(error))


def _batches(due: Iterable[DueAccount]) -> Iterator[list[str]]:
    """Parts accounts so that each part has few rows to write, but one account at least."""
    batch: list[str] = []
    rows = 0
    for account in due:
        if batch and rows + account.rows > _BATCH_ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(account.account_id)
        rows += account.rows
    if batch:
        yield batch
