"""Making payouts and resolving them, each in one transaction.

It locks the provider's row first, so that of two payouts at once the second finds what the first has left. Sales go on
meanwhile: they lock accounts only, and what they add later is for the next payout.
"""

from datetime import datetime

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from broker_service.domain.book import check_journal_entry
from broker_service.domain.directory import Provider
from broker_service.domain.errors import ProviderNotFound
from broker_service.domain.journal import payable_to
from broker_service.domain.payouts import (
    CreatePayout,
    PayoutChanges,
    PayoutResult,
    ResolvePayout,
    decide_create_payout,
    decide_resolve_payout,
)
from broker_service.domain.records import Event, JournalEntry, Payout
from broker_service.storage import tables
from broker_service.storage.directory import to_provider
from broker_service.storage.ledger_rows import PAYOUTS


def create_payout(connection: Connection, command: CreatePayout, now: datetime) -> PayoutResult:
    """Pays out all that is payable in one currency, once for each request.

    Raises ProviderNotFound, RequestIdReused, ProviderSuspended, PayoutBelowMinimum.
    """
    provider = _locked_provider(connection, command.provider_id)
    if provider is None:
        raise ProviderNotFound(provider_id=command.provider_id)
    first = payout_by_id(connection, command.payout_id)
    payable = payable_minor_units(connection, provider.provider_id, command.currency)
    now = _at_least_last_movement(connection, provider.provider_id, now)
    changes, result = decide_create_payout(provider, payable, first, command, now)
    if changes is not None:
        connection.execute(insert(tables.payouts), msgspec.structs.asdict(changes.payout))
        _add_movements(connection, changes)
    return result


def resolve_payout(connection: Connection, command: ResolvePayout, now: datetime) -> PayoutResult:
    """Marks a payout paid or failed, once. Raises PayoutNotFound, RequestIdReused, PayoutResolved."""
    payout = payout_by_id(connection, command.payout_id)
    if payout is not None:
        _locked_provider(connection, payout.provider_id)
        # As whoever had the lock before has left it.
        payout = payout_by_id(connection, command.payout_id)
        now = now if payout is None else _at_least_last_movement(connection, payout.provider_id, now)
    changes, result = decide_resolve_payout(payout, command, now)
    if changes is not None:
        payouts = tables.payouts
        connection.execute(
            update(payouts)
            .where(payouts.c.payout_id == changes.payout.payout_id)
            .values(msgspec.structs.asdict(changes.payout))
        )
        _add_movements(connection, changes)
    return result


def payout_by_id(connection: Connection, payout_id: str) -> Payout | None:
    """Returns a payout."""
    payouts = tables.payouts
    row = connection.execute(select(payouts).where(payouts.c.payout_id == payout_id)).one_or_none()
    return None if row is None else PAYOUTS.record_of_core(row)


def payable_minor_units(connection: Connection, provider_id: str, currency: str) -> int:
    """Returns what a provider is owed in a currency; negative after refunds of what was paid out."""
    postings = tables.journal_postings.c
    owed = select(func.sum(postings.amount_minor_units)).where(
        postings.money_account == payable_to(provider_id), postings.currency == currency
    )
    return -int(connection.execute(owed).scalar_one() or 0)


def _locked_provider(connection: Connection, provider_id: str) -> Provider | None:
    """Returns a provider as nobody else can change it, nor its payouts, until the transaction ends."""
    providers = tables.providers
    # SQLite has no such clause, and one writer.
    locking = select(providers).where(providers.c.provider_id == provider_id).with_for_update()
    row = connection.execute(locking).one_or_none()
    return None if row is None else to_provider(row)


def _at_least_last_movement(connection: Connection, provider_id: str, now: datetime) -> datetime:
    """Returns `now`, or the time of the provider's last movement of money if the clock has stepped back behind it."""
    entries = tables.journal_entries.c
    last: datetime | None = connection.execute(
        select(entries.time).where(entries.provider_id == provider_id).order_by(entries.time.desc()).limit(1)
    ).scalar_one_or_none()
    return now if last is None else max(now, last)


def _add_movements(connection: Connection, changes: PayoutChanges) -> None:
    for journal_entry in changes.journal_entries:
        check_journal_entry(journal_entry)
        _add_journal_entry(connection, journal_entry)
    for event in changes.events:
        _add_event(connection, event)


def _add_journal_entry(connection: Connection, journal_entry: JournalEntry) -> None:
    values = msgspec.structs.asdict(journal_entry)
    postings = values.pop("postings")
    connection.execute(insert(tables.journal_entries), values)
    connection.execute(
        insert(tables.journal_postings),
        [
            {"journal_entry_id": journal_entry.journal_entry_id, "line": line, **msgspec.structs.asdict(posting)}
            for line, posting in enumerate(postings, start=1)
        ],
    )


def _add_event(connection: Connection, event: Event) -> None:
    values = msgspec.structs.asdict(event) | {"data": msgspec.json.encode(event.data).decode()}
    connection.execute(insert(tables.events), values)
