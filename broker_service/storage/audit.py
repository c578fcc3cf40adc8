"""Recomputing the books from their entries, and naming every difference.

Runs on one snapshot, so writers go on meanwhile. What is stored is never trusted: each figure is summed up again
from the rows it is made of.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from broker_service.domain.records import ReservationState
from broker_service.storage import tables


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


def audit(connection: Connection) -> Audit:
    """Checks every account and the money journal."""
    sums: dict[str, _Sums] = defaultdict(_Sums)
    violations = [
        *_sum_entries(connection, sums),
        *_sum_grants_and_reservations(connection, sums),
        *_check_accounts(connection, sums),
        *_check_journal(connection),
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


def _sum_entries(connection: Connection, sums: dict[str, _Sums]) -> Iterator[Violation]:
    """Follows each account's entries: sequences have no gaps, and each running total is the sum so far."""
    entries = tables.entries
    statement = select(entries).order_by(entries.c.shard_id, entries.c.account_id, entries.c.sequence)
    for row in connection.execution_options(yield_per=1_000).execute(statement):
        found = sums[row.account_id]
        found.entry_credits += row.credits
        found.entry_count += 1
        if row.kind == "CAPTURE":
            found.capture_entries -= row.credits
        if row.sequence != found.last_sequence + 1:
            yield Violation(
                row.account_id, "SEQUENCE_GAPLESS", f"entry {row.sequence} follows entry {found.last_sequence}"
            )
        if row.ledger_credits_after != found.entry_credits:
            yield Violation(
                row.account_id,
                "RUNNING_TOTAL",
                f"entry {row.sequence} leaves {row.ledger_credits_after} credits, the entries sum to "
                f"{found.entry_credits}",
            )
        found.last_sequence = row.sequence


def _sum_grants_and_reservations(connection: Connection, sums: dict[str, _Sums]) -> Iterator[Violation]:
    """Compares what each grant holds in reserve with the open reservations' parts of it."""
    reserved_of_grant: dict[tuple[str, str], int] = defaultdict(int)
    reservations, grants = tables.reservations, tables.grants
    for row in connection.execution_options(yield_per=1_000).execute(select(reservations)):
        found = sums[row.account_id]
        found.reservation_captured += row.captured_credits
        open_credits = row.reserved_credits - row.captured_credits - row.released_credits
        if row.state != ReservationState.ACTIVE.value:
            if open_credits:
                yield Violation(
                    row.account_id,
                    "RESOLVED_ONCE",
                    f"reservation {row.reservation_id} is {row.state} and still holds {open_credits} credits",
                )
            continue
        found.reservation_open += open_credits
        for grant_id, reserved_credits, captured_credits in json.loads(row.allocations):
            reserved_of_grant[row.account_id, grant_id] += reserved_credits - captured_credits
    for row in connection.execution_options(yield_per=1_000).execute(select(grants)):
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


def _check_accounts(connection: Connection, sums: dict[str, _Sums]) -> Iterator[Violation]:
    """Compares each account's own figures with its entries, grants and reservations."""
    seen = set()
    for row in connection.execution_options(yield_per=1_000).execute(select(tables.accounts)):
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


def _check_journal(connection: Connection) -> Iterator[Violation]:
    """Sums the money postings: zero in each currency, entry by entry."""
    postings = tables.journal_postings
    total = func.sum(postings.c.amount_minor_units)
    statement = (
        select(postings.c.journal_entry_id, postings.c.currency, total)
        .group_by(postings.c.journal_entry_id, postings.c.currency)
        .having(total != 0)
    )
    for journal_entry_id, currency, amount in connection.execute(statement):
        yield Violation("", "JOURNAL_SUMS_TO_ZERO", f"{journal_entry_id} sums to {amount} minor units of {currency}")
    paid = {
        row.purchase_id: row
        for row in connection.execute(select(tables.purchases).where(tables.purchases.c.state == "PAID"))
    }
    granted = {
        row.purchase_id: row.credits
        for row in connection.execute(select(tables.grants).where(tables.grants.c.purchase_id.is_not(None)))
    }
    for purchase_id in paid.keys() | granted.keys():
        bought = paid[purchase_id].credits if purchase_id in paid else 0
        if granted.get(purchase_id, 0) != bought:
            yield Violation(
                "", "PURCHASE_IS_GRANTED", f"{purchase_id} paid for {bought}, granted {granted.get(purchase_id, 0)}"
            )
