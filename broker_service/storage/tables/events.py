"""Events: an outbox, written together with what caused them.

A place in the order of all is given to them afterwards, by one process at a time, so that whoever has read up to a
place misses nothing.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table

from broker_service.storage.tables.columns import count, instant, key, metadata, partial_index, text

events = Table(
    "events",
    metadata,
    key("event_id"),
    Column("position", BigInteger),
    text("type"),
    text("provider_id"),
    text("customer_id"),
    text("account_id"),
    text("data"),
    instant("time"),
    count("entry_count"),
    Column("ordinal", Integer, nullable=False),
)
Index("events_by_position", events.c.position, unique=True)
# In the order that they are given their places in.
partial_index(
    "events_unplaced",
    events.c.time,
    events.c.entry_count,
    events.c.ordinal,
    events.c.event_id,
    where=events.c.position.is_(None),
)
Index("events_by_provider", events.c.provider_id, events.c.position)
Index("events_by_customer", events.c.customer_id, events.c.position)

# `owner_role` is a key's role, or ACCOUNT for an account's low-balance alert.
webhooks = Table(
    "webhooks",
    metadata,
    key("webhook_id"),
    text("owner_role"),
    text("owner_id"),
    text("url"),
    text("types"),
    text("signing_secret"),
    Column("fingerprint", String(32), nullable=False),
    instant("create_time"),
)
Index("webhooks_by_owner", webhooks.c.owner_role, webhooks.c.owner_id)

# What is still to be delivered, or was given up; what was delivered is deleted.
deliveries = Table(
    "deliveries",
    metadata,
    key("webhook_id"),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    text("event_id"),
    text("account_id"),
    text("state"),
    Column("attempts", Integer, nullable=False),
    instant("next_attempt_time"),
    text("last_error"),
    instant("create_time"),
)
partial_index(
    "deliveries_due", deliveries.c.next_attempt_time, deliveries.c.webhook_id, where=deliveries.c.state == "PENDING"
)
partial_index(
    "deliveries_in_order",
    deliveries.c.webhook_id,
    deliveries.c.account_id,
    deliveries.c.position,
    where=deliveries.c.state == "PENDING",
)
