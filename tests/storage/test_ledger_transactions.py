"""A batch of the ledger is all or nothing, and several brokers' batches never overwrite each other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta

import asyncpg
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, select

from broker_service.domain.book import Book, Changes
from broker_service.domain.errors import InvariantError
from broker_service.domain.records import Operation, TrialClaim
from broker_service.domain.references import References
from broker_service.storage import tables
from broker_service.storage.database import Database, open_database
from broker_service.storage.errors import DuplicateRowError, StorageConflictError
from broker_service.storage.ledger import LedgerLane
from tests.databases import DatabaseKind, only_on, row_lock, run_sql, write_lock
from tests.storage.ledger_pages import NOW, account, all_of, commit, grant, load, page, purchase, reservation, write

ACCOUNT = References(accounts={"acc"})

Lanes = tuple[LedgerLane, LedgerLane]


@pytest.fixture
async def lanes(database: Database, books_url: str) -> AsyncIterator[Lanes]:
    """Lanes of two brokers for one shard."""
    other = open_database(books_url)
    yield database.lane(0), other.lane(0)
    await other.close()


def everything(connection: Connection) -> dict[str, list[object]]:
    return {
        table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
        for table in tables.metadata.sorted_tables
    }


def add(amount: int) -> Callable[[dict[str, Book]], Iterable[Changes]]:
    """Returns a decision that adds to an account's credits what it has found there."""

    def decide(books: dict[str, Book]) -> Iterable[Changes]:
        found = books["acc"].account
        assert found is not None
        return (Changes(account=account(number=found.ledger_credits + amount)),)

    return decide


async def ledger_credits(lane: LedgerLane) -> int:
    found = (await load(lane, ACCOUNT))["acc"].account
    assert found is not None
    return found.ledger_credits


async def test_a_decision_that_raises_leaves_nothing_and_passes_through(database: Database) -> None:
    lane = database.lane(0)
    await write(lane, page())
    before = await database.read(everything)

    def decide(_books: dict[str, Book]) -> Iterable[Changes]:
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await commit(lane, ACCOUNT, decide)
    assert await database.read(everything) == before
    await commit(lane, ACCOUNT, add(5))
    assert await ledger_credits(lane) == 6


REFUSED: dict[str, tuple[type[Exception] | tuple[type[Exception], ...], Changes]] = {
    "an account that is there": (DuplicateRowError, Changes(account=account())),
    "a grant that is there": (DuplicateRowError, Changes(grants=(grant(grant_id="grt-1"),))),
    "a reservation that is there": (DuplicateRowError, Changes(reservations=page().reservations)),
    "an entry that is there": (DuplicateRowError, Changes(entries=page().entries)),
    "an operation that is there": (DuplicateRowError, Changes(operations=page().operations)),
    "a purchase that is there": (DuplicateRowError, Changes(purchases=page().purchases)),
    "a claim that is there": (DuplicateRowError, Changes(trial_claims=page().trial_claims)),
    "a token that is there": (DuplicateRowError, Changes(account_tokens=page().account_tokens)),
    "a journal entry that is there": (DuplicateRowError, Changes(journal_entries=page().journal_entries)),
    "negative credits of an account": (InvariantError, Changes(account=account("new", number=-1))),
    "negative credits of a grant": (InvariantError, Changes(grants=(grant(grant_id="new", number=-1),))),
    "an entry that moves nothing": (InvariantError, Changes(entries=page(number=0).entries)),
    "credits beyond 64 bits": ((OverflowError, asyncpg.DataError), Changes(account=account("new", number=2**63))),
}


@pytest.mark.parametrize("refused", REFUSED)
async def test_a_batch_with_a_row_that_is_refused_leaves_nothing(database: Database, refused: str) -> None:
    lane = database.lane(0)
    await write(lane, page())
    before = await database.read(everything)
    error, changes = REFUSED[refused]
    another = Changes(account=account("another"), grants=(grant("another", "grt"),))
    with pytest.raises(error) as raised:
        await write(lane, another, changes)
    assert "another" not in str(raised.value), "rows are no business of the log"
    assert await database.read(everything) == before
    await write(lane, another)
    assert await ledger_credits(lane) == 1


@only_on(DatabaseKind.POSTGRESQL, reason="nobody else writes to the file while a batch is decided")
@pytest.mark.parametrize("table", ["grants", "reservations", "purchases", "account_tokens"])
async def test_a_row_that_is_gone_when_it_is_to_change_is_a_conflict(
    database: Database, books_url: str, table: str
) -> None:
    lane, first = database.lane(0), page()
    await write(lane, first)

    def decide(_books: dict[str, Book]) -> Iterable[Changes]:
        run_sql(books_url, f"DELETE FROM {table}")
        return (Changes(account=account(number=9)), Changes(**{table: getattr(first, table)}))

    with pytest.raises(StorageConflictError):
        await commit(lane, all_of(first), decide)
    assert await ledger_credits(lane) == 1


async def test_two_brokers_that_change_one_account_lose_no_change(lanes: Lanes) -> None:
    """All that belongs to an account is as new as the account itself, once its row is locked."""
    everything_of = References(
        accounts={"acc"}, reservations={"rsv"}, purchases={"pur"}, operations={str(it) for it in range(200)}
    )
    await write(
        lanes[0],
        Changes(
            account=account(number=1),
            grants=(grant(number=1),),
            reservations=(reservation(number=1),),
            purchases=(purchase(),),
        ),
    )

    def count_up(books: dict[str, Book]) -> Iterable[Changes]:
        book = books["acc"]
        assert book.account is not None
        found = book.account.ledger_credits
        pay_time = book.purchases["pur"].pay_time or NOW
        assert book.grants["grt"].remaining_credits == found
        assert book.reservations["rsv"].reserved_credits == found
        assert (pay_time - NOW).days == len(book.operations) == found - 1
        return (
            Changes(
                account=account(number=found + 1),
                grants=(replace(book.grants["grt"], remaining_credits=found + 1),),
                reservations=(replace(book.reservations["rsv"], reserved_credits=found + 1),),
                purchases=(replace(book.purchases["pur"], pay_time=pay_time + timedelta(days=1)),),
                operations=(Operation("acc", str(found), "Capture", "f" * 32, NOW),),
            ),
        )

    async def keep_counting(lane: LedgerLane) -> None:
        for _ in range(60):
            await commit(lane, everything_of, count_up)

    await asyncio.gather(*(keep_counting(lane) for lane in lanes))
    assert [await ledger_credits(lane) for lane in lanes] == [121, 121]


async def test_two_brokers_that_name_accounts_in_another_order_never_deadlock(lanes: Lanes) -> None:
    account_ids = [f"acc-{number}" for number in range(20)]
    await write(lanes[0], *(Changes(account=account(it)) for it in account_ids))

    async def keep_writing(lane: LedgerLane, ordered: Iterable[str]) -> None:
        references = References(accounts=set(ordered))
        for number in range(40):
            await write(lane, *(Changes(account=account(it, number=number)) for it in ordered), references=references)

    await asyncio.gather(keep_writing(lanes[0], account_ids), keep_writing(lanes[1], account_ids[::-1]))


async def test_two_brokers_that_make_one_account_make_it_once(lanes: Lanes) -> None:
    for number in range(20):
        changes = Changes(account=account(str(number)), trial_claims=(TrialClaim(str(number), "sms", "acc", NOW),))
        ends = await asyncio.gather(*(write(lane, changes) for lane in lanes), return_exceptions=True)
        assert {type(end) for end in ends} == {DuplicateRowError, type(None)}


async def test_a_lock_held_too_long_is_a_conflict_and_leaves_nothing(
    impatient_database: Database, books_url: str
) -> None:
    lane = impatient_database.lane(0)
    await write(lane, Changes(account=account()))
    with write_lock(books_url):
        with pytest.raises(StorageConflictError):
            await commit(lane, ACCOUNT, add(1))
        with pytest.raises(StorageConflictError):
            await write(lane, Changes(account=account("new")))
    assert await ledger_credits(lane) == 0
    await commit(lane, ACCOUNT, add(1))
    await write(lane, Changes(account=account("new")))


async def test_a_lock_held_shortly_is_waited_for(database: Database, books_url: str) -> None:
    lane = database.lane(0)
    await write(lane, Changes(account=account()))
    with write_lock(books_url):
        waiting = asyncio.create_task(commit(lane, ACCOUNT, add(1)))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    await waiting
    assert await ledger_credits(lane) == 1


@only_on(DatabaseKind.POSTGRESQL, reason="SQLite locks the whole file")
async def test_a_locked_account_keeps_nobody_from_others(impatient_database: Database, books_url: str) -> None:
    lane = impatient_database.lane(0)
    await write(lane, Changes(account=account()), Changes(account=account("other")))
    with row_lock(books_url, "SELECT 1 FROM accounts WHERE account_id = 'acc' FOR UPDATE"):
        with pytest.raises(StorageConflictError):
            await commit(lane, ACCOUNT, add(1))
        await write(lane, Changes(account=account("other", number=5)), references=References(accounts={"other"}))
        assert len((await impatient_database.read(everything))["accounts"]) == 2
    assert await ledger_credits(lane) == 0


async def test_a_batch_that_is_given_up_is_done_or_not_and_stops_nothing(database: Database, books_url: str) -> None:
    lane = database.lane(0)
    await write(lane, page())
    for _ in range(3):
        with write_lock(books_url):
            given_up = asyncio.create_task(commit(lane, ACCOUNT, add(10)))
            await asyncio.sleep(0.05)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
        await commit(lane, ACCOUNT, add(1))
    assert await ledger_credits(lane) in {4 + 10 * given_up for given_up in range(4)}


async def test_what_was_answered_is_there_when_the_database_is_opened_again(database: Database, books_url: str) -> None:
    await write(database.lane(0), page(number=7))
    before = await database.read(everything)
    await database.close()
    again = open_database(books_url)
    assert await again.read(everything) == before
    assert await ledger_credits(again.lane(0)) == 7
    await again.close()
