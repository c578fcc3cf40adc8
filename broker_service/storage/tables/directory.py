"""Who is who, and what is for sale: cold."""

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text

from broker_service.storage.tables.columns import Span, count, instant, key, metadata, text

providers = Table(
    "providers",
    metadata,
    key("provider_id"),
    text("name"),
    text("state"),
    Column("commission_basis_points", Integer),
    Column("fingerprint", String(32), nullable=False),
    instant("create_time"),
)

customers = Table(
    "customers",
    metadata,
    key("customer_id"),
    text("name"),
    text("email"),
    Column("fingerprint", String(32), nullable=False),
    instant("create_time"),
)

keys = Table(
    "keys",
    metadata,
    key("key_id"),
    Column("secret_hash", String(64), nullable=False, unique=True),
    text("role"),
    text("owner_id"),
    text("title"),
    instant("create_time"),
    instant("revoke_time", nullable=True),
)

services = Table(
    "services",
    metadata,
    key("service"),
    Column("creation_id", Text, nullable=False, unique=True),
    text("provider_id"),
    text("title"),
    text("description"),
    text("unit_name"),
    count("trial_credits"),
    Column("default_ttl", Span, nullable=False),
    Column("max_ttl", Span, nullable=False),
    text("state"),
    Column("fingerprint", String(32), nullable=False),
    instant("create_time"),
)

packs = Table(
    "packs",
    metadata,
    key("pack_id"),
    text("service"),
    text("title"),
    count("credits"),
    Column("currency", String(3), nullable=False),
    count("price_minor_units"),
    Column("validity", Span),
    Column("archived", Boolean, nullable=False),
    Column("fingerprint", String(32), nullable=False),
    instant("create_time"),
)
Index("packs_by_service", packs.c.service, packs.c.credits)

# What `init` decided about this database.
properties = Table(
    "properties",
    metadata,
    key("name"),
    text("value"),
)
