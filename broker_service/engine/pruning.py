"""Pruning a database beside the brokers that serve from it."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from broker_service.engine.writing import write_with_retries
from broker_service.storage import pruning
from broker_service.storage.database import Database
from broker_service.storage.deliveries import remove_given_up
from broker_service.storage.events import count_prunable_events, remove_events


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were removed, or would be."""

    reservations: int
    replay_records: int
    events: int = 0


async def prune(database: Database, *, shards: int, before: datetime, dry_run: bool = False) -> Pruned:
    """Removes what was resolved and answered before an instant; a dry run only counts it.

    The caller sees to it that `before` is MIN_REPLAY_WINDOW ago at least. Raises StorageError, and may then have
    removed a part; another run removes the rest.
    """
    reservations = replay_records = 0
    for shard_id in range(shards):
        in_use = await database.read(partial(pruning.accounts_in_use, shard_id=shard_id, before=before))
        walk = _Walk(database, shard_id, before, dry_run)
        reservations += await walk.through(pruning.RESERVATIONS)
        replay_records += await walk.through(pruning.OPERATIONS, keep_accounts=in_use)
    return Pruned(reservations, replay_records, await _prune_events(database, before, dry_run=dry_run))


async def _prune_events(database: Database, before: datetime, *, dry_run: bool) -> int:
    """Removes events that have all been delivered, and deliveries that were given up; returns how many events went."""
    if dry_run:
        return await database.read(partial(count_prunable_events, before=before))
    await write_with_retries(database, partial(remove_given_up, before=before))
    removed, after_position = 0, 0
    while True:
        window = partial(remove_events, before=before, after_position=after_position)
        removed_now, window_end = await write_with_retries(database, window)
        removed += removed_now
        if window_end is None:
            return removed
        after_position = window_end


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through one shard's rows, a window at a time."""

    database: Database
    shard_id: int
    before: datetime
    dry_run: bool

    async def through(self, subject: pruning.Subject, *, keep_accounts: Collection[str] = ()) -> int:
        removed = 0
        after_id = ""
        while True:
            find = partial(
                pruning.find_prunable,
                subject=subject,
                shard_id=self.shard_id,
                before=self.before,
                after_id=after_id,
                keep_accounts=keep_accounts,
            )
            window = await self.database.read(find)
            if window.rows_of:
                removed += sum(window.rows_of.values()) if self.dry_run else await self._remove(subject, window)
            if window.is_last:
                return removed
            after_id = window.until_id

    async def _remove(self, subject: pruning.Subject, window: pruning.Window) -> int:
        work = partial(pruning.remove, subject=subject, shard_id=self.shard_id, before=self.before, window=window)
        began = time.monotonic()
        removed = await write_with_retries(self.database, work)
        # A broker that waits for SQLite's one write lock looks for it now and then; this lets it have its turn.
        await asyncio.sleep(time.monotonic() - began)
        return removed
