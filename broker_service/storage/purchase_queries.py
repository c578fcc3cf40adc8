"""Reading purchases, refunds and payment notices, and keeping the notices that no account's lane can."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, and_, insert, literal_column, or_, select, update

from broker_service.domain.errors import PurchaseNotFound
from broker_service.domain.purchases import as_of
from broker_service.domain.records import (
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Purchase,
    PurchaseRefund,
    PurchaseRefundState,
)
from broker_service.storage import tables
from broker_service.storage.ledger_rows import PAYMENT_NOTICES, PURCHASE_REFUNDS, PURCHASES

# A row's place in an order by time: behind or before it are those of other times, or of that time and another id.
Place = tuple[datetime, str]

_OLDEST_NOTICES: Final = 100


@dataclass(frozen=True, slots=True)
class PurchaseSelection:
    """Which purchases to read: older than the one at `before`."""

    before: Place | None
    limit: int


@dataclass(frozen=True, slots=True)
class NoticeSelection:
    """Which notices to read: with an outcome (None is any), of a purchase ("" is any), older than `before`."""

    outcome: PaymentNoticeOutcome | None
    purchase_id: str
    before: Place | None
    limit: int


def purchase_by_id(connection: Connection, shard_id: int, account_id: str, purchase_id: str, now: datetime) -> Purchase:
    """Returns a purchase as of now. Raises PurchaseNotFound."""
    purchases = tables.purchases
    row = connection.execute(
        select(purchases).where(
            purchases.c.shard_id == shard_id,
            purchases.c.account_id == account_id,
            purchases.c.purchase_id == purchase_id,
        )
    ).one_or_none()
    if row is None:
        raise PurchaseNotFound(purchase_id=purchase_id)
    return as_of(PURCHASES.record_of_core(row), now)


def purchases_of(
    connection: Connection, shard_id: int, account_id: str, selection: PurchaseSelection, now: datetime
) -> list[Purchase]:
    """Returns an account's purchases as of now, newest first."""
    purchases = tables.purchases
    statement = (
        select(purchases)
        .where(
            purchases.c.shard_id == shard_id,
            purchases.c.account_id == account_id,
            *_before(purchases, "create_time", "purchase_id", selection.before),
        )
        .order_by(purchases.c.create_time.desc(), purchases.c.purchase_id.desc())
        .limit(selection.limit)
    )
    return [as_of(PURCHASES.record_of_core(row), now) for row in connection.execute(statement)]


def refund_by_id(connection: Connection, refund_id: str) -> PurchaseRefund | None:
    """Returns a refund or chargeback; none that is there is ever removed."""
    refunds = tables.purchase_refunds
    row = connection.execute(select(refunds).where(refunds.c.refund_id == refund_id)).one_or_none()
    return None if row is None else PURCHASE_REFUNDS.record_of_core(row)


def requested_refunds(
    connection: Connection, requested_before: datetime, after: Place | None, limit: int
) -> list[PurchaseRefund]:
    """Returns refunds that the gateway has not paid or refused yet, behind a place, the oldest first."""
    in_time = tables.purchase_refunds.c.create_time <= requested_before
    return _refunds(connection, PurchaseRefundState.REQUESTED, after, limit, in_time)


def owed_refunds(connection: Connection, after: Place | None, limit: int) -> list[PurchaseRefund]:
    """Returns refunds that the gateway has refused, or whose money came back, behind a place, the oldest first."""
    return _refunds(connection, PurchaseRefundState.FAILED, after, limit)


def _refunds(
    connection: Connection,
    state: PurchaseRefundState,
    after: Place | None,
    limit: int,
    *conditions: ColumnElement[bool],
) -> list[PurchaseRefund]:
    refunds = tables.purchase_refunds
    statement = (
        select(refunds)
        # A literal, for a partial index serves a statement only if the plan can see that it does.
        .where(refunds.c.state == literal_column(f"'{state.value}'"), *conditions)
        .order_by(refunds.c.create_time, refunds.c.refund_id)
        .limit(limit)
    )
    if after is not None:
        behind_in_time = and_(refunds.c.create_time == after[0], refunds.c.refund_id > after[1])
        statement = statement.where(or_(refunds.c.create_time > after[0], behind_in_time))
    return [PURCHASE_REFUNDS.record_of_core(row) for row in connection.execute(statement)]


def payment_notices(connection: Connection, selection: NoticeSelection) -> list[PaymentNotice]:
    """Returns notices, newest first."""
    notices = tables.payment_notices
    conditions: list[ColumnElement[bool]] = []
    if selection.outcome is not None:
        conditions.append(notices.c.outcome == selection.outcome.value)
    if selection.purchase_id:
        conditions.append(notices.c.purchase_id == selection.purchase_id)
    statement = (
        select(notices)
        .where(*conditions, *_before(notices, "receive_time", "notice_id", selection.before))
        .order_by(notices.c.receive_time.desc(), notices.c.notice_id.desc())
        .limit(selection.limit)
    )
    return [PAYMENT_NOTICES.record_of_core(row) for row in connection.execute(statement)]


def began_with(connection: Connection, gateway: str) -> bool:
    """Tells whether payments at a gateway are among the first that the database knows of.

    It looks at the oldest notices only, which an index finds: a broker asks when it starts.
    """
    notices = tables.payment_notices
    oldest = (
        select(notices.c.gateway, notices.c.kind, notices.c.outcome)
        .order_by(notices.c.receive_time, notices.c.notice_id)
        .limit(_OLDEST_NOTICES)
    )
    paid = (gateway, PaymentNoticeKind.SUCCEEDED.value, PaymentNoticeOutcome.APPLIED.value)
    return any(tuple(row) == paid for row in connection.execute(oldest))


def keep_notice(connection: Connection, notice: PaymentNotice) -> PaymentNotice:
    """Adds a notice, or counts it if it has come before; returns it as it is kept then.

    Two writers at once may both find it missing: then one of them meets a conflict, and counts when it tries again.
    """
    notices = tables.payment_notices
    again = connection.execute(
        update(notices)
        .where(notices.c.notice_id == notice.notice_id)
        .values(times_received=notices.c.times_received + 1)
    )
    if again.rowcount == 0:
        connection.execute(insert(notices), {name: getattr(notice, name) for name in PAYMENT_NOTICES.fields})
        return notice
    row = connection.execute(select(notices).where(notices.c.notice_id == notice.notice_id)).one()
    return PAYMENT_NOTICES.record_of_core(row)


def _before(table: Table, time: str, identity: str, place: Place | None) -> list[ColumnElement[bool]]:
    if place is None:
        return []
    at, key = table.c[time], table.c[identity]
    return [or_(at < place[0], and_(at == place[0], key < place[1]))]
