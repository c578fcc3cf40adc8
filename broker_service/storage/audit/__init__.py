"""Recomputing the books from their rows, and naming every difference.

What is stored is never trusted: each figure is summed up again from the rows it is made of. That is done while brokers
serve, in pages: some accounts with all their rows, read in one short snapshot. The database does the summing and
returns little more than what differs, so neither the size of the books nor that of one account matters to memory.

    findings     what is found, and how much of it is listed
    walk         the way through all pages
    accounts     a page of accounts, with the checks of their entries, reservations and grants
    operations, purchases, purchase_refunds, payouts, journal    pages of what is not by account
    bookings     what has to stand in the journal
    checks, sums, allocations    what their statements are made of

An account's rules hold in every snapshot, since a batch writes all that it changes in one transaction.
"""

from broker_service.storage.audit.accounts import PageSize
from broker_service.storage.audit.findings import Audit, Violation
from broker_service.storage.audit.walk import audit, audit_pages

__all__ = ["Audit", "PageSize", "Violation", "audit", "audit_pages"]
