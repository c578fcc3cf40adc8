"""Automatic top-ups: who has agreed to one, who is due, and how customers have paid before."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Join, and_, func, insert, or_, select, update

from broker_service.domain.auto_top_ups import AutoTopUp, AutoTopUpState, month_of
from broker_service.domain.records import AccountState, PurchaseOrigin, PurchaseState
from broker_service.storage import tables
from broker_service.storage.ledger_rows import RecordRows

_ROWS = RecordRows(tables.auto_top_ups, AutoTopUp)
# What of a top-up was agreed to.
_AGREED = (
    "account_id",
    "pack_id",
    "threshold_credits",
    "currency",
    "monthly_cap_minor_units",
    "consent",
    "consent_time",
)


def top_up_of(connection: Connection, account_id: str, *, for_update: bool = False) -> AutoTopUp | None:
    """Returns an account's top-up; `for_update` keeps other writers out until the transaction ends."""
    statement = select(tables.auto_top_ups).where(tables.auto_top_ups.c.account_id == account_id)
    row = connection.execute(statement.with_for_update() if for_update else statement).one_or_none()
    return None if row is None else _ROWS.record_of_core(row)


def put_top_up(connection: Connection, top_up: AutoTopUp) -> None:
    """Writes a top-up, new or not. Two writers of a new one meet a conflict."""
    table, values = tables.auto_top_ups, {name: getattr(top_up, name) for name in _ROWS.fields}
    changed = connection.execute(update(table).where(table.c.account_id == top_up.account_id).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(table), values)


def add_agreement(connection: Connection, top_up: AutoTopUp) -> None:
    """Keeps what a customer has agreed to; nothing ever changes it."""
    table = tables.auto_top_up_agreements
    values = {name: getattr(top_up, name) for name in _AGREED}
    connection.execute(insert(table), values | {"number": top_up.agreements})


def due_top_ups(connection: Connection, shard_id: int, now: datetime, after: str, limit: int) -> list[AutoTopUp]:
    """Returns a shard's top-ups whose account is low, or whose payment is under way; by account, behind `after`."""
    it = tables.auto_top_ups
    statement = (
        select(it)
        .select_from(_with_account(shard_id))
        .where(
            it.c.account_id > after,
            or_(it.c.next_attempt_time.is_(None), it.c.next_attempt_time <= now),
            or_(it.c.pending_purchase_id.is_not(None), _IS_LOW),
        )
        .order_by(it.c.account_id)
        .limit(limit)
    )
    return [_ROWS.record_of_core(row) for row in connection.execute(statement)]


def is_low(connection: Connection, shard_id: int, account_id: str) -> bool:
    """Tells whether an account may be topped up and has fewer credits than was agreed."""
    it = tables.auto_top_ups.c
    found = select(it.account_id).select_from(_with_account(shard_id)).where(it.account_id == account_id, _IS_LOW)
    return connection.execute(found).one_or_none() is not None


def spent_in_month(connection: Connection, shard_id: int, account_id: str, currency: str, now: datetime) -> int:
    """Returns what the month's top-ups of an account have cost in a currency, in minor units.

    Those being paid count, however long that takes; those that failed do not.
    """
    purchases = tables.purchases.c
    first, next_first = month_of(now)
    under_way = purchases.state == PurchaseState.PENDING.value
    spent = connection.execute(
        select(func.sum(purchases.price_minor_units)).where(
            purchases.shard_id == shard_id,
            purchases.account_id == account_id,
            purchases.create_time >= first,
            purchases.create_time < next_first,
            purchases.origin == PurchaseOrigin.AUTO_TOP_UP.value,
            purchases.currency == currency,
            or_(under_way, purchases.pay_time.is_not(None)),
        )
    ).scalar_one()
    return int(spent or 0)


def method_of(connection: Connection, account_id: str, gateway: str) -> tuple[str, str] | None:
    """Returns how an account was last paid for at a gateway: its words for the customer and for the method."""
    it = tables.payment_methods.c
    row = connection.execute(
        select(it.customer_reference, it.method_reference).where(it.account_id == account_id, it.gateway == gateway)
    ).one_or_none()
    return None if row is None else (row.customer_reference, row.method_reference)


def _with_account(shard_id: int) -> Join:
    it, account = tables.auto_top_ups, tables.accounts
    return it.join(account, and_(account.c.shard_id == shard_id, account.c.account_id == it.c.account_id))


_IS_LOW: Final = and_(
    tables.auto_top_ups.c.state == AutoTopUpState.ACTIVE.value,
    tables.accounts.c.state == AccountState.ACTIVE.value,
    tables.accounts.c.ledger_credits - tables.accounts.c.reserved_credits < tables.auto_top_ups.c.threshold_credits,
)
