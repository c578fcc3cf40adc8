"""What providers have sold and are owed, read from the journal without changing it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Label, Row, Select, case, func, or_, select

from broker_service.domain.directory import ProviderState
from broker_service.domain.journal import COMMISSION, payable_to
from broker_service.domain.records import JournalKind, Payout, PayoutState, Purchase
from broker_service.storage import tables
from broker_service.storage.ledger_rows import PAYOUTS, PURCHASES

_PAYABLES = payable_to("")
# Movements of the customers' money: each is split between the provider and the broker.
_SALE_KINDS = (JournalKind.SALE, JournalKind.REFUND, JournalKind.CHARGEBACK)
# All that moves a provider's payable.
_LINE_KINDS = (*_SALE_KINDS, JournalKind.PAYOUT, JournalKind.PAYOUT_FAILED)


@dataclass(frozen=True, slots=True)
class ProviderBalance:
    """A provider's figures in one currency, in minor units; sales and commission less refunds and chargebacks."""

    currency: str
    payable: int
    sales: int
    commission: int


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement of a provider's payable, in minor units: `net` is its change, `gross` the customers' money."""

    time: datetime
    kind: JournalKind
    reference: str
    currency: str
    gross: int
    commission: int
    net: int


@dataclass(frozen=True, slots=True)
class SaleSelection:
    """Which sales to read: paid in [start_time, end_time), behind (pay_time, purchase_id)."""

    start_time: datetime | None
    end_time: datetime | None
    after: tuple[datetime, str] | None
    limit: int


@dataclass(frozen=True, slots=True)
class DuePayout:
    """What can be paid out to a provider in one currency, in minor units."""

    provider_id: str
    currency: str
    payable_minor_units: int


def balances_of(connection: Connection, provider_id: str) -> list[ProviderBalance]:
    """Returns a provider's figures, one for each currency it has ever sold in, by currency."""
    entries, postings = tables.journal_entries.c, tables.journal_postings.c
    of_sale = entries.kind.in_(_SALE_KINDS)
    is_payable, is_commission = _sides_of(provider_id)
    statement = (
        _movements(
            _credited("payable", is_payable),
            _credited("share", is_payable & of_sale),
            _credited("commission", is_commission & of_sale),
        )
        .where(entries.provider_id == provider_id)
        .group_by(postings.currency)
        .order_by(postings.currency)
    )
    return [
        ProviderBalance(
            currency=row.currency,
            payable=int(row.payable),
            sales=int(row.share) + int(row.commission),
            commission=int(row.commission),
        )
        for row in connection.execute(statement)
    ]


def statement_lines(
    connection: Connection, provider_id: str, start_time: datetime, end_time: datetime, limit: int
) -> list[StatementLine]:
    """Returns the movements of a provider's payable in [start_time, end_time), oldest first."""
    entries, postings = tables.journal_entries.c, tables.journal_postings.c
    of_entry = (entries.time, entries.journal_entry_id, entries.kind, entries.purchase_id, entries.payout_id)
    is_payable, is_commission = _sides_of(provider_id)
    statement = (
        _movements(*of_entry, _credited("net", is_payable), _credited("commission", is_commission))
        .where(
            entries.provider_id == provider_id,
            entries.time >= start_time,
            entries.time < end_time,
            entries.kind.in_(_LINE_KINDS),
        )
        .group_by(*of_entry, postings.currency)
        .order_by(entries.time, entries.journal_entry_id, postings.currency)
        .limit(limit)
    )
    return [_line_of(row) for row in connection.execute(statement)]


def sales_of(connection: Connection, provider_id: str, selection: SaleSelection) -> list[Purchase]:
    """Returns a provider's paid purchases, in whatever state they are now, by the time they were paid."""
    purchases = tables.purchases
    columns = purchases.c
    conditions = [columns.provider_id == provider_id, columns.pay_time.is_not(None)]
    if selection.start_time is not None:
        conditions.append(columns.pay_time >= selection.start_time)
    if selection.end_time is not None:
        conditions.append(columns.pay_time < selection.end_time)
    if selection.after is not None:
        after_time, after_id = selection.after
        conditions.append(columns.pay_time >= after_time)
        conditions.append(or_(columns.pay_time > after_time, columns.purchase_id > after_id))
    statement = (
        select(purchases).where(*conditions).order_by(columns.pay_time, columns.purchase_id).limit(selection.limit)
    )
    return [PURCHASES.record_of_core(row) for row in connection.execute(statement)]


def payouts_of(
    connection: Connection, provider_id: str, before: tuple[datetime, str] | None, limit: int
) -> list[Payout]:
    """Returns a provider's payouts that were made before the one named by (create_time, payout_id), newest first."""
    payouts = tables.payouts
    statement = select(payouts).where(payouts.c.provider_id == provider_id)
    if before is not None:
        before_time, before_id = before
        statement = statement.where(
            payouts.c.create_time <= before_time,
            or_(payouts.c.create_time < before_time, payouts.c.payout_id < before_id),
        )
    statement = statement.order_by(payouts.c.create_time.desc(), payouts.c.payout_id.desc()).limit(limit)
    return [PAYOUTS.record_of_core(row) for row in connection.execute(statement)]


def payouts_in_transit(connection: Connection) -> list[Payout]:
    """Returns everybody's payouts whose transfer is under way, oldest first."""
    payouts = tables.payouts
    statement = (
        select(payouts)
        .where(payouts.c.state == PayoutState.IN_TRANSIT)
        .order_by(payouts.c.create_time, payouts.c.payout_id)
    )
    return [PAYOUTS.record_of_core(row) for row in connection.execute(statement)]


def due_payouts(connection: Connection, currency: str | None) -> list[DuePayout]:
    """Returns what is payable to providers that are not suspended, by provider and currency; None: in all currencies.

    Whether that is enough for a payout is for the caller to say.
    """
    postings, providers = tables.journal_postings.c, tables.providers.c
    payable = (-func.sum(postings.amount_minor_units)).label("payable")
    provider_id = func.substr(postings.money_account, len(_PAYABLES) + 1)
    statement = (
        select(providers.provider_id, postings.currency, payable)
        .join_from(tables.journal_postings, tables.providers, providers.provider_id == provider_id)
        .where(
            # A range, which the index serves.
            postings.money_account > _PAYABLES,
            postings.money_account < _behind_all(_PAYABLES),
            providers.state == ProviderState.ACTIVE,
        )
        .group_by(providers.provider_id, postings.currency)
        .having(payable > 0)
        .order_by(providers.provider_id, postings.currency)
    )
    if currency is not None:
        statement = statement.where(postings.currency == currency)
    return [DuePayout(row.provider_id, row.currency, int(row.payable)) for row in connection.execute(statement)]


def _movements(*columns: ColumnElement[Any]) -> Select[Any]:
    """Returns what selects from the journal's entries with their postings, the currency besides the columns."""
    entries, postings = tables.journal_entries, tables.journal_postings
    return select(postings.c.currency, *columns).join_from(
        entries, postings, entries.c.journal_entry_id == postings.c.journal_entry_id
    )


def _sides_of(provider_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Returns what tells a provider's payable, and the broker's commission, from other postings."""
    money_account = tables.journal_postings.c.money_account
    return money_account == payable_to(provider_id), money_account == COMMISSION


def _credited(name: str, condition: ColumnElement[bool]) -> Label[int]:
    """Returns the sum of what postings have taken off an account, which is what somebody is owed."""
    amount = tables.journal_postings.c.amount_minor_units
    return func.sum(case((condition, -amount), else_=0)).label(name)


def _line_of(row: Row[Any]) -> StatementLine:
    net, commission = int(row.net), int(row.commission)
    kind = JournalKind(row.kind)
    return StatementLine(
        time=row.time,
        kind=kind,
        reference=row.payout_id or row.purchase_id or "",
        currency=row.currency,
        # What the customers have paid is all the provider's or the broker's.
        gross=net + commission if kind in _SALE_KINDS else 0,
        commission=commission,
        net=net,
    )


def _behind_all(prefix: str) -> str:
    """Returns the first text that sorts behind all that begin with a prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
