"""Records of the ledger come out of every database as they went in."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, select

from broker_service.domain.book import Book, Changes
from broker_service.domain.decide import Verdict
from broker_service.domain.records import (
    AccountState,
    Allocation,
    Grant,
    PurchaseRefundState,
    PurchaseState,
    Reservation,
    ReservationState,
)
from broker_service.domain.references import References
from broker_service.storage import ledger_rows, tables
from broker_service.storage.database import Database
from broker_service.storage.ledger_rows import RecordRows
from tests.databases import run_sql
from tests.storage.ledger_pages import (
    LARGEST,
    LATER,
    NOW,
    account,
    all_of,
    book_of,
    grant,
    load,
    now,
    page,
    reservation,
    write,
)

TEXTS = {
    "empty": "",
    "null": "NULL",
    "json null": "null",
    "quotes": "'\"`$1 ? :name %s",
    "array": '{a,"b",NULL}',
    "backslashes": "\\ \\n \\u0041 \\\\",
    "control characters": "".join(map(chr, (*range(1, 32), 127, 128, 159))),
    "blanks": " \t\r\n  ",
    "many alphabets": "naïve – Привет 日本語 \u202e 😀 e\u0301 \ufeff",
    "long": "0123456789abcdef" * 16_384,
}
TIMES = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)


async def assert_kept(database: Database, written: Changes) -> None:
    lane = database.lane(0)
    await write(lane, written)
    assert await load(lane, all_of(written)) == {"acc": book_of(written)}
    for rows, records in (
        (ledger_rows.ACCOUNTS, [written.account]),
        (ledger_rows.GRANTS, written.grants),
        (ledger_rows.RESERVATIONS, written.reservations),
        (ledger_rows.ENTRIES, written.entries),
        (ledger_rows.OPERATIONS, written.operations),
        (ledger_rows.PURCHASES, written.purchases),
        (ledger_rows.PURCHASE_REFUNDS, written.purchase_refunds),
        (ledger_rows.PAYMENT_NOTICES, written.payment_notices),
        (ledger_rows.EVENTS, written.events),
        (ledger_rows.ACCOUNT_TOKENS, written.account_tokens),
        (ledger_rows.TRIAL_CLAIMS, written.trial_claims),
    ):
        assert await database.read(lambda connection, rows=rows: selected(connection, rows)) == list(records)  # type: ignore[misc]


def selected(connection: Connection, rows: "RecordRows[object]") -> list[object]:  # type: ignore[type-var]
    statement = select(rows.table).order_by(*rows.table.primary_key)
    return [rows.record_of_core(row) for row in connection.execute(statement)]


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_are_kept(database: Database, text: str) -> None:
    await assert_kept(database, page(text=TEXTS[text]))


@pytest.mark.parametrize("number", [1, 2**31, 2**53 + 1, LARGEST])
async def test_whole_numbers_are_kept(database: Database, number: int) -> None:
    await assert_kept(database, page(number=number))


@pytest.mark.parametrize("time", TIMES, ids=str)
async def test_instants_are_kept_to_the_microsecond(database: Database, time: datetime) -> None:
    await assert_kept(database, page(time=time))


async def test_a_journal_is_kept(database: Database, books_url: str) -> None:
    text = "".join(TEXTS[name] for name in TEXTS if name != "long")
    await write(database.lane(0), page(text=text, number=LARGEST))
    postings = "SELECT journal_entry_id, line, money_account, currency, amount_minor_units FROM journal_postings"
    assert sorted(run_sql(books_url, postings)) == [
        ("jnl-1", 1, text, "EUR", LARGEST),
        ("jnl-1", 2, text, "EUR", -LARGEST),
    ]
    entries = (
        "SELECT journal_entry_id, kind, provider_id, purchase_id, payout_id FROM journal_entries "
        "ORDER BY journal_entry_id"
    )
    assert run_sql(books_url, entries) == [
        ("jnl-1", "SALE", text, "pur-2", None),
        ("jnl-2", "PAYOUT", text, None, "pay-1"),
    ]


async def test_what_changes_is_written_back_and_the_rest_is_left(database: Database) -> None:
    lane = database.lane(0)
    first = page(text="before", number=5)
    assert first.account is not None
    await write(lane, first)
    changed = replace(
        first,
        account=replace(
            first.account,
            state=AccountState.SUSPENDED,
            ledger_credits=LARGEST,
            reserved_credits=1,
            entry_count=LARGEST,
            update_time=LATER,
            state_reason=TEXTS["quotes"],
            low_balance_credits=7,
        ),
        grants=(replace(first.grants[0], remaining_credits=0, reserved_credits=0), *first.grants[1:]),
        reservations=(
            replace(
                first.reservations[0],
                state=ReservationState.RELEASED,
                reserved_credits=LARGEST,
                captured_credits=2,
                released_credits=LARGEST - 2,
                refunded_credits=1,
                allocations=(Allocation("grt-1", LARGEST, 2, 1),),
                expire_time=LATER,
                resolve_time=LATER,
            ),
            first.reservations[1],
        ),
        purchases=(
            replace(
                first.purchases[0],
                state=PurchaseState.PAID,
                pay_time=LATER,
                gateway_reference=TEXTS["quotes"],
                checkout_url="https://pay.example",
                refunded_credits=1,
                refunded_minor_units=2,
                refunded_commission_minor_units=3,
            ),
            first.purchases[1],
        ),
        purchase_refunds=(
            replace(
                first.purchase_refunds[0],
                state=PurchaseRefundState.PAID,
                gateway_reference=TEXTS["quotes"],
                resolve_time=LATER,
            ),
            first.purchase_refunds[1],
        ),
        payment_notices=(replace(first.payment_notices[0], times_received=2), first.payment_notices[1]),
        account_tokens=(replace(first.account_tokens[0], expire_time=LATER), first.account_tokens[1]),
    )
    rewritten = replace(changed, entries=(), operations=(), journal_entries=(), trial_claims=(), events=())
    await write(lane, rewritten, references=all_of(first))
    assert await load(lane, all_of(first)) == {"acc": book_of(changed)}


ACCOUNT_CHANGES: dict[str, object] = {
    "state": AccountState.SUSPENDED,
    "ledger_credits": 9,
    "reserved_credits": 4,
    "entry_count": 9,
    "update_time": LATER,
    "state_reason": "why",
    "low_balance_credits": 9,
    "token_epoch": 9,
}
GRANT_CHANGES: dict[str, dict[str, object]] = {
    "credits spent": {"remaining_credits": 4, "reserved_credits": 0},
    "all spent": {"remaining_credits": 0, "reserved_credits": 0},
    "reserved": {"reserved_credits": 5},
    "revoked": {"revoked": True},
}


@pytest.mark.parametrize("field", ACCOUNT_CHANGES)
async def test_what_changes_alone_is_written_beside_accounts_that_change_otherwise(
    database: Database, field: str
) -> None:
    lane = database.lane(0)
    before = [account(account_id, number=5) for account_id in ("acc-1", "acc-2", "acc-3")]
    await write(lane, *(Changes(account=it) for it in before))
    after = [
        replace(before[0], **{field: ACCOUNT_CHANGES[field]}),
        replace(before[1], ledger_credits=8, update_time=LATER),
        replace(before[2], ledger_credits=7, state=AccountState.SUSPENDED),
    ]
    everyone = References(accounts={it.account_id for it in before})
    await write(lane, *(Changes(account=it) for it in after), references=everyone)
    books = await load(lane, everyone)
    assert [books[it.account_id].account for it in after] == after


async def test_grants_that_are_used_up_or_come_back_are_written_beside_others(database: Database) -> None:
    lane = database.lane(0)
    before = {name: grant(grant_id=name, number=5) for name in GRANT_CHANGES}
    named = References(accounts={"acc"}, grants=set(before))
    await write(lane, Changes(account=account(), grants=tuple(before.values())))
    for after in ({name: replace(it, **GRANT_CHANGES[name]) for name, it in before.items()}, before):
        await write(lane, Changes(grants=tuple(after.values())), references=named)
        assert (await load(lane, named))["acc"].grants == after
        unspent = {name: it for name, it in after.items() if it.remaining_credits}
        assert (await load(lane, References(accounts={"acc"})))["acc"].grants == unspent


async def test_the_last_version_of_a_row_counts(database: Database) -> None:
    lane = database.lane(0)
    versions = [account(number=number) for number in range(5)]
    await write(lane, *(Changes(account=version) for version in versions))
    assert (await load(lane, References(accounts={"acc"})))["acc"].account == versions[-1]


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1_000])
async def test_any_number_of_rows_is_written_and_loaded(database: Database, count: int) -> None:
    lane = database.lane(0)
    account_ids = [f"acc-{number:04}" for number in range(count)]
    everyone = References(accounts=set(account_ids), grants={f"grt-{it}" for it in account_ids})
    for amount in (1, 2):
        changes = [
            Changes(account=account(it, number=amount), grants=(grant(it, f"grt-{it}", number=2),))
            for it in account_ids
        ]
        await write(lane, *changes, references=everyone)
    books = await load(lane, everyone)
    assert [books[it].account for it in account_ids] == [account(it, number=2) for it in account_ids]
    assert all(list(books[it].grants) == [f"grt-{it}"] for it in account_ids)


async def test_an_account_comes_with_its_unspent_grants_and_its_overdue_reservations(database: Database) -> None:
    lane = database.lane(0)
    tick = timedelta(microseconds=1)

    def spent(grant_id: str) -> Grant:
        return replace(grant(grant_id=grant_id, number=3), remaining_credits=0, reserved_credits=0)

    def due(reservation_id: str, expire_time: datetime, **changed: object) -> Reservation:
        return replace(reservation(reservation_id=reservation_id), expire_time=expire_time, **changed)

    await write(
        lane,
        Changes(
            account=account(),
            grants=(grant(grant_id="unspent"), spent("spent"), spent("named")),
            reservations=(
                due("long ago", NOW - timedelta(days=9)),
                due("now", NOW),
                due("in a tick", NOW + tick),
                due("named", NOW + tick),
                due("resolved", NOW, state=ReservationState.CAPTURED, captured_credits=1),
            ),
        ),
        Changes(account=account("other"), grants=(grant("other", "other's"),), reservations=(reservation("other"),)),
    )
    book = (await load(lane, References(accounts={"acc"}, grants={"named"}, reservations={"named"})))["acc"]
    assert set(book.grants) == {"unspent", "named"}
    assert set(book.reservations) == {"long ago", "now", "named"}


async def test_a_refund_s_grants_come_along_even_if_they_are_spent(database: Database) -> None:
    lane = database.lane(0)
    await write(lane, page(number=3))
    references = References(accounts={"acc"}, reservations={"rsv-2"}, refunds={"rsv-2"})
    assert "grt-3" not in (await load(lane, references))["acc"].grants
    names_it = replace(page().reservations[1], allocations=(Allocation("grt-3", 1, 1, 1),))
    await write(lane, Changes(reservations=(names_it,)), references=references)
    assert "grt-3" in (await load(lane, references))["acc"].grants


async def test_nothing_is_found_where_nothing_is(database: Database) -> None:
    references = all_of(page())
    book = (await load(database.lane(0), references))["acc"]
    assert book == replace(book_of(Changes()), account_id="acc")
    assert await load(database.lane(0), References()) == {}


async def test_a_shard_s_lane_sees_its_own_shard_alone(database: Database) -> None:
    first, second = database.lane(0), database.lane(1)
    tables_of_shards = {table.name for table in tables.metadata.sorted_tables if "shard_id" in table.c}
    assert tables_of_shards == {"accounts", "grants", "reservations", "entries", "operations", "purchases"}
    unsharded = (
        "journal_entries",
        "trial_claims",
        "account_tokens",
        "purchase_refunds",
        "payment_notices",
        "payment_methods",
        "webhooks",
        "events",
    )
    written = replace(page(number=7), **dict.fromkeys(unsharded, ()))
    await write(first, written)
    assert (await load(second, all_of(written)))["acc"] == book_of(Changes())
    elsewhere = replace(written, account=account(number=1))
    await write(second, elsewhere)
    await write(second, Changes(account=account(number=2)), references=References(accounts={"acc"}))
    assert (await load(first, all_of(written)))["acc"] == book_of(written)


async def test_time_is_never_behind_an_account_s_last_change(database: Database) -> None:
    lane = database.lane(0)
    await write(lane, Changes(account=account(time=LATER)), Changes(account=account("other")))

    def verdict(_books: dict[str, Book], instant: datetime) -> Verdict:
        return Verdict((), (), instant)

    instants = [
        (await lane.commit(References(accounts=accounts), now, verdict)).now
        for accounts in ({"other"}, {"acc"}, {"acc", "other"}, set[str]())
    ]
    assert instants == [NOW, LATER, LATER, NOW]
