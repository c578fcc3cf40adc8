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
from broker_service.storage.database import Database, open_database
from mesh_runtime.startup_errors import StartupError
from tests.contract.broker_world.operations import charged, extend, grant_credits, refund
from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, new_world
from tests.databases import DatabaseKind, DatabaseMaker
from tests.storage.broker_life import live_through_everything
from tests.storage.undone_changes import audits_after

LIVES = 3
# As many audits, and as many rounds of those who hammer the broker meanwhile, at least.
AUDITS, ROUNDS = 12, 12


@pytest.fixture(scope="module")
async def lived_in_url(database_kind: DatabaseKind, session_databases: DatabaseMaker) -> str:
    """The URL of books with as many lives in them; tests that only read them share them."""
    url = session_databases.make(database_kind)
    async with running_broker(url) as running:
        world = await new_world(running)
        for _ in range(LIVES):
            await live_through_everything(world)
    return url


@pytest.fixture(scope="module")
async def lived_in(lived_in_url: str) -> AsyncIterator[Database]:
    database = open_database(lived_in_url)
    yield database
    await database.close()


async def pages_of(database: Database, size: PageSize) -> list[Page]:
    """Reads all the pages of an audit, each in a snapshot of its own."""
    pages = audit_pages(1, size)
    read: list[Page] = []
    work = next(pages)
    while True:
        read.append(await database.read(work))
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
    assert await database.read(audit) == found


async def test_empty_books_agree(own_world: World) -> None:
    assert await auditing.audit(own_world.running.broker.database) == Audit(0, 0, 0, 0, 0, ())


async def test_what_is_found_does_not_depend_on_the_size_of_pages(
    lived_in: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await auditing.audit(lived_in)
    assert (found.accounts_checked, found.violations) == (LIVES, ())
    for size in (PageSize(rows=1), PageSize(rows=2), PageSize(rows=3), PageSize(rows=4), PageSize(entries=1)):
        assert await auditing.audit(lived_in, size=size) == found
    monkeypatch.setattr(reservations, "_MOST_LINED_UP", 1)
    assert await auditing.audit(lived_in) == found


async def test_a_page_holds_no_more_than_it_may(lived_in: Database) -> None:
    async def accounts_by_page(size: PageSize) -> list[int]:
        figures = [page.figures.accounts for page in await pages_of(lived_in, size)]
        return [accounts for accounts in figures if accounts]

    assert await accounts_by_page(PageSize(rows=2)) == [2, 1]
    one_by_one = await pages_of(lived_in, PageSize(rows=1))
    assert [page.figures.accounts for page in one_by_one if page.figures.accounts] == [1] * LIVES
    entries_of_one = max(page.figures.entries for page in one_by_one)
    assert await accounts_by_page(PageSize(rows=LIVES, entries=2 * entries_of_one)) == [2, 1]
    # An account is never divided.
    assert await accounts_by_page(PageSize(rows=LIVES, entries=1)) == [1] * LIVES


@pytest.mark.parametrize("entries", [0, 1, 199_999, 200_000, 1_000_000, 10**9])
def test_each_reservation_is_in_one_part(entries: int) -> None:
    parts = reservations.parts_of(entries)
    assert 1 <= len(parts) <= 32
    for ending in ("", "2", "7", "8", "A", "a", "m", "z", "~", "é"):
        assert sum(part.first_ending <= ending < part.end_ending for part in parts) == 1


async def test_broken_books_do_not_flood_the_report(lived_in: Database) -> None:
    insert = (
        "INSERT INTO operations (shard_id, operation_id, account_id, kind, fingerprint, time, captured_credits,"
        " released_credits, refunded_credits) VALUES "
    )
    rows = (f"(0, 'x{number:04}', 'acc_none', 'Capture', 'f', 0, 0, 0, 0)" for number in range(2_000))
    many_pages, one_page = await audits_after(
        lived_in, [insert + ", ".join(rows)], PageSize(rows=20), PageSize(rows=5_000)
    )
    assert len(many_pages.violations) == MOST_VIOLATIONS + 1
    assert many_pages.violations[-1].rule == "MORE_VIOLATIONS"
    # One page names some, and says that there are more.
    assert 100 < len(one_page.violations) < MOST_VIOLATIONS
    assert [it for it in one_page.violations if it.description == "and more"]


@contextlib.asynccontextmanager
async def hammered(world: World) -> AsyncIterator[Counter[str]]:
    """Lets customers do everything at once, again and again; counts the rounds, by what stopped them short."""
    rounds: Counter[str] = Counter()
    accounts = [await live_through_everything(world), *[await world.new_account() for _ in range(2)]]

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
        number = 0
        # However slow the machine is, there is something to meet.
        while number < AUDITS or rounds["whole"] < ROUNDS:
            found = await auditing.audit(database, size=PageSize(entries=1) if number % 2 else None)
            assert found.violations == ()
            if number % 4 == 0:
                await prune(database, shards=1, before=own_world.clock.now - timedelta(minutes=10))
            number += 1
            await asyncio.sleep(0.02)
    assert (await auditing.audit(database)).violations == ()


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
