"""The movements of money, in double entry (docs/money.md).

What is added to a money account is positive, what is taken off negative. So what the broker holds stands as a positive
sum (`gateway_clearing`), and what it owes or has earned as a negative one.
"""

from broker_service.domain.errors import InvariantError
from broker_service.domain.records import JournalEntry, JournalKind, Posting, Purchase, PurchaseRefund

GATEWAY_CLEARING = "gateway_clearing"
COMMISSION = "commission"
REFUNDS_IN_TRANSIT = "refunds_in_transit"


def payable_to(provider_id: str) -> str:
    """Returns the money account that holds what a provider is owed."""
    return f"provider_payable:{provider_id}"


def sale_of(purchase: Purchase) -> JournalEntry:
    """Returns the movement of money that a paid purchase is."""
    if purchase.pay_time is None:
        raise InvariantError(f"purchase {purchase.purchase_id} is paid without a time")
    currency = purchase.currency
    return JournalEntry(
        journal_entry_id=f"sale:{purchase.purchase_id}",
        kind=JournalKind.SALE,
        provider_id=purchase.provider_id,
        purchase_id=purchase.purchase_id,
        payout_id=None,
        time=purchase.pay_time,
        postings=(
            Posting(GATEWAY_CLEARING, currency, purchase.price_minor_units),
            Posting(payable_to(purchase.provider_id), currency, -purchase.provider_share_minor_units),
            Posting(COMMISSION, currency, -purchase.commission_minor_units),
        ),
    )


def refund_of(provider_id: str, refund: PurchaseRefund) -> JournalEntry:
    """Returns the movement that a refund is: provider and broker give back, and the customer is owed."""
    return _return_of(JournalKind.REFUND, f"refund:{refund.refund_id}", REFUNDS_IN_TRANSIT, provider_id, refund)


def chargeback_of(provider_id: str, refund: PurchaseRefund) -> JournalEntry:
    """Returns the movement that a chargeback is: provider and broker give back what the bank has taken."""
    return _return_of(JournalKind.CHARGEBACK, f"chargeback:{refund.refund_id}", GATEWAY_CLEARING, provider_id, refund)


def refund_paid_of(provider_id: str, refund: PurchaseRefund) -> JournalEntry:
    """Returns the movement that ends a refund: what the customer was owed has left the gateway.

    What came back can be paid again, so the movement has a number from the second on.
    """
    number = refund.times_returned + 1
    return _end_of(JournalKind.REFUND_PAID, number, provider_id, refund, refund.amount_minor_units)


def refund_returned_of(provider_id: str, refund: PurchaseRefund) -> JournalEntry:
    """Returns the movement of the last return: what was paid is at the gateway again, and the customer is owed it."""
    number = refund.times_returned
    return _end_of(JournalKind.REFUND_RETURNED, number, provider_id, refund, -refund.amount_minor_units)


def _end_of(
    kind: JournalKind, number: int, provider_id: str, refund: PurchaseRefund, paid_minor_units: int
) -> JournalEntry:
    if refund.resolve_time is None:
        raise InvariantError(f"refund {refund.refund_id} is paid without a time")
    journal_entry_id = f"{kind.lower()}:{refund.refund_id}"
    return JournalEntry(
        journal_entry_id=journal_entry_id if number == 1 else f"{journal_entry_id}:{number}",
        kind=kind,
        provider_id=provider_id,
        purchase_id=refund.purchase_id,
        payout_id=None,
        time=refund.resolve_time,
        postings=(
            Posting(REFUNDS_IN_TRANSIT, refund.currency, paid_minor_units),
            Posting(GATEWAY_CLEARING, refund.currency, -paid_minor_units),
        ),
    )


def _return_of(
    kind: JournalKind, journal_entry_id: str, taken_from: str, provider_id: str, refund: PurchaseRefund
) -> JournalEntry:
    return JournalEntry(
        journal_entry_id=journal_entry_id,
        kind=kind,
        provider_id=provider_id,
        purchase_id=refund.purchase_id,
        payout_id=None,
        time=refund.create_time,
        postings=(
            Posting(taken_from, refund.currency, -refund.amount_minor_units),
            Posting(payable_to(provider_id), refund.currency, refund.share_minor_units),
            Posting(COMMISSION, refund.currency, refund.commission_minor_units),
        ),
    )
