"""Pages of the money: sales against their grants and postings, and the journal against its sales."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, exists, not_, select

from broker_service.domain.identities import account_id_within, shard_of
from broker_service.domain.journal import sale_of
from broker_service.domain.records import Posting, Purchase, PurchaseState
from broker_service.storage import tables
from broker_service.storage.audit.checks import (
    LAST_ID,
    MOST_ROWS,
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
from broker_service.storage.audit.sums import NOTHING, amount_of, exact_sum, is_not_zero
from broker_service.storage.ledger_rows import PURCHASES

# The kinds of journal entries that there are; one that is not known here cannot be checked, and so is named.
_SALE = "SALE"


def audit_purchases(connection: Connection, shard_id: int, first_id: str, rows: int) -> Page:
    """Checks the purchases of a shard from an id on, as many as a page holds: paid ones are granted and booked."""
    last_id = connection.execute(
        _LAST_PURCHASE, {"shard_id": shard_id, "first_id": first_id, "other_rows": rows - 1}
    ).scalar_one_or_none()
    span = Span(shard_id, first_id, LAST_ID if last_id is None else last_id)
    paid = [PURCHASES.record_of_core(row) for row in connection.execute(_PAID, span.parameters)]
    return Page(
        next_id=None if last_id is None else behind(last_id),
        violations=(
            *_PURCHASES.violations(connection, span.parameters),
            *_ungranted(connection, shard_id, paid),
            *_unbooked(connection, paid),
        ),
    )


def audit_journal(connection: Connection, shards: int, first_id: str, rows: int) -> Page:
    """Checks the journal from an id on, as many entries as a page holds: it balances, and knows only sales."""
    journal_entries = connection.execute(_JOURNAL, {"first_id": first_id, "rows": rows}).all()
    is_last = len(journal_entries) < rows
    last_id = LAST_ID if is_last else journal_entries[-1].journal_entry_id
    span = {"first_id": first_id, "last_id": last_id}
    return Page(
        next_id=None if is_last else behind(last_id),
        violations=(
            *_unfounded(connection, shards, journal_entries),
            *_unbalanced(connection, span),
            *_headless(connection, span),
        ),
    )


_LAST_PURCHASE = last_of_page(tables.purchases, "purchase_id")
_PAID = (
    select(tables.purchases)
    .where(within_span(tables.purchases, "purchase_id"), tables.purchases.c.state == PurchaseState.PAID.value)
    .order_by(tables.purchases.c.purchase_id)
)


def _purchases_check() -> Check:
    it, account = tables.purchases.c, tables.accounts.c
    with_account = tables.purchases.outerjoin(
        tables.accounts, and_(account.shard_id == it.shard_id, account.account_id == it.account_id)
    )
    commission_in_range = and_(it.commission_minor_units >= NOTHING, it.commission_minor_units <= it.price_minor_units)
    return check_of(
        with_account,
        (it.account_id, it.purchase_id, it.state, it.price_minor_units, it.commission_minor_units),
        (
            Rule("ACCOUNT_EXISTS", account.account_id.is_(None), "its account does not exist"),
            Rule("STATE_KNOWN", it.state.not_in([state.value for state in PurchaseState]), "there is no such state"),
            Rule(
                "PAID_AT_A_TIME",
                (it.state == PurchaseState.PAID.value) != it.pay_time.is_not(None),
                "it has a time of payment once it is paid",
            ),
            Rule("COMMISSION_IN_RANGE", not_(commission_in_range), "the commission is part of the price"),
            Rule(
                "ID_NAMES_ACCOUNT", not_(id_names_account(it.purchase_id, it.account_id)), "its id carries its account"
            ),
        ),
        lambda row: (
            f"purchase {row.purchase_id}, {row.state}, {row.price_minor_units} minor units, "
            f"{row.commission_minor_units} of them commission"
        ),
        within_span(tables.purchases, "purchase_id"),
    )


_PURCHASES = _purchases_check()


def _ungranted(connection: Connection, shard_id: int, paid: list[Purchase]) -> Iterator[Violation]:
    """Names paid purchases whose grant is missing, or another; whose grant is superfluous, the grants' check names."""
    grants = tables.grants.c
    granted: dict[tuple[str, str | None], int] = defaultdict(int)
    statement = select(grants.account_id, grants.purchase_id, grants.credits).where(
        grants.shard_id == shard_id,
        grants.account_id.in_({purchase.account_id for purchase in paid}),
        grants.purchase_id.in_([purchase.purchase_id for purchase in paid]),
    )
    for row in connection.execute(statement) if paid else ():
        granted[row.account_id, row.purchase_id] += row.credits
    for purchase in paid:
        found = granted[purchase.account_id, purchase.purchase_id]
        if found != purchase.credits:
            description = f"{purchase.purchase_id} paid for {purchase.credits} credits, granted {found}"
            yield Violation(purchase.account_id, "PURCHASE_IS_GRANTED", description)


def _unbooked(connection: Connection, paid: list[Purchase]) -> Iterator[Violation]:
    """Names paid purchases whose postings are not those of their sale."""
    sales = {purchase.purchase_id: sale_of(purchase) for purchase in paid if purchase.pay_time is not None}
    booked: dict[str, list[Posting]] = defaultdict(list)
    postings = tables.journal_postings.c
    statement = (
        select(tables.journal_postings)
        .where(postings.journal_entry_id.in_([sale.journal_entry_id for sale in sales.values()]))
        .order_by(postings.journal_entry_id, postings.line)
    )
    for row in connection.execute(statement) if sales else ():
        booked[row.journal_entry_id].append(Posting(row.money_account, row.currency, row.amount_minor_units))
    for purchase in paid:
        sale = sales.get(purchase.purchase_id)
        if sale is not None and booked[sale.journal_entry_id] != list(sale.postings):
            stored, wanted = _told(booked[sale.journal_entry_id]), _told(sale.postings)
            description = f"{sale.journal_entry_id}: {stored} is stored, expected {wanted}"
            yield Violation(purchase.account_id, "SALE_IS_BOOKED", description)


_JOURNAL = (
    select(
        tables.journal_entries.c.journal_entry_id,
        tables.journal_entries.c.kind,
        tables.journal_entries.c.purchase_id,
    )
    .where(tables.journal_entries.c.journal_entry_id >= bindparam("first_id"))
    .order_by(tables.journal_entries.c.journal_entry_id)
    .limit(bindparam("rows"))
)


def _unfounded(connection: Connection, shards: int, journal_entries: Iterable[Any]) -> Iterator[Violation]:
    """Names entries of the journal that are of no paid purchase."""
    sales: dict[int, list[Any]] = defaultdict(list)
    for row in journal_entries:
        account_id = account_id_within(row.purchase_id, "pur")
        if row.kind != _SALE:
            yield Violation("", "JOURNAL_KIND", f"{row.journal_entry_id} is of the unknown kind {row.kind}")
        elif account_id is None or row.journal_entry_id != f"sale:{row.purchase_id}":
            yield Violation("", "SALE_IS_BOOKED", f"{row.journal_entry_id} is of no purchase: {row.purchase_id}")
        else:
            sales[shard_of(account_id, shards)].append(row)
    purchases = tables.purchases.c
    for shard_id, rows in sales.items():
        statement = select(purchases.purchase_id).where(
            purchases.shard_id == shard_id,
            purchases.purchase_id.in_([row.purchase_id for row in rows]),
            purchases.state == PurchaseState.PAID.value,
        )
        paid = set(connection.execute(statement).scalars())
        for row in rows:
            if row.purchase_id not in paid:
                description = f"{row.journal_entry_id} is booked, and {row.purchase_id} is not paid"
                yield Violation("", "SALE_IS_BOOKED", description)


def _in_journal_span(table: Table) -> ColumnElement[bool]:
    key = table.c.journal_entry_id
    return and_(key >= bindparam("first_id"), key <= bindparam("last_id"))


def _unbalanced(connection: Connection, span: dict[str, str]) -> Iterator[Violation]:
    for row in connection.execute(_UNBALANCED, span):
        amount = amount_of(row, "amount")
        description = f"{row.journal_entry_id} sums to {amount} minor units of {row.currency}"
        yield Violation("", "JOURNAL_SUMS_TO_ZERO", description)


def _headless(connection: Connection, span: dict[str, str]) -> Iterator[Violation]:
    for journal_entry_id in connection.execute(_HEADLESS, span).scalars():
        yield Violation("", "JOURNAL_ENTRY_EXISTS", f"postings are of {journal_entry_id}, which is not in the journal")


def _told(postings: Iterable[Posting]) -> str:
    return "; ".join(f"{it.money_account} {it.amount_minor_units:+} {it.currency}" for it in postings) or "nothing"


_SUMS = (
    select(
        tables.journal_postings.c.journal_entry_id,
        tables.journal_postings.c.currency,
        *exact_sum("amount", [tables.journal_postings.c.amount_minor_units]),
    )
    .where(_in_journal_span(tables.journal_postings))
    .group_by(tables.journal_postings.c.journal_entry_id, tables.journal_postings.c.currency)
    .subquery("sums")
)
_UNBALANCED = (
    select(_SUMS)
    .where(is_not_zero(_SUMS, "amount"))
    .order_by(_SUMS.c.journal_entry_id, _SUMS.c.currency)
    .limit(MOST_ROWS)
)
_HEADLESS = (
    select(tables.journal_postings.c.journal_entry_id)
    .distinct()
    .where(
        _in_journal_span(tables.journal_postings),
        not_(exists().where(tables.journal_entries.c.journal_entry_id == tables.journal_postings.c.journal_entry_id)),
    )
    .order_by(tables.journal_postings.c.journal_entry_id)
    .limit(MOST_ROWS)
)
