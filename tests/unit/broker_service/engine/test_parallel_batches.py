"""Batches of one lane side by side: never of one account, and nothing is left lying."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_service.bootstrap import initialize
from broker_service.domain.commands import OpenAccount, Reserve
from broker_service.domain.decide import Verdict
from broker_service.domain.identities import account_id_for
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL
from broker_service.domain.references import References
from broker_service.engine.clock import system_clock
from broker_service.engine.committer import Committer
from broker_service.storage.ledger import Decide, LedgerLane, Now
from broker_service.storage.sqlite import SqliteDatabase

ACCOUNTS = [account_id_for("cus_c", str(number)) for number in range(100)]


class ParallelLane:
    """A lane that may have two batches under way, and notes who was under way with whom."""

    parallel_batches = 2

    def __init__(self, lane: LedgerLane) -> None:
        self._lane = lane
        self.under_way: list[set[str]] = []
        self.most_at_once = 0
        self.shared: set[str] = set()

    async def commit(self, references: References, now: Now, decide: Decide) -> Verdict:
        for others in self.under_way:
            self.shared |= others & references.accounts
        self.under_way.append(references.accounts)
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        await asyncio.sleep(random.uniform(0, 0.003))
        try:
            return await self._lane.commit(references, now, decide)
        finally:
            self.under_way.remove(references.accounts)


class ParallelDatabase(SqliteDatabase):
    """A database whose lane is a ParallelLane."""

    parallel_lane: ParallelLane

    def lane(self, shard_id: int) -> LedgerLane:  # type: ignore[override]
        self.parallel_lane = ParallelLane(super().lane(shard_id))
        return self.parallel_lane


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[ParallelDatabase]:
    url = f"sqlite:///{tmp_path}/iap.db"
    initialize(url)
    database = ParallelDatabase(url)
    yield database
    await database.close()


@pytest.fixture
async def committer(database: ParallelDatabase) -> Committer:
    committer = Committer(database, system_clock)
    await asyncio.gather(
        *(committer.execute(OpenAccount(it, it, it, "prv_p", "sms", False, 10_000, it)) for it in ACCOUNTS)
    )
    return committer


async def reserve(committer: Committer, account_id: str, request_id: str) -> ReservationResult:
    return await committer.execute(
        Reserve(request_id, account_id, "prv_p", False, 1, None, DEFAULT_TTL, MAX_TTL, "", {})
    )


async def test_batches_side_by_side_never_share_an_account(database: ParallelDatabase, committer: Committer) -> None:
    async def call(caller: int) -> None:
        for number in range(12):
            await reserve(committer, random.choice(ACCOUNTS), f"{caller} {number}")

    await asyncio.gather(*(call(caller) for caller in range(150)))
    assert database.parallel_lane.most_at_once == 2
    assert database.parallel_lane.shared == set()
    assert database.parallel_lane.under_way == []


async def test_one_account_s_commands_keep_their_order(database: ParallelDatabase, committer: Committer) -> None:
    reserved: dict[str, list[int]] = defaultdict(list)

    async def call(account_id: str, number: int) -> None:
        result = await reserve(committer, account_id, f"{account_id} {number}")
        reserved[account_id].append(result.balance.reserved_credits)

    await asyncio.gather(*(call(account_id, number) for number in range(8) for account_id in ACCOUNTS))
    assert database.parallel_lane.most_at_once == 2
    assert all(amounts == list(range(1, 9)) for amounts in reserved.values())


async def test_a_hot_account_s_commands_go_in_one_batch(database: ParallelDatabase, committer: Committer) -> None:
    before = committer.counts.commits
    await asyncio.gather(*(reserve(committer, ACCOUNTS[0], str(number)) for number in range(200)))
    assert committer.counts.commits == before + 1


async def test_no_command_is_left_lying(committer: Committer) -> None:
    """Commands come while a lane is just about to find nothing to do."""

    async def call(caller: int) -> None:
        for number in range(150):
            account_id = ACCOUNTS[0] if number % 2 else random.choice(ACCOUNTS)
            await reserve(committer, account_id, f"{caller} {number}")

    async with asyncio.timeout(60):
        await asyncio.gather(*(call(caller) for caller in range(3)))
    await committer.drain()
