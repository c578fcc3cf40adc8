"""What has to stand in the journal for purchases and their refunds, and whether it does, word for word."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection, select

from broker_service.domain.journal import chargeback_of, refund_of, refund_paid_of, refund_returned_of, sale_of
from broker_service.domain.records import (
    JournalEntry,
    JournalKind,
    Posting,
    Purchase,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
)
from broker_service.storage import tables
from broker_service.storage.audit.findings import Violation

# The rule that a kind of movement breaks when it is not booked, or booked for nothing.
BOOKING_RULES = {
    JournalKind.SALE: "SALE_IS_BOOKED",
    JournalKind.REFUND: "REFUND_IS_BOOKED",
    JournalKind.REFUND_PAID: "REFUND_IS_BOOKED",
    JournalKind.REFUND_RETURNED: "REFUND_IS_BOOKED",
    JournalKind.CHARGEBACK: "CHARGEBACK_IS_BOOKED",
}


def bookings_of(purchase: Purchase, refunds: Iterable[PurchaseRefund]) -> Iterator[JournalEntry]:
    """Yields the movements of money that a paid purchase and its refunds come to."""
    if purchase.pay_time is not None:
        yield sale_of(purchase)
    for refund in refunds:
        yield from bookings_of_refund(purchase.provider_id, refund)


def bookings_of_refund(provider_id: str, refund: PurchaseRefund) -> Iterator[JournalEntry]:
    """Yields the movements of money that a refund or a chargeback comes to.

    When its money moved to the customer and back is not kept with it, so their times are not those of the journal.
    """
    if refund.kind is PurchaseRefundKind.CHARGEBACK:
        yield chargeback_of(provider_id, refund)
        return
    yield refund_of(provider_id, refund)
    for number in range(refund.times_returned):
        moved = replace(refund, resolve_time=refund.create_time)
        yield refund_paid_of(provider_id, replace(moved, times_returned=number))
        yield refund_returned_of(provider_id, replace(moved, times_returned=number + 1))
    if refund.state is PurchaseRefundState.PAID and refund.resolve_time is not None:
        yield refund_paid_of(provider_id, refund)


def unbooked(connection: Connection, bookings: Sequence[tuple[str, JournalEntry]]) -> Iterator[Violation]:
    """Names movements that are not in the journal as they should be; each comes with its account's id.

    That there are no others, the journal's own pages see to.
    """
    postings = tables.journal_postings.c
    booked: dict[str, list[Posting]] = defaultdict(list)
    statement = (
        select(tables.journal_postings)
        .where(postings.journal_entry_id.in_([entry.journal_entry_id for _, entry in bookings]))
        .order_by(postings.journal_entry_id, postings.line)
    )
    for row in connection.execute(statement) if bookings else ():
        booked[row.journal_entry_id].append(Posting(row.money_account, row.currency, row.amount_minor_units))
    for account_id, entry in bookings:
        if booked[entry.journal_entry_id] != list(entry.postings):
            stored, wanted = _told(booked[entry.journal_entry_id]), _told(entry.postings)
            description = f"{entry.journal_entry_id}: {stored} is stored, expected {wanted}"
            yield Violation(account_id, BOOKING_RULES[entry.kind], description)


def _told(postings: Iterable[Posting]) -> str:
    return "; ".join(f"{it.money_account} {it.amount_minor_units:+} {it.currency}" for it in postings) or "nothing"
