"""Recomputing the books from their entries, and naming every difference.

Runs on one snapshot, so writers go on meanwhile. What is stored is never trusted: each figure is summed up again
from the rows it is made of.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from broker_service.domain.records import Counterpart, EntryKind, ReservationState
from broker_service.storage import tables
from broker_service.storage.audit_money import money_differences


@dataclass(frozen=True, slots=True)
class Violation:
    """A difference: on which account (empty: the money journal), against which rule, and what was found."""

    account_id: str
    rule: str
    description: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit saw. The books agree if there are no violations."""

    accounts_checked: int
    entries_checked: int
    ledger_credits: int
    reserved_credits: int
    captured_credits: int
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class _Sums:
    """What the rows of one account come to."""

    entry_credits: int = 0
    entry_count: int = 0
    last_sequence: int = 0
    grant_remaining: int = 0
    grant_reserved: int = 0
    reservation_open: int = 0
    reservation_captured: int = 0
    capture_entries: int = 0


_COUNTERPARTS = {
    EntryKind.PURCHASE: Counterpart.ISSUED,
    EntryKind.TRIAL: Counterpart.ISSUED,
    EntryKind.PROMOTIONAL: Counterpart.ISSUED,
    EntryKind.CAPTURE: Counterpart.REDEEMED,
    EntryKind.REFUND: Counterpart.REDEEMED,
    EntryKind.EXPIRY: Counterpart.EXPIRED,
    EntryKind.PURCHASE_REFUND: Counterpart.REFUNDED_PURCHASE,
}


def audit(connection: Connection) -> Audit:
    """Checks every account and the money journal."""
    sums: dict[str, _Sums] = defaultdict(_Sums)
    captured_by_entries: dict[str, int] = defaultdict(int)
    violations = [
        *_sum_entries(connection, sums, captured_by_entries),
        *_sum_reservations_and_grants(connection, sums, captured_by_entries),
        *_check_accounts(connection, sums),
        *(Violation("", rule, description) for rule, description in money_differences(connection)),
    ]
    accounts = tables.accounts
    count, ledger, reserved = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(accounts.c.ledger_credits), 0),
            func.coalesce(func.sum(accounts.c.reserved_credits), 0),
        ).select_from(accounts)
    ).one()
    return Audit(
        accounts_checked=count,
        entries_checked=sum(found.entry_count for found in sums.values()),
        ledger_credits=int(ledger),
        reserved_credits=int(reserved),
        captured_credits=sum(found.reservation_captured for found in sums.values()),
        violations=tuple(violations),
    )


def _sum_entries(
    connection: Connection, sums: dict[str, _Sums], captured_by_entries: dict[str, int]
) -> Iterator[Violation]:
    """Follows each account's entries: sequences have no gaps, and each running total is the sum so far."""
    entries = tables.entries
    statement = select(entries).order_by(entries.c.shard_id, entries.c.account_id, entries.c.sequence)
    for row in _stream(connection, statement):
        found = sums[row.account_id]
        found.entry_credits += row.credits
        found.entry_count += 1
        if row.kind == EntryKind.CAPTURE.value:
            found.capture_entries -= row.credits
            captured_by_entries[row.reservation_id] -= row.credits
        for rule, stored, expected in (
            ("SEQUENCE_GAPLESS", row.sequence, found.last_sequence + 1),
            ("RUNNING_TOTAL", row.ledger_credits_after, found.entry_credits),
            ("COUNTERPART_OF_KIND", row.counterpart, _COUNTERPARTS[EntryKind(row.kind)].value),
        ):
            if stored != expected:
                yield Violation(row.account_id, rule, f"entry {row.sequence}: {stored} is stored, expected {expected}")
        found.last_sequence = row.sequence


def _sum_reservations_and_grants(
    connection: Connection, sums: dict[str, _Sums], captured_by_entries: dict[str, int]
) -> Iterator[Violation]:
    """Checks each reservation by itself, and what each grant holds in reserve against the open reservations."""
    reserved_of_grant: dict[tuple[str, str], int] = defaultdict(int)
    for row in _stream(connection, select(tables.reservations)):
        found = sums[row.account_id]
        allocations = json.loads(row.allocations)
        open_credits = row.reserved_credits - row.captured_credits - row.released_credits
        found.reservation_captured += row.captured_credits
        yield from _check_reservation(row, allocations, open_credits, captured_by_entries.get(row.reservation_id, 0))
        if row.state == ReservationState.ACTIVE.value:
            found.reservation_open += open_credits
            for grant_id, reserved_credits, captured_credits, _refunded_credits in allocations:
                reserved_of_grant[row.account_id, grant_id] += reserved_credits - captured_credits
    for row in _stream(connection, select(tables.grants)):
        found = sums[row.account_id]
        found.grant_remaining += row.remaining_credits
        found.grant_reserved += row.reserved_credits
        expected = reserved_of_grant.pop((row.account_id, row.grant_id), 0)
        if row.reserved_credits != expected:
            yield Violation(
                row.account_id,
                "GRANT_RESERVED",
                f"grant {row.grant_id} has {row.reserved_credits} credits reserved, reservations name {expected}",
            )
    for (account_id, grant_id), expected in reserved_of_grant.items():
        if expected:
            yield Violation(
                account_id, "GRANT_RESERVED", f"reservations name {expected} credits of no grant {grant_id}"
            )


def _check_reservation(
    row: Row[Any], allocations: list[tuple[str, int, int]], open_credits: int, captured_by_entries: int
) -> Iterator[Violation]:
    resolved = row.state != ReservationState.ACTIVE.value
    for rule, stored, expected in (
        ("RESERVED_IS_SUM_OF_ALLOCATIONS", row.reserved_credits, sum(part[1] for part in allocations)),
        ("CAPTURED_IS_SUM_OF_ALLOCATIONS", row.captured_credits, sum(part[2] for part in allocations)),
        ("CAPTURED_IS_SUM_OF_ENTRIES", row.captured_credits, captured_by_entries),
        ("RESOLVED_ONCE", open_credits, 0 if resolved else open_credits),
    ):
        if stored != expected:
            description = f"reservation {row.reservation_id}, {row.state}: {stored} is stored, expected {expected}"
            yield Violation(row.account_id, rule, description)


def _check_accounts(connection: Connection, sums: dict[str, _Sums]) -> Iterator[Violation]:
    """Compares each account's own figures with its entries, grants and reservations."""
    seen = set()
    for row in _stream(connection, select(tables.accounts)):
        seen.add(row.account_id)
        found = sums[row.account_id]
        for rule, stored, summed in (
            ("LEDGER_IS_SUM_OF_ENTRIES", row.ledger_credits, found.entry_credits),
            ("ENTRY_COUNT", row.entry_count, found.entry_count),
            ("LEDGER_IS_SUM_OF_GRANTS", row.ledger_credits, found.grant_remaining),
            ("RESERVED_IS_SUM_OF_GRANTS", row.reserved_credits, found.grant_reserved),
            ("RESERVED_IS_SUM_OF_RESERVATIONS", row.reserved_credits, found.reservation_open),
            ("CAPTURED_IS_SUM_OF_ENTRIES", found.reservation_captured, found.capture_entries),
        ):
            if stored != summed:
                yield Violation(row.account_id, rule, f"{stored} is stored, {summed} follows from the rows")
    for account_id in sums.keys() - seen:
        yield Violation(account_id, "ACCOUNT_EXISTS", "rows name an account that does not exist")


def _stream(connection: Connection, statement: Select[Any]) -> Iterable[Row[Any]]:
    """Returns the rows of a statement without holding them all at once."""
    return connection.execution_options(yield_per=1_000).execute(statement)
