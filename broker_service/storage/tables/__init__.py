"""The schema, once, for every database.

Hot tables: the primary key starts with shard_id, and no foreign key, sequence or unique constraint crosses shards, so
that they can be spread over many machines (docs/ledger.md). What is looked up by its id is keyed by it alone: such ids
carry their account, so rows of one account are neighbours all the same.
"""

from broker_service.storage.tables.columns import Instant, Span, metadata
from broker_service.storage.tables.directory import customers, keys, packs, properties, providers, services
from broker_service.storage.tables.events import deliveries, events, webhooks
from broker_service.storage.tables.ledger import (
    account_tokens,
    accounts,
    entries,
    grants,
    operations,
    reservations,
    trial_claims,
)
from broker_service.storage.tables.sales import (
    auto_top_up_agreements,
    auto_top_ups,
    journal_entries,
    journal_postings,
    payment_methods,
    payment_notices,
    payouts,
    purchase_refunds,
    purchases,
)

__all__ = [
    "Instant",
    "Span",
    "account_tokens",
    "accounts",
    "auto_top_up_agreements",
    "auto_top_ups",
    "customers",
    "deliveries",
    "entries",
    "events",
    "grants",
    "journal_entries",
    "journal_postings",
    "keys",
    "metadata",
    "operations",
    "packs",
    "payment_methods",
    "payment_notices",
    "payouts",
    "properties",
    "providers",
    "purchase_refunds",
    "purchases",
    "reservations",
    "services",
    "trial_claims",
    "webhooks",
]
