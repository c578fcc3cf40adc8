"""The audit names the rule that a corrupted row breaks, whatever is in the row."""

from collections.abc import AsyncIterator

import pytest

from broker_service.storage.audit import PageSize
from broker_service.storage.database import Database, open_database
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import new_world
from tests.databases import DatabaseKind, DatabaseMaker, only_on, run_sql
from tests.storage.broker_life import live_through_everything
from tests.storage.corruptions import CORRUPTIONS, LEAST, MOST
from tests.storage.undone_changes import audit_after, audits_after

SHARDS = 2
BOOKS_AS_A_WHOLE = {"BOOKS_SUM_TO_ZERO", "SALE_IS_BOOKED"}


# What breaks each rule for the first time, and all that goes to the limits of 64 bits: the rows are read by the same
# statements on both kinds of database, apart from how they count.
ON_BOTH = [
    corruption
    for number, (corruption, rules) in enumerate(CORRUPTIONS.items())
    if rules - set[str]().union(*list(CORRUPTIONS.values())[:number])
    or str(MOST) in corruption
    or str(LEAST) in corruption
]


@pytest.fixture(scope="module")
async def lived_in_url(database_kind: DatabaseKind, session_databases: DatabaseMaker) -> str:
    """A database with everything in it, several times, and no CHECK on what a test may write."""
    url = session_databases.make(database_kind)
    async with running_broker(url, shards=SHARDS) as running:
        world = await new_world(running)
        # By their random ids: sooner or later there are two in each. Two of all get money back: of what breaks on
        # every row, a page names a hundred.
        while min(_accounts_by_shard(url)) < 2:
            before = _accounts_with_refunds(url)
            await live_through_everything(world, gets_money_back=before < SHARDS)
    if database_kind is DatabaseKind.POSTGRESQL:
        constraints = (
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
        )
        for table, constraint in run_sql(url, constraints):
            run_sql(url, f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    return url


def _accounts_by_shard(url: str) -> list[int]:
    count = "SELECT count(*) FROM accounts WHERE shard_id = ?"
    return [run_sql(url, count, shard_id)[0][0] for shard_id in range(SHARDS)]


def _accounts_with_refunds(url: str) -> int:
    ((count,),) = run_sql(url, "SELECT count(DISTINCT account_id) FROM purchase_refunds")
    return int(count)


@pytest.fixture(scope="module")
async def lived_in(lived_in_url: str) -> AsyncIterator[Database]:
    """That database, opened once: statements that are long to compile are compiled once."""
    database = open_database(lived_in_url)
    yield database
    await database.close()


async def test_books_that_were_closed_agree(lived_in: Database, lived_in_url: str) -> None:
    found = await audit_after(lived_in)
    assert (found.accounts_checked, found.violations) == (sum(_accounts_by_shard(lived_in_url)), ())


@pytest.mark.parametrize("corruption", ON_BOTH)
async def test_a_corrupted_row_breaks_the_rules_that_it_should(lived_in: Database, corruption: str) -> None:
    await assert_broken_rules_are_named(lived_in, corruption)


@only_on(DatabaseKind.SQLITE, reason="PostgreSQL is sent the same statements, and each rule is broken on it once")
@pytest.mark.parametrize("corruption", [it for it in CORRUPTIONS if it not in ON_BOTH])
async def test_other_corrupted_rows_break_the_rules_that_they_should(lived_in: Database, corruption: str) -> None:
    await assert_broken_rules_are_named(lived_in, corruption)


async def assert_broken_rules_are_named(lived_in: Database, corruption: str) -> None:
    found = await audit_after(lived_in, corruption)
    assert {violation.rule for violation in found.violations} >= CORRUPTIONS[corruption]
    assert all(violation.description for violation in found.violations)


# A page for every row takes its time, and what is on a page is read alike whatever is wrong with it.
@pytest.mark.parametrize("corruption", list(CORRUPTIONS)[::16])
async def test_pages_of_a_row_find_what_one_page_finds(lived_in: Database, corruption: str) -> None:
    found, paged = await audits_after(lived_in, [corruption], None, PageSize(rows=1))
    assert set(paged.violations) == set(found.violations)


@pytest.mark.parametrize(
    ("table", "change", "rule"),
    [
        ("accounts", "entry_count = 0", "ENTRY_COUNT"),
        ("accounts", "shard_id = 1 - shard_id", "SHARD_OF_ACCOUNT"),
        ("entries", "counterpart = 'issued'", "COUNTERPART_OF_KIND"),
        ("reservations", "state = 'NONSENSE'", "STATE_KNOWN"),
        ("grants", "spent = NOT spent", "GRANT_SPENT"),
        ("operations", "released_credits = -1", "OPERATION_IN_RANGE"),
        ("purchases", "credits = credits + 1", "PURCHASE_IS_GRANTED"),
    ],
)
async def test_a_violation_names_its_account(
    lived_in: Database, lived_in_url: str, table: str, change: str, rule: str
) -> None:
    ((account_id,),) = run_sql(lived_in_url, "SELECT max(account_id) FROM accounts")
    found = await audit_after(lived_in, f"UPDATE {table} SET {change} WHERE account_id = '{account_id}'")
    assert rule in {violation.rule for violation in found.violations}
    assert {it.account_id for it in found.violations if it.rule not in BOOKS_AS_A_WHOLE} == {account_id}
