"""The way through all the books, page by page."""

from collections.abc import Callable, Generator, Iterator
from functools import partial

from sqlalchemy import Connection

from broker_service.storage.audit.accounts import PageSize, audit_accounts
from broker_service.storage.audit.checks import FIRST_ID
from broker_service.storage.audit.findings import Audit, Figures, Findings, Page, ReadPage, Violation
from broker_service.storage.audit.journal import audit_journal
from broker_service.storage.audit.operations import audit_operations
from broker_service.storage.audit.payouts import audit_payouts
from broker_service.storage.audit.purchase_refunds import audit_refunds
from broker_service.storage.audit.purchases import audit_purchases
from broker_service.storage.schema import shards_of


def audit_pages(shards: int, size: PageSize | None = None) -> Generator[ReadPage, Page, Audit]:
    """Yields what reads one page after the other; is sent each page that was read, and returns the audit.

    Each page is to be read in one snapshot. All that belongs to an account is in one page, so writers may go on
    between pages.
    """
    size = size or PageSize()
    findings = Findings()
    for shard_id in range(shards):
        books = yield from _walk(partial(audit_accounts, shard_id=shard_id, shards=shards, size=size), findings)
        findings.figures += books
        findings.list_all(_books_sum_to_zero(shard_id, books))
        yield from _walk(partial(audit_operations, shard_id=shard_id, rows=size.rows), findings)
        yield from _walk(partial(audit_purchases, shard_id=shard_id, rows=size.rows), findings)
    yield from _walk(partial(audit_payouts, rows=size.rows), findings)
    yield from _walk(partial(audit_refunds, shards=shards, rows=size.rows), findings)
    yield from _walk(partial(audit_journal, shards=shards, rows=size.rows), findings)
    return findings.as_audit()


def audit(connection: Connection, size: PageSize | None = None) -> Audit:
    """Checks all the books in one transaction: for books that are at rest, or are changed in that very transaction."""
    pages = audit_pages(shards_of(connection), size)
    read_page = next(pages)
    while True:
        try:
            read_page = pages.send(read_page(connection))
        except StopIteration as end:
            found: Audit = end.value
            return found


def _walk(read_page: Callable[..., Page], findings: Findings) -> Generator[ReadPage, Page, Figures]:
    """Goes from the first page to the last, and returns what their rows come to."""
    figures = Figures()
    next_id: str | None = FIRST_ID
    while next_id is not None:
        page = yield partial(read_page, first_id=next_id)
        findings.list_all(page.violations)
        figures += page.figures
        for read_further in page.further:
            further = yield read_further
            findings.list_all(further.violations)
        next_id = page.next_id
    return figures


def _books_sum_to_zero(shard_id: int, books: Figures) -> Iterator[Violation]:
    """Compares what a shard's accounts hold with the other side of all its entries."""
    total = books.ledger_credits + sum(books.counterparts.values())
    if total:
        sides = ", ".join(f"{name} {amount}" for name, amount in sorted(books.counterparts.items()))
        description = f"shard {shard_id} sums to {total}: accounts {books.ledger_credits}, {sides}"
        yield Violation("", "BOOKS_SUM_TO_ZERO", description)
