"""The audit finds nothing in books that the broker wrote, and every rule that a row breaks."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from google.type.money_pb2 import Money

from broker_service.storage.audit import Audit, audit
from broker_service.storage.database import open_database
from tests.contract.broker_world.running_broker import run_sql, running_broker
from tests.contract.broker_world.world import Account, World, new_world


async def live_through_everything(world: World) -> Account:
    """Buys, reserves, captures, releases and lets expire, with more than one grant; returns the account."""
    account = await world.new_account(trial_credits=10)
    pack = await world.new_pack(account.service, pack_credits=20, price=Money(currency_code="EUR", units=3))
    yen = Money(currency_code="JPY", units=101)
    short = await world.new_pack(account.service, pack_credits=30, price=yen, validity=timedelta(days=1))
    await world.buy(account, pack.pack_id)
    await world.buy(account, short.pack_id)
    await world.pay((await world.purchase(account, pack.pack_id)).purchase_id, succeeds=False)
    await world.capture(await world.reserved(account, 12), 7)
    session = await world.reserved(account, 15)
    await world.capture(session, 4, keep_open=True)
    await world.release(await world.reserved(account, 3))
    await world.reserved(account, 2, ttl=timedelta(seconds=1))
    world.clock.move(timedelta(hours=1))
    outlives_its_grant = await world.reserved(account, 8, ttl=timedelta(days=3))
    world.clock.move(timedelta(days=1))
    await world.capture(outlives_its_grant, 1, keep_open=True)
    await world.reserved(account, 5)
    return account


@pytest.fixture(scope="module")
async def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with everything in it, twice."""
    path = tmp_path_factory.mktemp("audited") / "iap.db"
    async with running_broker(path) as running:
        world = await new_world(running)
        for _ in range(2):
            await live_through_everything(world)
    run_sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def books(lived_in: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may corrupt."""
    return Path(shutil.copy(lived_in, tmp_path))


async def audited_file(path: Path) -> Audit:
    database = open_database(f"sqlite:///{path}")
    try:
        return await database.read(audit)
    finally:
        await database.close()


async def audited(world: World) -> Audit:
    return await world.running.broker.database.read(audit)


async def test_books_that_the_broker_wrote_agree(own_world: World) -> None:
    world = own_world
    account = await live_through_everything(world)
    found = await audited(world)
    assert found.violations == ()
    ledger_credits, reserved_credits, _ = await world.balance(account)
    assert (found.ledger_credits, found.reserved_credits) == (ledger_credits, reserved_credits)
    assert (found.accounts_checked, found.entries_checked) == (1, len(await world.entries(account)))
    assert found.captured_credits == 7 + 4 + 1
    await live_through_everything(world)
    assert ((await audited(world)).accounts_checked, (await audited(world)).violations) == (2, ())


async def test_empty_books_agree(own_world: World) -> None:
    assert await audited(own_world) == Audit(0, 0, 0, 0, 0, ())


CORRUPTIONS = {
    "UPDATE accounts SET ledger_credits = ledger_credits + 1": {"LEDGER_IS_SUM_OF_ENTRIES", "LEDGER_IS_SUM_OF_GRANTS"},
    "UPDATE accounts SET reserved_credits = reserved_credits - 1": {
        "RESERVED_IS_SUM_OF_GRANTS",
        "RESERVED_IS_SUM_OF_RESERVATIONS",
    },
    "UPDATE accounts SET entry_count = entry_count + 1": {"ENTRY_COUNT"},
    "DELETE FROM accounts": {"ACCOUNT_EXISTS"},
    "DELETE FROM entries WHERE sequence = 2": {
        "SEQUENCE_GAPLESS",
        "RUNNING_TOTAL",
        "LEDGER_IS_SUM_OF_ENTRIES",
        "ENTRY_COUNT",
    },
    "UPDATE entries SET ledger_credits_after = ledger_credits_after + 1 WHERE sequence = 2": {"RUNNING_TOTAL"},
    "UPDATE entries SET sequence = sequence + 100 WHERE sequence = (SELECT max(sequence) FROM entries)": {
        "SEQUENCE_GAPLESS"
    },
    "UPDATE entries SET kind = 'REFUND' WHERE kind = 'CAPTURE' AND sequence = (SELECT max(sequence) FROM entries)": {
        "CAPTURED_IS_SUM_OF_ENTRIES"
    },
    "UPDATE grants SET remaining_credits = remaining_credits - 1 WHERE remaining_credits > reserved_credits": {
        "LEDGER_IS_SUM_OF_GRANTS"
    },
    "UPDATE grants SET reserved_credits = reserved_credits - 1 WHERE reserved_credits > 0": {
        "GRANT_RESERVED",
        "RESERVED_IS_SUM_OF_GRANTS",
    },
    "DELETE FROM grants WHERE reserved_credits > 0": {
        "PURCHASE_IS_GRANTED",
        "GRANT_RESERVED",
        "LEDGER_IS_SUM_OF_GRANTS",
        "RESERVED_IS_SUM_OF_GRANTS",
    },
    "UPDATE reservations SET captured_credits = captured_credits - 1 WHERE state = 'CAPTURED'": {
        "CAPTURED_IS_SUM_OF_ENTRIES",
        "RESOLVED_ONCE",
    },
    "UPDATE reservations SET released_credits = released_credits - 1 WHERE state = 'RELEASED'": {"RESOLVED_ONCE"},
    "UPDATE reservations SET state = 'RELEASED' WHERE state = 'ACTIVE'": {
        "RESOLVED_ONCE",
        "GRANT_RESERVED",
        "RESERVED_IS_SUM_OF_RESERVATIONS",
    },
    "UPDATE journal_postings SET amount_minor_units = amount_minor_units + 1 WHERE line = 1": {"JOURNAL_SUMS_TO_ZERO"},
    "UPDATE journal_postings SET currency = 'USD' WHERE line = 1": {"JOURNAL_SUMS_TO_ZERO"},
    "DELETE FROM journal_postings WHERE line = 3": {"JOURNAL_SUMS_TO_ZERO"},
    "UPDATE purchases SET state = 'FAILED' WHERE state = 'PAID'": {"PURCHASE_IS_GRANTED"},
    "UPDATE purchases SET state = 'PAID' WHERE state = 'FAILED'": {"PURCHASE_IS_GRANTED"},
    "UPDATE purchases SET credits = credits + 1 WHERE state = 'PAID'": {"PURCHASE_IS_GRANTED"},
}

# Rows that are well-formed one by one and contradict each other.
UNCONFIRMED = {
    "a sale that was never booked": [
        "DELETE FROM journal_postings",
        "DELETE FROM journal_entries",
    ],
    "a sale booked at another price": [
        "UPDATE journal_postings SET amount_minor_units = amount_minor_units * 2",
    ],
    "a commission that is not the purchase's": [
        "UPDATE journal_postings SET amount_minor_units = amount_minor_units - 1 WHERE money_account = 'commission'",
        "UPDATE journal_postings SET amount_minor_units = amount_minor_units + 1"
        " WHERE money_account LIKE 'provider_payable%'",
    ],
    "a sale owed to another provider": [
        "UPDATE journal_postings SET money_account = 'provider_payable:prv_other'"
        " WHERE money_account LIKE 'provider_payable%'",
    ],
    "a capture entry of another reservation": [
        "UPDATE entries SET reservation_id = (SELECT reservation_id FROM reservations WHERE state = 'RELEASED')"
        " WHERE kind = 'CAPTURE'",
    ],
    "a capture that went to the wrong counterpart": [
        "UPDATE entries SET counterpart = 'expired' WHERE kind = 'CAPTURE'",
    ],
    "a reservation whose parts do not add up": [
        "UPDATE reservations SET allocations = '[]' WHERE state = 'CAPTURED'",
    ],
}


async def test_books_that_were_closed_agree(books: Path) -> None:
    found = await audited_file(books)
    assert (found.accounts_checked, found.violations) == (2, ())


@pytest.mark.parametrize("corruption", CORRUPTIONS)
async def test_a_corrupted_row_breaks_the_rules_that_it_should(books: Path, corruption: str) -> None:
    run_sql(books, corruption)
    found = await audited_file(books)
    assert {violation.rule for violation in found.violations} >= CORRUPTIONS[corruption]
    assert all(violation.description for violation in found.violations)


@pytest.mark.parametrize("corruption", UNCONFIRMED)
async def test_rows_that_contradict_each_other_are_found(books: Path, corruption: str) -> None:
    for statement in UNCONFIRMED[corruption]:
        run_sql(books, statement)
    assert (await audited_file(books)).violations, corruption


async def test_a_violation_names_its_account(books: Path) -> None:
    (account_id,) = run_sql(books, "SELECT max(account_id) FROM accounts")[0]
    run_sql(books, "UPDATE accounts SET entry_count = 0 WHERE account_id = ?", account_id)
    (violation,) = (await audited_file(books)).violations
    assert (violation.account_id, violation.rule) == (account_id, "ENTRY_COUNT")
