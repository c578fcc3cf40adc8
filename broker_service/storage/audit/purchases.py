"""Pages of purchases: each one's grant, its refunds and its bookings."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, not_, select

from broker_service.domain.purchases import SOLD_STATES
from broker_service.domain.records import Purchase, PurchaseOrigin, PurchaseState
from broker_service.storage import tables
from broker_service.storage.audit.bookings import bookings_of, unbooked
from broker_service.storage.audit.checks import (
    LAST_ID,
    Check,
    Rule,
    Span,
    behind,
    check_of,
    id_names_account,
    last_of_page,
    within_span,
)
from broker_service.storage.audit.findings import Page, Violation
from broker_service.storage.audit.purchase_refunds import refunds_by_purchase, unbalanced_refunds
from broker_service.storage.audit.sums import NOTHING
from broker_service.storage.ledger_rows import PURCHASES

SOLD = tuple(state.value for state in SOLD_STATES)


def audit_purchases(connection: Connection, shard_id: int, first_id: str, rows: int) -> Page:
    """Checks the purchases of a shard from an id on, as many as a page holds: paid ones are granted and booked."""
    last_id = connection.execute(
        _LAST_PURCHASE, {"shard_id": shard_id, "first_id": first_id, "other_rows": rows - 1}
    ).scalar_one_or_none()
    span = Span(shard_id, first_id, LAST_ID if last_id is None else last_id)
    sold = [PURCHASES.record_of_core(row) for row in connection.execute(_SOLD_PURCHASES, span.parameters)]
    refunds = refunds_by_purchase(connection, [purchase.purchase_id for purchase in sold])
    bookings = [
        (purchase.account_id, entry)
        for purchase in sold
        for entry in bookings_of(purchase, refunds[purchase.purchase_id])
    ]
    return Page(
        next_id=None if last_id is None else behind(last_id),
        violations=(
            *_PURCHASES.violations(connection, span.parameters),
            *_ungranted(connection, shard_id, sold),
            *(it for purchase in sold for it in unbalanced_refunds(purchase, refunds[purchase.purchase_id])),
            *unbooked(connection, bookings),
        ),
    )


_LAST_PURCHASE = last_of_page(tables.purchases, "purchase_id")
_ORIGINS = [origin.value for origin in PurchaseOrigin]
_SOLD_PURCHASES = (
    select(tables.purchases)
    .where(
        within_span(tables.purchases, "purchase_id"),
        tables.purchases.c.state.in_(SOLD),
        tables.purchases.c.origin.in_(_ORIGINS),
    )
    .order_by(tables.purchases.c.purchase_id)
)


def _purchases_check() -> Check:
    it, account = tables.purchases.c, tables.accounts.c
    with_account = tables.purchases.outerjoin(
        tables.accounts, and_(account.shard_id == it.shard_id, account.account_id == it.account_id)
    )
    commission_in_range = and_(it.commission_minor_units >= NOTHING, it.commission_minor_units <= it.price_minor_units)
    is_known = and_(it.state.in_([state.value for state in PurchaseState]), it.origin.in_(_ORIGINS))
    return check_of(
        with_account,
        (it.account_id, it.purchase_id, it.state, it.price_minor_units, it.commission_minor_units),
        (
            Rule("ACCOUNT_EXISTS", account.account_id.is_(None), "its account does not exist"),
            Rule("STATE_KNOWN", not_(is_known), "there is no such state or origin"),
            Rule(
                "PAID_AT_A_TIME", it.state.in_(SOLD) != it.pay_time.is_not(None), "it has a time of payment once paid"
            ),
            Rule("COMMISSION_IN_RANGE", not_(commission_in_range), "the commission is part of the price"),
            Rule(
                "CHARGEBACK_APPLIED",
                and_(it.chargeback_told, it.state.in_(SOLD)),
                "no chargeback waits once it is paid",
            ),
            Rule("REFUNDED_BY_STATE", not_(_is_refunded_by_state(it)), "what was refunded is what its state says"),
            Rule(
                "ID_NAMES_ACCOUNT", not_(id_names_account(it.purchase_id, it.account_id)), "its id carries its account"
            ),
        ),
        _describe,
        within_span(tables.purchases, "purchase_id"),
    )


def _is_refunded_by_state(it: Any) -> ColumnElement[bool]:
    refunded = (it.refunded_credits, it.refunded_minor_units, it.refunded_commission_minor_units)
    money_is_whole = and_(
        it.refunded_minor_units == it.price_minor_units,
        it.refunded_commission_minor_units == it.commission_minor_units,
    )
    credits_in_range = and_(it.refunded_credits >= NOTHING, it.refunded_credits <= it.credits)
    is_part = and_(
        it.refunded_credits > NOTHING,
        it.refunded_credits < it.credits,
        it.refunded_minor_units > NOTHING,
        it.refunded_minor_units <= it.price_minor_units,
        it.refunded_commission_minor_units >= NOTHING,
        it.refunded_commission_minor_units <= it.commission_minor_units,
    )
    by_state: dict[str, ColumnElement[bool]] = {
        PurchaseState.PARTIALLY_REFUNDED.value: is_part,
        PurchaseState.REFUNDED.value: and_(it.refunded_credits == it.credits, money_is_whole),
        PurchaseState.CHARGED_BACK.value: and_(credits_in_range, money_is_whole),
    }
    return case(
        *((it.state == state, holds) for state, holds in by_state.items()),
        else_=and_(*(amount == NOTHING for amount in refunded)),
    )


def _describe(row: Row[Any]) -> str:
    return (
        f"purchase {row.purchase_id}, {row.state}, {row.price_minor_units} minor units, "
        f"{row.commission_minor_units} of them commission"
    )


_PURCHASES = _purchases_check()


def _ungranted(connection: Connection, shard_id: int, sold: Sequence[Purchase]) -> Iterator[Violation]:
    """Names paid purchases whose grant is missing, or another; whose grant is superfluous, the grants' check names."""
    grants = tables.grants.c
    granted: dict[tuple[str, str | None], int] = defaultdict(int)
    statement = select(grants.account_id, grants.purchase_id, grants.credits).where(
        grants.shard_id == shard_id,
        grants.account_id.in_({purchase.account_id for purchase in sold}),
        grants.purchase_id.in_([purchase.purchase_id for purchase in sold]),
    )
    for row in connection.execute(statement) if sold else ():
        granted[row.account_id, row.purchase_id] += row.credits
    for purchase in sold:
        found = granted[purchase.account_id, purchase.purchase_id]
        if found != purchase.credits:
            description = f"{purchase.purchase_id} paid for {purchase.credits} credits, granted {found}"
            yield Violation(purchase.account_id, "PURCHASE_IS_GRANTED", description)
