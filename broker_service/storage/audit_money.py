"""Comparing the money journal with the sales it was written for."""

from collections import defaultdict
from collections.abc import Iterator

from sqlalchemy import Connection, select

from broker_service.domain.purchases import sale_of
from broker_service.domain.records import Posting, Purchase, PurchaseState
from broker_service.storage import tables
from broker_service.storage.ledger_rows import to_purchase

Difference = tuple[str, str]
Postings = dict[str, list[Posting]]


def money_differences(connection: Connection) -> Iterator[Difference]:
    """Names each rule that the money breaks, and where."""
    journal = _postings(connection)
    paid = {
        row.purchase_id: to_purchase(row)
        for row in connection.execute(
            select(tables.purchases).where(tables.purchases.c.state == PurchaseState.PAID.value)
        )
    }
    yield from _sums_to_zero(journal)
    yield from _sales_are_booked(journal, paid)
    yield from _purchases_are_granted(connection, paid)


def _postings(connection: Connection) -> Postings:
    journal: Postings = defaultdict(list)
    for row in connection.execute(select(tables.journal_postings).order_by(tables.journal_postings.c.line)):
        journal[row.journal_entry_id].append(Posting(row.money_account, row.currency, row.amount_minor_units))
    return journal


def _sums_to_zero(journal: Postings) -> Iterator[Difference]:
    for journal_entry_id, postings in journal.items():
        sums: dict[str, int] = defaultdict(int)
        for posting in postings:
            sums[posting.currency] += posting.amount_minor_units
        for currency, amount in sums.items():
            if amount:
                yield "JOURNAL_SUMS_TO_ZERO", f"{journal_entry_id} sums to {amount} minor units of {currency}"


def _sales_are_booked(journal: Postings, paid: dict[str, Purchase]) -> Iterator[Difference]:
    """Compares each entry of the journal with the paid purchase that it should be of."""
    expected = {}
    for purchase in paid.values():
        if purchase.pay_time is None:
            yield "PAID_AT_A_TIME", f"{purchase.purchase_id} is paid, but has no time of payment"
            continue
        sale = sale_of(purchase)
        expected[sale.journal_entry_id] = list(sale.postings)
    for journal_entry_id in sorted(journal.keys() | expected.keys()):
        stored, wanted = journal.get(journal_entry_id), expected.get(journal_entry_id)
        if stored != wanted:
            yield "SALE_IS_BOOKED", f"{journal_entry_id}: {stored} is stored, expected {wanted}"


def _purchases_are_granted(connection: Connection, paid: dict[str, Purchase]) -> Iterator[Difference]:
    granted = {
        row.purchase_id: row.credits
        for row in connection.execute(select(tables.grants).where(tables.grants.c.purchase_id.is_not(None)))
    }
    for purchase_id in sorted(paid.keys() | granted.keys()):
        bought = paid[purchase_id].credits if purchase_id in paid else 0
        if granted.get(purchase_id, 0) != bought:
            description = f"{purchase_id} paid for {bought} credits, granted {granted.get(purchase_id, 0)}"
            yield "PURCHASE_IS_GRANTED", description
