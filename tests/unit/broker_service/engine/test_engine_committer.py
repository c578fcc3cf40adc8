"""The lane of a committer, on a real database whose answers can be held back."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from broker_service.bootstrap import initialize
from broker_service.domain.commands import OpenAccount, Reserve
from broker_service.domain.decide import Verdict
from broker_service.domain.identities import account_id_for
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL, Account
from broker_service.domain.references import References
from broker_service.engine.clock import system_clock
from broker_service.engine.committer import Committer, HaltedError
from broker_service.storage.ledger import Decide, Now
from broker_service.storage.sqlite import SqliteDatabase, SqliteLane

ACCOUNT = account_id_for("cus_c", "first")
OTHER = account_id_for("cus_c", "other")


class HeldDatabase(SqliteDatabase):
    """A database whose answers wait for a gate, after the commit."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gate = asyncio.Event()
        self.gate.set()

    def lane(self, shard_id: int) -> SqliteLane:
        lane = super().lane(shard_id)
        commit = lane.commit

        async def held_commit(references: References, now: Now, decide: Decide) -> Verdict:
            verdict = await commit(references, now, decide)
            await self.gate.wait()
            return verdict

        lane.commit = held_commit  # type: ignore[method-assign]
        return lane


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[HeldDatabase]:
    url = f"sqlite:///{tmp_path}/iap.db"
    initialize(url)
    database = HeldDatabase(url)
    yield database
    await database.close()


@pytest.fixture
async def committer(database: HeldDatabase) -> Committer:
    committer = Committer(database, system_clock)
    for account_id in (ACCOUNT, OTHER):
        await committer.execute(OpenAccount(account_id, account_id, account_id, "prv_p", "sms", False, 9, account_id))
    return committer


def reserve(account_id: str, request_id: str) -> Reserve:
    return Reserve(request_id, account_id, "prv_p", False, 1, None, DEFAULT_TTL, MAX_TTL, "", {})


async def balance(committer: Committer, account_id: str) -> Account:
    opened = OpenAccount(account_id, account_id, account_id, "prv_p", "sms", False, 9, "again")
    return (await committer.execute(opened)).account


async def test_a_caller_that_has_just_left_leaves_its_command_undone(
    database: HeldDatabase, committer: Committer
) -> None:
    database.gate.clear()
    first = asyncio.create_task(committer.execute(reserve(ACCOUNT, "a")))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(committer.execute(reserve(ACCOUNT, "b")))
    await asyncio.sleep(0.05)
    # The lane goes on before the caller that leaves has had its turn.
    database.gate.set()
    second.cancel()
    assert isinstance(await first, ReservationResult)
    with pytest.raises(asyncio.CancelledError):
        await second
    await committer.drain()
    assert (await balance(committer, ACCOUNT)).reserved_credits == 1


async def test_a_caller_that_leaves_while_its_command_commits_does_not_stop_it(
    database: HeldDatabase, committer: Committer
) -> None:
    database.gate.clear()
    leaving = asyncio.create_task(committer.execute(reserve(ACCOUNT, "a")))
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    database.gate.set()
    assert (await committer.execute(reserve(ACCOUNT, "a"))).replayed


async def test_a_row_that_is_there_against_the_books_halts_the_lane(
    database: HeldDatabase, committer: Committer, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "iap.db")) as connection:
        connection.execute("UPDATE accounts SET entry_count = 0 WHERE account_id = ?", (ACCOUNT,))
        connection.execute("UPDATE grants SET expire_time = 0 WHERE account_id = ?", (ACCOUNT,))
        connection.commit()
    with pytest.raises(HaltedError):
        await committer.execute(reserve(ACCOUNT, "a"))
    with pytest.raises(HaltedError):
        await committer.execute(reserve(OTHER, "b"))


async def test_commands_that_wait_together_are_committed_together(database: HeldDatabase, committer: Committer) -> None:
    database.gate.clear()
    before = committer.counts
    first = asyncio.create_task(committer.execute(reserve(ACCOUNT, "a")))
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(committer.execute(reserve(OTHER, str(number)))) for number in range(7)]
    await asyncio.sleep(0.05)
    database.gate.set()
    await asyncio.gather(first, *others)
    after = committer.counts
    assert (after.commands - before.commands, after.commits - before.commits) == (8, 2)


async def test_who_cannot_bear_to_hear_of_a_commit_harms_nobody(database: HeldDatabase) -> None:
    heard: list[Verdict] = []

    def listen(verdict: Verdict) -> None:
        heard.append(verdict)
        raise RuntimeError

    committer = Committer(database, system_clock, on_commit=listen)
    await balance(committer, ACCOUNT)
    database.gate.clear()
    first = asyncio.create_task(committer.execute(reserve(ACCOUNT, "a")))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(committer.execute(reserve(ACCOUNT, "b")))
    await asyncio.sleep(0.05)
    database.gate.set()
    for answer in (first, waiting):
        assert isinstance(await asyncio.wait_for(answer, 5), ReservationResult)
    assert len(heard) == 3


async def test_commands_that_are_at_the_door_are_let_in(committer: Committer) -> None:
    async def come_in(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await committer.execute(reserve(ACCOUNT, f"after {turns} turns"))

    before = committer.counts.commits
    await asyncio.gather(*(come_in(turns) for turns in range(0, 24, 3)))
    assert committer.counts.commits == before + 1
