"""Pages of refunds and chargebacks, and whether a purchase has given back what they say."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, not_, or_, select

from broker_service.domain.identities import shard_of
from broker_service.domain.purchases import SOLD_STATES
from broker_service.domain.records import (
    Purchase,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
    PurchaseState,
)
from broker_service.storage import tables
from broker_service.storage.audit.checks import LAST_ID, Check, Rule, behind, check_of, id_names_account
from broker_service.storage.audit.findings import Page, Violation
from broker_service.storage.audit.sums import NOTHING
from broker_service.storage.ledger_rows import PURCHASE_REFUNDS

_IT = tables.purchase_refunds.c
_IS_KNOWN = and_(
    _IT.kind.in_([kind.value for kind in PurchaseRefundKind]),
    _IT.state.in_([state.value for state in PurchaseRefundState]),
)


def refunds_by_purchase(connection: Connection, purchase_ids: Sequence[str]) -> Mapping[str, Sequence[PurchaseRefund]]:
    """Returns the refunds and chargebacks of purchases, those of an unknown kind or state left out."""
    found: dict[str, list[PurchaseRefund]] = defaultdict(list)
    statement = (
        select(tables.purchase_refunds)
        .where(_IT.purchase_id.in_(purchase_ids), _IS_KNOWN)
        .order_by(_IT.purchase_id, _IT.create_time, _IT.refund_id)
    )
    for row in connection.execute(statement) if purchase_ids else ():
        found[row.purchase_id].append(PURCHASE_REFUNDS.record_of_core(row))
    return found


def refunds_by_id(connection: Connection, refund_ids: Sequence[str]) -> Iterator[PurchaseRefund]:
    """Yields refunds and chargebacks, those of an unknown kind or state left out."""
    statement = select(tables.purchase_refunds).where(_IT.refund_id.in_(refund_ids), _IS_KNOWN)
    for row in connection.execute(statement) if refund_ids else ():
        yield PURCHASE_REFUNDS.record_of_core(row)


def unbalanced_refunds(purchase: Purchase, refunds: Sequence[PurchaseRefund]) -> Iterator[Violation]:
    """Names a purchase whose refunds do not come to what it says was refunded, or that is charged back without one."""
    for what, stored, summed in (
        ("credits", purchase.refunded_credits, sum(it.credits for it in refunds)),
        ("minor units", purchase.refunded_minor_units, sum(it.amount_minor_units for it in refunds)),
        (
            "minor units of commission",
            purchase.refunded_commission_minor_units,
            sum(it.commission_minor_units for it in refunds),
        ),
    ):
        if stored != summed:
            description = f"{purchase.purchase_id} has refunded {stored} {what}, its refunds say {summed}"
            yield Violation(purchase.account_id, "REFUNDS_ADD_UP", description)
    chargebacks = sum(it.kind is PurchaseRefundKind.CHARGEBACK for it in refunds)
    if chargebacks != (purchase.state is PurchaseState.CHARGED_BACK):
        description = f"{purchase.purchase_id}, {purchase.state}, has {chargebacks} chargebacks"
        yield Violation(purchase.account_id, "CHARGED_BACK_ONCE", description)


def audit_refunds(connection: Connection, shards: int, first_id: str, rows: int) -> Page:
    """Checks refunds and chargebacks from an id on, as many as a page holds: each is of a paid purchase."""
    page = connection.execute(_PAGE, {"first_id": first_id, "rows": rows}).all()
    is_last = len(page) < rows
    last_id = LAST_ID if is_last else page[-1].refund_id
    return Page(
        next_id=None if is_last else behind(last_id),
        violations=(
            *_REFUNDS.violations(connection, {"first_id": first_id, "last_id": last_id}),
            *_unfounded(connection, shards, page),
        ),
    )


_PAGE = (
    select(_IT.refund_id, _IT.account_id, _IT.purchase_id)
    .where(_IT.refund_id >= bindparam("first_id"))
    .order_by(_IT.refund_id)
    .limit(bindparam("rows"))
)


def _refunds_check() -> Check:
    is_requested = _IT.state == PurchaseRefundState.REQUESTED.value
    is_refund = _IT.kind == PurchaseRefundKind.REFUND.value
    in_range = and_(
        *(
            amount >= NOTHING
            for amount in (_IT.credits, _IT.amount_minor_units, _IT.commission_minor_units, _IT.times_returned)
        )
    )
    gives_something = and_(_IT.credits > NOTHING, _IT.amount_minor_units > NOTHING)
    has_its_end = and_(
        is_requested == _IT.resolve_time.is_(None), or_(is_refund, _IT.state == PurchaseRefundState.PAID.value)
    )
    return check_of(
        tables.purchase_refunds,
        (_IT.account_id, _IT.refund_id, _IT.kind, _IT.state, _IT.credits, _IT.amount_minor_units),
        (
            Rule("STATE_KNOWN", not_(_IS_KNOWN), "there is no such kind or state"),
            Rule(
                "REFUND_RESOLVED", not_(has_its_end), "it has an end once it is resolved, a chargeback from the start"
            ),
            Rule("REFUND_IN_RANGE", not_(and_(in_range, or_(not_(is_refund), gives_something))), "it gives back"),
            Rule("ID_NAMES_ACCOUNT", not_(id_names_account(_IT.refund_id, _IT.account_id)), "its id carries it"),
        ),
        _describe,
        _within_ids(),
    )


def _within_ids() -> ColumnElement[bool]:
    return and_(_IT.refund_id >= bindparam("first_id"), _IT.refund_id <= bindparam("last_id"))


def _describe(row: Row[Any]) -> str:
    return f"{row.kind} {row.refund_id}, {row.state}, of {row.amount_minor_units} minor units for {row.credits} credits"


_REFUNDS = _refunds_check()


def _unfounded(connection: Connection, shards: int, page: Iterable[Any]) -> Iterator[Violation]:
    """Names refunds of purchases that do not exist, were never paid or are another account's."""
    by_shard: dict[int, list[Any]] = defaultdict(list)
    for row in page:
        by_shard[shard_of(row.account_id, shards)].append(row)
    purchases = tables.purchases.c
    for shard_id, rows in by_shard.items():
        statement = select(purchases.purchase_id, purchases.account_id).where(
            purchases.shard_id == shard_id,
            purchases.purchase_id.in_([row.purchase_id for row in rows]),
            purchases.state.in_([state.value for state in SOLD_STATES]),
        )
        sold = {(it.purchase_id, it.account_id) for it in connection.execute(statement)}
        for row in rows:
            if (row.purchase_id, row.account_id) not in sold:
                description = f"{row.refund_id} is of {row.purchase_id}, which this account has not paid"
                yield Violation(row.account_id, "REFUND_OF_A_SALE", description)
