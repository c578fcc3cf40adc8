"""Pages of payouts: each is booked once, with its amount, and is resolved as its state says."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from broker_service.domain.payouts import movements_of
from broker_service.domain.records import JournalEntry, JournalKind, Payout, PayoutState, Posting
from broker_service.storage import tables
from broker_service.storage.audit.checks import behind
from broker_service.storage.audit.findings import Page, Violation
from broker_service.storage.ledger_rows import PAYOUTS

PAYOUT_KINDS = tuple(kind.value for kind in (JournalKind.PAYOUT, JournalKind.PAYOUT_PAID, JournalKind.PAYOUT_FAILED))

_STATES = frozenset(PayoutState)


def audit_payouts(connection: Connection, first_id: str, rows: int) -> Page:
    """Checks the payouts from an id on, as many as a page holds."""
    found = connection.execute(_PAYOUTS, {"first_id": first_id, "rows": rows}).all()
    payouts = _records(found)
    return Page(
        next_id=None if len(found) < rows else behind(found[-1].payout_id),
        violations=(
            *(violation for row in found for violation in _broken_rules(row)),
            *_of_nobody(connection, found),
            *_unbooked(connection, payouts),
        ),
    )


def payout_entries_without_payout(
    connection: Connection, _shards: int, journal_entries: Sequence[Any]
) -> Iterator[Violation]:
    """Names entries of the journal, of a payout's kinds, that no payout in its state has made."""
    payout_ids = {row.payout_id for row in journal_entries if row.payout_id is not None}
    payouts = _records(connection.execute(_payouts_named(payout_ids)).all()) if payout_ids else []
    made = {(it.payout_id, it.journal_entry_id, it.kind) for payout in payouts for it in movements_of(payout)}
    for row in journal_entries:
        if (row.payout_id, row.journal_entry_id, row.kind) not in made:
            description = f"{row.journal_entry_id}, {row.kind}, is of no payout, or of one in another state"
            yield Violation("", "PAYOUT_IS_BOOKED", f"{description}: {row.payout_id}")


_PAYOUTS = (
    select(tables.payouts)
    .where(tables.payouts.c.payout_id >= bindparam("first_id"))
    .order_by(tables.payouts.c.payout_id)
    .limit(bindparam("rows"))
)


def _payouts_named(payout_ids: Collection[str]) -> Any:
    return select(tables.payouts).where(tables.payouts.c.payout_id.in_(payout_ids))


def _records(rows: Sequence[Row[Any]]) -> list[Payout]:
    """Returns the payouts whose state is known; others are named by their own rule."""
    return [PAYOUTS.record_of_core(row) for row in rows if row.state in _STATES]


def _broken_rules(row: Row[Any]) -> Iterator[Violation]:
    resolved = row.state != PayoutState.IN_TRANSIT
    rules = {
        "STATE_KNOWN": (row.state in _STATES, "there is no such state"),
        "PAYOUT_IN_RANGE": (row.amount_minor_units > 0, "it pays something"),
        "PAYOUT_RESOLUTION": (
            {it is not None for it in (row.resolve_time, row.resolution_id, row.resolution_fingerprint)} == {resolved},
            "it names its resolution once it is resolved",
        ),
        "PAYOUT_TIMES": (
            row.resolve_time is None or row.resolve_time >= row.create_time,
            "it is not resolved before it is made",
        ),
    }
    for rule, (holds, text) in rules.items():
        if not holds:
            amount = f"{row.amount_minor_units} minor units of {row.currency}"
            yield Violation("", rule, f"payout {row.payout_id}, {row.state}, {amount}: {text}")


def _of_nobody(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[Violation]:
    """Names payouts whose provider does not exist."""
    provider_id = tables.providers.c.provider_id
    wanted = {row.provider_id for row in rows}
    known = set(connection.execute(select(provider_id).where(provider_id.in_(wanted))).scalars()) if wanted else set()
    for row in rows:
        if row.provider_id not in known:
            yield Violation("", "PROVIDER_EXISTS", f"payout {row.payout_id} is of {row.provider_id}, who is unknown")


def _unbooked(connection: Connection, payouts: Sequence[Payout]) -> Iterator[Violation]:
    """Names payouts whose movements of money are not in the journal as they should be."""
    expected = [movement for payout in payouts for movement in movements_of(payout)]
    booked = _booked(connection, [movement.journal_entry_id for movement in expected])
    for movement in expected:
        stored = booked.get(movement.journal_entry_id)
        if stored != movement:
            description = f"{_told(stored)} is stored, expected {_told(movement)}"
            yield Violation("", "PAYOUT_IS_BOOKED", f"{movement.journal_entry_id}: {description}")


def _booked(connection: Connection, entry_ids: Collection[str]) -> Mapping[str, JournalEntry]:
    """Returns entries of the journal with their postings, by id, as far as they are there."""
    if not entry_ids:
        return {}
    entries, postings = tables.journal_entries.c, tables.journal_postings.c
    of_entry: dict[str, list[Posting]] = defaultdict(list)
    lines = (
        select(tables.journal_postings)
        .where(postings.journal_entry_id.in_(entry_ids))
        .order_by(postings.journal_entry_id, postings.line)
    )
    for row in connection.execute(lines):
        of_entry[row.journal_entry_id].append(Posting(row.money_account, row.currency, row.amount_minor_units))
    heads = select(tables.journal_entries).where(entries.journal_entry_id.in_(entry_ids))
    return {
        row.journal_entry_id: JournalEntry(
            journal_entry_id=row.journal_entry_id,
            kind=row.kind,
            provider_id=row.provider_id,
            purchase_id=row.purchase_id,
            payout_id=row.payout_id,
            time=row.time,
            postings=tuple(of_entry[row.journal_entry_id]),
        )
        for row in connection.execute(heads)
    }


def _told(entry: JournalEntry | None) -> str:
    if entry is None:
        return "nothing"
    postings = "; ".join(f"{it.money_account} {it.amount_minor_units:+} {it.currency}" for it in entry.postings)
    return f"{entry.kind} of {entry.payout_id} to {entry.provider_id} at {entry.time:%Y-%m-%dT%H:%M:%S.%fZ}, {postings}"
