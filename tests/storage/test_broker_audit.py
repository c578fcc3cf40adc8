"""The audit finds nothing in books that the broker wrote, whatever it does meanwhile; and it is bounded."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc.aio
import pytest
from click.testing import CliRunner, Result

from broker_service.cli import command
from broker_service.engine import auditing
from broker_service.engine.pruning import prune
from broker_service.storage.audit import Audit, PageSize, audit, audit_pages, reservations
from broker_service.storage.audit.findings import MOST_VIOLATIONS, Page
from mesh_runtime.startup_errors import StartupError
from tests.contract.broker_world.operations import charged, extend, grant_credits, refund
from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.world import Account, World
from tests.storage.broker_life import live_through_everything


async def pages_of(world: World, size: PageSize) -> list[Page]:
    """Reads all the pages of an audit, each in a snapshot of its own."""
    pages = audit_pages(1, size)
    read: list[Page] = []
    work = next(pages)
    while True:
        read.append(await world.running.broker.database.read(work))
        try:
            work = pages.send(read[-1])
        except StopIteration:
            return read


async def test_books_that_the_broker_wrote_agree(own_world: World) -> None:
    world = own_world
    database = world.running.broker.database
    account = await live_through_everything(world)
    found = await auditing.audit(database)
    assert found.violations == ()
    ledger_credits, reserved_credits, _ = await world.balance(account)
    assert (found.ledger_credits, found.reserved_credits) == (ledger_credits, reserved_credits)
    assert (found.accounts_checked, found.entries_checked) == (1, len(await world.entries(account)))
    assert found.captured_credits == 7 + 4 + 6 + 1
    await live_through_everything(world)
    found = await auditing.audit(database)
    assert (found.accounts_checked, found.violations) == (2, ())
    assert await database.read(audit) == found


async def test_empty_books_agree(own_world: World) -> None:
    assert await auditing.audit(own_world.running.broker.database) == Audit(0, 0, 0, 0, 0, ())


async def test_what_is_found_does_not_depend_on_the_size_of_pages(
    own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = own_world.running.broker.database
    for _ in range(3):
        await live_through_everything(own_world)
    found = await auditing.audit(database)
    assert (found.accounts_checked, found.violations) == (3, ())
    for size in (PageSize(rows=1), PageSize(rows=2), PageSize(rows=3), PageSize(rows=4), PageSize(entries=1)):
        assert await auditing.audit(database, size=size) == found
    monkeypatch.setattr(reservations, "_MOST_LINED_UP", 1)
    assert await auditing.audit(database) == found


async def test_a_page_holds_no_more_than_it_may(own_world: World) -> None:
    for _ in range(5):
        await live_through_everything(own_world)
    pages = await pages_of(own_world, PageSize(rows=2))
    assert sum(page.figures.accounts for page in pages) == 5
    assert max(page.figures.accounts for page in pages) == 2
    entries_of_one = max(page.figures.entries for page in await pages_of(own_world, PageSize(rows=1)))
    pages = await pages_of(own_world, PageSize(rows=5, entries=2 * entries_of_one))
    assert [page.figures.accounts for page in pages if page.figures.accounts] == [2, 2, 1]
    # An account is never divided.
    pages = await pages_of(own_world, PageSize(rows=5, entries=1))
    assert [page.figures.accounts for page in pages if page.figures.accounts] == [1] * 5


@pytest.mark.parametrize("entries", [0, 1, 199_999, 200_000, 1_000_000, 10**9])
def test_each_reservation_is_in_one_part(entries: int) -> None:
    parts = reservations.parts_of(entries)
    assert 1 <= len(parts) <= 32
    for ending in ("", "2", "7", "8", "A", "a", "m", "z", "~", "é"):
        assert sum(part.first_ending <= ending < part.end_ending for part in parts) == 1


async def test_broken_books_do_not_flood_the_report(own_world: World) -> None:
    world = own_world
    for _ in range(3):
        await live_through_everything(world)
    insert = (
        "INSERT INTO operations (shard_id, operation_id, account_id, kind, fingerprint, time, captured_credits,"
        " released_credits, refunded_credits) VALUES "
    )
    for thousand in range(2):
        rows = (f"(0, 'x{thousand}_{number:04}', 'acc_none', 'Capture', 'f', 0, 0, 0, 0)" for number in range(1_000))
        world.running.sql(insert + ", ".join(rows))
    found = await auditing.audit(world.running.broker.database, size=PageSize(rows=20))
    assert len(found.violations) == MOST_VIOLATIONS + 1
    assert found.violations[-1].rule == "MORE_VIOLATIONS"
    # One page names some, and says that there are more.
    found = await auditing.audit(world.running.broker.database, size=PageSize(rows=5_000))
    assert 100 < len(found.violations) < MOST_VIOLATIONS
    assert [it for it in found.violations if it.description == "and more"]


@contextlib.asynccontextmanager
async def hammered(world: World) -> AsyncIterator[Counter[str]]:
    """Lets customers do everything at once, again and again; counts the rounds, by what stopped them short."""
    rounds: Counter[str] = Counter()
    accounts = [await live_through_everything(world) for _ in range(3)]

    async def hammer(account: Account) -> None:
        pack = await world.new_pack(account.service, pack_credits=7, validity=timedelta(hours=2))
        while True:
            try:
                await world.buy(account, pack.pack_id)
                session = await world.reserved(account, 3, ttl=timedelta(minutes=5))
                await world.capture(session, 1, keep_open=True)
                await extend(world, session, 1)
                await world.capture(session)
                await refund(world, session, 1)
                await refund(world, await charged(world, account, 2))
                await world.release(await world.reserved(account, 1))
                await world.reserved(account, 1, ttl=timedelta(seconds=1))
                await grant_credits(world, account, 1, expire_time=world.clock.now + timedelta(minutes=1))
                world.clock.move(timedelta(seconds=10))
                rounds["whole"] += 1
            except grpc.aio.AioRpcError as error:
                # The others move the clock, and what was resolved is pruned.
                rounds[parse_error(error).reason] += 1

    async with asyncio.TaskGroup() as tasks:
        hammering = [tasks.create_task(hammer(account)) for account in accounts for _ in range(2)]
        try:
            yield rounds
        finally:
            for task in hammering:
                task.cancel()


async def test_audits_beside_a_hammered_broker_raise_no_false_alarm(own_world: World) -> None:
    database = own_world.running.broker.database
    async with hammered(own_world) as rounds:
        for number in range(24):
            found = await auditing.audit(database, size=PageSize(entries=1) if number % 2 else None)
            assert found.violations == ()
            if number % 4 == 0:
                await prune(database, shards=1, before=own_world.clock.now - timedelta(minutes=10))
            await asyncio.sleep(0.02)
    assert rounds["whole"] > 0, rounds
    found = await auditing.audit(database)
    assert found.violations == ()
    assert found.entries_checked > 100


async def test_entries_may_outlive_their_reservations_if_those_were_pruned(own_world: World) -> None:
    world = own_world
    database = world.running.broker.database
    account = await live_through_everything(world)
    await world.capture(await world.reserved(account, 2))
    world.clock.move(timedelta(minutes=1))
    horizon = world.clock.now
    late = await world.reserved(account, 3)
    await world.capture(late)
    assert (await prune(database, shards=1, before=horizon)).reservations > 0
    assert (await auditing.audit(database)).violations == ()
    world.running.sql("DELETE FROM reservations WHERE reservation_id = ?", late)
    assert [it.rule for it in (await auditing.audit(database)).violations] == ["RESERVATION_EXISTS"]


def audit_command(url: str, *options: str) -> Result:
    return CliRunner().invoke(command, ["audit", "--database", url, *options], standalone_mode=False)


async def test_the_command_tells_with_its_exit_code_whether_the_books_agree(own_world: World) -> None:
    world, url = own_world, own_world.running.database_url
    account = await world.new_account()
    agreed = await asyncio.to_thread(audit_command, url)
    assert (agreed.return_value, agreed.output) == (0, "1 account, 1 entry: the books agree\n")
    world.running.sql("UPDATE accounts SET entry_count = 0")
    broken = await asyncio.to_thread(audit_command, url)
    assert broken.return_value == 1
    assert broken.output == (
        f"ENTRY_COUNT {account.id}: 0 is stored, 1 follows from the rows\n1 account, 1 entry: 1 difference\n"
    )
    told = json.loads((await asyncio.to_thread(audit_command, url, "--json")).output)
    assert told == {
        "accounts_checked": 1,
        "entries_checked": 1,
        "ledger_credits": 100,
        "reserved_credits": 0,
        "captured_credits": 0,
        "violations": [
            {"account_id": account.id, "rule": "ENTRY_COUNT", "description": "0 is stored, 1 follows from the rows"}
        ],
    }


async def test_the_command_says_when_the_database_cannot_be_used(database_url: str) -> None:
    result = await asyncio.to_thread(audit_command, database_url)
    assert isinstance(result.exception, StartupError)
