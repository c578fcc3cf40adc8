"""Pruning removes what nobody may ask for any more, and nothing else; what is asked for too late is answered safely."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event, insert

from broker_service.bootstrap import initialize
from broker_service.domain.commands import (
    Capture,
    Charge,
    Command,
    Extend,
    GrantCredits,
    OpenAccount,
    Refund,
    Release,
    Reserve,
    Settle,
)
from broker_service.domain.errors import ReservationNotFound, ReservationReleased
from broker_service.domain.identities import account_id_for, shard_of
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL, GrantKind
from broker_service.engine.committer import Committer
from broker_service.engine.pruning import Pruned, prune
from broker_service.storage import tables
from broker_service.storage.audit import audit
from broker_service.storage.database import Database, open_database
from broker_service.storage.pruning import WINDOW_ROWS, pruned_before
from tests.contract.broker_world.running_broker import MovableClock
from tests.databases import DatabaseKind, connected, only_on, run_sql

PROVIDER = "prv_p"
SHARDS = 2
TRIAL_CREDITS = 1_000
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def account_in(shard_id: int, number: int = 0) -> str:
    """Returns the id of the n-th account of a shard."""
    ids = (account_id_for("cus_c", str(tried)) for tried in range(1_000))
    return [account_id for account_id in ids if shard_of(account_id, SHARDS) == shard_id][number]


ACCOUNT = account_in(0)
OTHER_SHARD = account_in(1)


@dataclass(slots=True)
class Ledger:
    """A ledger that is written by commands, at times that the test decides."""

    url: str
    database: Database
    committer: Committer
    clock: MovableClock

    async def run(self, command: Command) -> Any:
        execute: Any = self.committer.execute
        return await execute(command)

    async def open(self, account_id: str = ACCOUNT) -> None:
        await self.run(
            OpenAccount("open", account_id, account_id, PROVIDER, "sms", False, TRIAL_CREDITS, f"hash {account_id}")
        )

    async def reserved(
        self, request_id: str, amount: int = 10, *, account_id: str = ACCOUNT, ttl: timedelta | None = None
    ) -> str:
        """Reserves credits and returns the reservation's id."""
        command = Reserve(request_id, account_id, PROVIDER, False, amount, ttl, DEFAULT_TTL, MAX_TTL, "", {})
        return str((await self.run(command)).reservation.reservation_id)

    async def capture(self, reservation_id: str, amount: int | None = None, *, keep_open: bool = False) -> Any:
        account_id = f"acc_{reservation_id[4:28]}"
        return await self.run(
            Capture(f"capture {reservation_id}", account_id, PROVIDER, reservation_id, amount, keep_open=keep_open)
        )

    async def release(self, reservation_id: str) -> Any:
        return await self.run(Release(f"release {reservation_id}", ACCOUNT, PROVIDER, reservation_id, ""))

    async def refund(self, reservation_id: str, amount: int | None = None) -> Any:
        return await self.run(Refund(f"refund {reservation_id}", ACCOUNT, PROVIDER, reservation_id, amount, ""))

    async def extend(self, reservation_id: str, request_id: str) -> Any:
        return await self.run(Extend(request_id, ACCOUNT, PROVIDER, False, reservation_id, MAX_TTL, MAX_TTL, 0))

    async def prune(self, age: timedelta = 60 * DAY, *, dry_run: bool = False) -> Pruned:
        return await prune(self.database, shards=SHARDS, before=self.clock.now - age, dry_run=dry_run)

    async def horizon(self) -> datetime | None:
        return await self.database.read(pruned_before)

    def reservations(self) -> set[str]:
        return {row[0] for row in run_sql(self.url, "SELECT reservation_id FROM reservations")}

    def count(self, table: str) -> int:
        ((rows,),) = run_sql(self.url, f"SELECT count(*) FROM {table}")
        return int(rows)

    async def assert_books_agree(self) -> None:
        assert (await self.database.read(audit)).violations == ()


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    clock = MovableClock()
    initialize(database_url, shards=SHARDS, clock=clock)
    database = open_database(database_url)
    committer = Committer(database, clock, shards=SHARDS)
    ledger = Ledger(database_url, database, committer, clock)
    await ledger.open()
    yield ledger
    await committer.drain()
    await database.close()


async def test_what_was_resolved_long_ago_goes(ledger: Ledger) -> None:
    await ledger.open(OTHER_SHARD)
    await ledger.capture(await ledger.reserved("captured"), 4)
    await ledger.release(await ledger.reserved("released"))
    await ledger.run(Charge("charged", ACCOUNT, PROVIDER, False, 7, "", {}))
    await ledger.capture(await ledger.reserved("elsewhere", account_id=OTHER_SHARD))
    await ledger.reserved("expires")
    ledger.clock.move(DAY)
    await ledger.run(Settle(ACCOUNT))
    kept = {name: ledger.count(name) for name in ("entries", "grants", "accounts", "trial_claims", "account_tokens")}
    ledger.clock.move(90 * DAY)
    recent = await ledger.reserved("recent")
    await ledger.capture(recent)
    active = await ledger.reserved("active")
    assert await ledger.prune() == Pruned(reservations=5, replay_records=3)
    assert ledger.reservations() == {recent, active}
    kept["entries"] += 1
    assert {name: ledger.count(name) for name in kept} == kept
    await ledger.assert_books_agree()
    assert await ledger.prune() == Pruned(0, 0)


async def test_the_horizon_itself_is_kept(ledger: Ledger) -> None:
    first = await ledger.reserved("first")
    await ledger.capture(first)
    ledger.clock.move(TICK)
    second = await ledger.reserved("second")
    await ledger.capture(second)
    ledger.clock.move(60 * DAY)
    assert await ledger.prune() == Pruned(1, 1)
    assert ledger.reservations() == {second}
    await ledger.assert_books_agree()


async def test_an_overdue_reservation_stays_until_its_expiry_is_written_down(ledger: Ledger) -> None:
    overdue = await ledger.reserved("overdue")
    ledger.clock.move(90 * DAY)
    assert await ledger.prune() == Pruned(0, 0)
    assert ledger.reservations() == {overdue}
    await ledger.run(Settle(ACCOUNT))
    assert await ledger.prune() == Pruned(1, 0)
    await ledger.assert_books_agree()


async def test_requests_on_what_is_gone_are_refused(ledger: Ledger) -> None:
    gone = await ledger.reserved("gone")
    await ledger.capture(gone, 4)
    ledger.clock.move(90 * DAY)
    await ledger.prune()
    for late in (ledger.capture(gone, 4), ledger.release(gone), ledger.refund(gone), ledger.extend(gone, "extend")):
        with pytest.raises(ReservationNotFound):
            await late
    await ledger.assert_books_agree()


async def test_an_id_that_was_pruned_reserves_anew(ledger: Ledger) -> None:
    reservation_id = await ledger.reserved("again")
    await ledger.capture(reservation_id, 4)
    ledger.clock.move(90 * DAY)
    await ledger.prune()
    assert await ledger.reserved("again") == reservation_id
    assert not (await ledger.capture(reservation_id, 3)).replayed
    await ledger.assert_books_agree()


async def test_a_reservation_refunded_lately_answers_the_same_refund_again(ledger: Ledger) -> None:
    reservation_id = await ledger.reserved("refunded")
    await ledger.capture(reservation_id, 8)
    ledger.clock.move(50 * DAY)
    await ledger.refund(reservation_id, 3)
    ledger.clock.move(59 * DAY)
    assert await ledger.prune() == Pruned(reservations=0, replay_records=1)
    assert (await ledger.refund(reservation_id, 3)).replayed
    await ledger.assert_books_agree()
    ledger.clock.move(2 * DAY)
    assert await ledger.prune() == Pruned(reservations=1, replay_records=1)
    await ledger.assert_books_agree()


async def test_a_capture_of_a_reservation_still_active_is_never_forgotten(ledger: Ledger) -> None:
    session = await ledger.reserved("session", ttl=MAX_TTL)
    await ledger.capture(session, 3, keep_open=True)
    for month in range(6):
        ledger.clock.move(29 * DAY)
        await ledger.extend(session, f"extend {month}")
    assert await ledger.prune() == Pruned(0, 0)
    assert (await ledger.capture(session, 3, keep_open=True)).replayed
    await ledger.release(session)
    # Resolved, it answers by its state.
    assert await ledger.prune() == Pruned(reservations=0, replay_records=4)
    with pytest.raises(ReservationReleased):
        await ledger.capture(session, 3, keep_open=True)
    await ledger.assert_books_agree()


async def test_credits_are_not_granted_again_however_late(ledger: Ledger) -> None:
    grant = GrantCredits("gift", ACCOUNT, 5, GrantKind.PROMOTIONAL, 100, None, "")
    await ledger.run(grant)
    ledger.clock.move(900 * DAY)
    assert await ledger.prune() == Pruned(0, 0)
    assert (await ledger.run(grant)).replayed


async def test_a_dry_run_counts_and_removes_nothing(ledger: Ledger) -> None:
    captured = await ledger.reserved("captured")
    await ledger.capture(captured)
    ledger.clock.move(90 * DAY)
    assert await ledger.prune(dry_run=True) == Pruned(1, 1)
    assert ledger.reservations() == {captured}
    assert await ledger.horizon() is None
    assert await ledger.prune() == Pruned(1, 1)


async def test_the_horizon_never_moves_back(ledger: Ledger) -> None:
    async def resolve(request_id: str) -> None:
        await ledger.release(await ledger.reserved(request_id))
        ledger.clock.move(40 * DAY)

    for number in range(3):
        await resolve(str(number))
    assert await ledger.horizon() is None
    for age, expected in ((100, 100), (60, 60), (110, 60), (30, 30)):
        await ledger.prune(age * DAY)
        assert await ledger.horizon() == ledger.clock.now - expected * DAY


async def insert_resolved(ledger: Ledger, count: int) -> None:
    """Adds released reservations of old, and nothing that pruning looks for besides them."""
    model = await ledger.reserved("model")
    await ledger.release(model)
    (row,) = run_sql(ledger.url, "SELECT * FROM reservations WHERE reservation_id = ?", model)
    columns = dict(zip(tables.reservations.c.keys(), row, strict=True))
    for name in ("create_time", "expire_time", "resolve_time"):
        columns[name] = ledger.clock.now
    rows = [columns | {"reservation_id": f"{model[:28]}_{number:024}"} for number in range(count)]
    await ledger.database.write(lambda connection: connection.execute(insert(tables.reservations), rows))
    ledger.clock.move(90 * DAY)


@pytest.mark.parametrize("others", [WINDOW_ROWS - 2, WINDOW_ROWS - 1, WINDOW_ROWS, 2 * WINDOW_ROWS + 500])
async def test_every_window_is_looked_through(ledger: Ledger, others: int) -> None:
    await insert_resolved(ledger, others)
    assert await ledger.prune() == Pruned(others + 1, 1)
    assert ledger.reservations() == set()


async def test_a_pruning_broken_off_is_started_again(ledger: Ledger) -> None:
    await insert_resolved(ledger, 5 * WINDOW_ROWS)
    first = asyncio.create_task(ledger.prune())
    while ledger.count("reservations") == 5 * WINDOW_ROWS + 1:
        await ledger.horizon()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await ledger.database.write(lambda _: None)
    left = ledger.count("reservations")
    assert 0 < left < 5 * WINDOW_ROWS
    assert (await ledger.prune()).reservations == left


async def test_two_prunings_share_the_work(ledger: Ledger) -> None:
    await insert_resolved(ledger, 3 * WINDOW_ROWS)
    done = await asyncio.gather(ledger.prune(), ledger.prune(61 * DAY))
    assert sum(each.reservations for each in done) == 3 * WINDOW_ROWS + 1
    assert await ledger.horizon() == ledger.clock.now - 60 * DAY


async def test_a_broker_serves_meanwhile(ledger: Ledger) -> None:
    await insert_resolved(ledger, 5 * WINDOW_ROWS)
    pruning = asyncio.create_task(ledger.prune())
    number = 0
    while not pruning.done():
        await ledger.capture(await ledger.reserved(f"meanwhile {number}", 1))
        number += 1
    assert number > 1
    assert (await pruning).reservations == 5 * WINDOW_ROWS + 1
    assert len(ledger.reservations()) == number


async def test_a_refund_that_comes_in_between_keeps_its_reservation(ledger: Ledger) -> None:
    reservation_id = await ledger.reserved("refunded", 8)
    await ledger.capture(reservation_id)
    ledger.clock.move(90 * DAY)
    with connected(ledger.url) as refunding:
        if DatabaseKind.of(ledger.url) is DatabaseKind.SQLITE:
            refunding.sql("BEGIN IMMEDIATE")
        else:
            refunding.sql("BEGIN")
            refunding.sql("SELECT 1 FROM accounts WHERE account_id = ? FOR UPDATE", ACCOUNT)
        pruning = asyncio.create_task(ledger.prune())
        await asyncio.sleep(0.2)
        now = (ledger.clock.now - datetime.fromisoformat("1970-01-01T00:00:00Z")) // TICK
        refunding.sql("UPDATE reservations SET refunded_credits = 1")
        refunding.sql(
            "INSERT INTO entries SELECT shard_id, account_id, 3, 'REFUND', 1, counterpart, 993, "
            f"{now}, reservation_id, purchase_id, '' FROM entries WHERE sequence = 2"
        )
        refunding.sql("COMMIT")
        assert await pruning == Pruned(reservations=0, replay_records=1)
    assert ledger.reservations() == {reservation_id}


@only_on(DatabaseKind.SQLITE, reason="its plans do not depend on how many rows there are")
async def test_every_statement_searches_by_an_index_and_names_one_shard(ledger: Ledger) -> None:
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        seen.append((statement, parameters))

    hot_tables = ("accounts", "reservations", "operations", "entries")
    await insert_resolved(ledger, WINDOW_ROWS)
    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        await ledger.prune()
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    hot = [(statement, parameters) for statement, parameters in seen if any(name in statement for name in hot_tables)]
    assert len({statement for statement, _ in hot}) >= 7
    with connected(ledger.url) as other:
        for statement, parameters in hot:
            assert "shard_id = ?" in statement
            steps = [str(step[-1]) for step in other.sql(f"EXPLAIN QUERY PLAN {statement}", *parameters)]
            assert not [step for step in steps if step.startswith("SCAN")], (statement, steps)
