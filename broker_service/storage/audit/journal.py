"""Pages of the journal: each movement of money balances, and has its reason."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, exists, not_, select

from broker_service.domain.identities import account_id_within, shard_of
from broker_service.domain.purchases import SOLD_STATES
from broker_service.domain.records import JournalKind
from broker_service.storage import tables
from broker_service.storage.audit.bookings import BOOKING_RULES, bookings_of_refund
from broker_service.storage.audit.checks import LAST_ID, MOST_ROWS, behind
from broker_service.storage.audit.findings import Page, Violation
from broker_service.storage.audit.payouts import PAYOUT_KINDS, payout_entries_without_payout
from broker_service.storage.audit.purchase_refunds import refunds_by_id
from broker_service.storage.audit.sums import amount_of, exact_sum, is_not_zero

# Looks at some entries of a kind; yields violations for those that have no reason. `shards` is the number of shards.
Foundation = Callable[[Connection, int, Sequence[Any]], Iterator[Violation]]


def audit_journal(connection: Connection, shards: int, first_id: str, rows: int) -> Page:
    """Checks the journal from an id on, as many entries as a page holds: each balances, and is of something."""
    journal_entries = connection.execute(_JOURNAL, {"first_id": first_id, "rows": rows}).all()
    is_last = len(journal_entries) < rows
    last_id = LAST_ID if is_last else journal_entries[-1].journal_entry_id
    span = {"first_id": first_id, "last_id": last_id}
    return Page(
        next_id=None if is_last else behind(last_id),
        violations=(
            *_unfounded(connection, shards, journal_entries),
            *_unbalanced(connection, span),
            *_headless(connection, span),
        ),
    )


_JOURNAL = (
    select(
        tables.journal_entries.c.journal_entry_id,
        tables.journal_entries.c.kind,
        tables.journal_entries.c.purchase_id,
        tables.journal_entries.c.payout_id,
    )
    .where(tables.journal_entries.c.journal_entry_id >= bindparam("first_id"))
    .order_by(tables.journal_entries.c.journal_entry_id)
    .limit(bindparam("rows"))
)


def _unfounded(connection: Connection, shards: int, journal_entries: Iterable[Any]) -> Iterator[Violation]:
    """Names entries of the journal without a reason; one of a kind that is not known here cannot be checked."""
    by_kind: dict[str, list[Any]] = defaultdict(list)
    for row in journal_entries:
        by_kind[row.kind].append(row)
    for kind, rows in by_kind.items():
        if kind in _FOUNDATIONS:
            yield from _FOUNDATIONS[kind](connection, shards, rows)
            continue
        for row in rows:
            yield Violation("", "JOURNAL_KIND", f"{row.journal_entry_id} is of the unknown kind {row.kind}")


def _sales(connection: Connection, shards: int, rows: Sequence[Any]) -> Iterator[Violation]:
    """Names sales of no paid purchase."""
    by_shard: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        account_id = account_id_within(row.purchase_id or "", "pur")
        if account_id is None or row.journal_entry_id != f"sale:{row.purchase_id}":
            yield Violation("", "SALE_IS_BOOKED", f"{row.journal_entry_id} is of no purchase: {row.purchase_id}")
        else:
            by_shard[shard_of(account_id, shards)].append(row)
    purchases = tables.purchases.c
    for shard_id, booked in by_shard.items():
        statement = select(purchases.purchase_id).where(
            purchases.shard_id == shard_id,
            purchases.purchase_id.in_([row.purchase_id for row in booked]),
            purchases.state.in_([state.value for state in SOLD_STATES]),
        )
        paid = set(connection.execute(statement).scalars())
        for row in booked:
            if row.purchase_id not in paid:
                description = f"{row.journal_entry_id} is booked, and {row.purchase_id} is not paid"
                yield Violation("", "SALE_IS_BOOKED", description)


def _returns(connection: Connection, _shards: int, rows: Sequence[Any]) -> Iterator[Violation]:
    """Names movements that no refund or chargeback comes to."""
    refund_ids = [row.journal_entry_id.split(":")[1] for row in rows if ":" in row.journal_entry_id]
    booked = {
        (entry.kind.value, entry.journal_entry_id, entry.purchase_id)
        for refund in refunds_by_id(connection, refund_ids)
        for entry in bookings_of_refund("", refund)
    }
    for row in rows:
        if (row.kind, row.journal_entry_id, row.purchase_id) not in booked:
            description = f"{row.journal_entry_id} is booked, and nothing of {row.purchase_id} was given back by it"
            yield Violation("", BOOKING_RULES[JournalKind(row.kind)], description)


# What there has to be for an entry of each kind; a kind that is not here is named as unknown.
_FOUNDATIONS: Mapping[str, Foundation] = {
    JournalKind.SALE.value: _sales,
    **dict.fromkeys([kind.value for kind in BOOKING_RULES if kind is not JournalKind.SALE], _returns),
    **dict.fromkeys(PAYOUT_KINDS, payout_entries_without_payout),
}


def _in_journal_span(table: Table) -> ColumnElement[bool]:
    key = table.c.journal_entry_id
    return and_(key >= bindparam("first_id"), key <= bindparam("last_id"))


def _unbalanced(connection: Connection, span: dict[str, str]) -> Iterator[Violation]:
    for row in connection.execute(_UNBALANCED, span):
        amount = amount_of(row, "amount")
        description = f"{row.journal_entry_id} sums to {amount} minor units of {row.currency}"
        yield Violation("", "JOURNAL_SUMS_TO_ZERO", description)


def _headless(connection: Connection, span: dict[str, str]) -> Iterator[Violation]:
    for journal_entry_id in connection.execute(_HEADLESS, span).scalars():
        yield Violation("", "JOURNAL_ENTRY_EXISTS", f"postings are of {journal_entry_id}, which is not in the journal")


_SUMS = (
    select(
        tables.journal_postings.c.journal_entry_id,
        tables.journal_postings.c.currency,
        *exact_sum("amount", [tables.journal_postings.c.amount_minor_units]),
    )
    .where(_in_journal_span(tables.journal_postings))
    .group_by(tables.journal_postings.c.journal_entry_id, tables.journal_postings.c.currency)
    .subquery("sums")
)
_UNBALANCED = (
    select(_SUMS)
    .where(is_not_zero(_SUMS, "amount"))
    .order_by(_SUMS.c.journal_entry_id, _SUMS.c.currency)
    .limit(MOST_ROWS)
)
_HEADLESS = (
    select(tables.journal_postings.c.journal_entry_id)
    .distinct()
    .where(
        _in_journal_span(tables.journal_postings),
        not_(exists().where(tables.journal_entries.c.journal_entry_id == tables.journal_postings.c.journal_entry_id)),
    )
    .order_by(tables.journal_postings.c.journal_entry_id)
    .limit(MOST_ROWS)
)
