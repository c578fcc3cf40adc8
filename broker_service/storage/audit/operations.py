"""A page of operations: each belongs to an account and moved no less than nothing."""

from typing import Any

from sqlalchemy import Connection, Row, and_, not_, or_

from broker_service.storage import tables
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
from broker_service.storage.audit.findings import Page
from broker_service.storage.audit.sums import NOTHING


def audit_operations(connection: Connection, shard_id: int, first_id: str, rows: int) -> Page:
    """Checks the operations of a shard from an id on, as many as a page holds."""
    last_id = connection.execute(
        _LAST_OPERATION, {"shard_id": shard_id, "first_id": first_id, "other_rows": rows - 1}
    ).scalar_one_or_none()
    span = Span(shard_id, first_id, LAST_ID if last_id is None else last_id)
    return Page(
        next_id=None if last_id is None else behind(last_id),
        violations=tuple(_OPERATIONS.violations(connection, span.parameters)),
    )


_LAST_OPERATION = last_of_page(tables.operations, "operation_id")


def _operations_check() -> Check:
    it, account = tables.operations.c, tables.accounts.c
    with_account = tables.operations.outerjoin(
        tables.accounts, and_(account.shard_id == it.shard_id, account.account_id == it.account_id)
    )
    moved = (it.captured_credits, it.released_credits, it.refunded_credits)
    return check_of(
        with_account,
        (it.account_id, it.operation_id, it.kind, *moved),
        (
            Rule("ACCOUNT_EXISTS", account.account_id.is_(None), "its account does not exist"),
            Rule("OPERATION_IN_RANGE", or_(*(amount < NOTHING for amount in moved)), "no amount is below 0"),
            Rule(
                "ID_NAMES_ACCOUNT", not_(id_names_account(it.operation_id, it.account_id)), "its id carries its account"
            ),
        ),
        _describe,
        within_span(tables.operations, "operation_id"),
    )


def _describe(row: Row[Any]) -> str:
    return (
        f"operation {row.operation_id}, {row.kind}, {row.captured_credits} captured, {row.released_credits} released, "
        f"{row.refunded_credits} refunded"
    )


_OPERATIONS = _operations_check()
