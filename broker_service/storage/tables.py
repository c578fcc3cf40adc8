"""The schema, once, for every database.

Hot tables: the primary key starts with shard_id, and no foreign key, sequence or unique constraint crosses shards, so
that they can be spread over many machines (docs/ledger.md). What is looked up by its id is keyed by it alone: such ids
carry their account, so rows of one account are neighbours all the same. Instants are whole microseconds since 1970 in
UTC: exact, and the same order and arithmetic on every database.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
)

metadata = MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as whole microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """To the database."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        """From the database."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Span(TypeDecorator[timedelta]):
    """A length of time, stored as whole microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Any) -> int | None:
        """To the database."""
        return None if value is None else value // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Any) -> timedelta | None:
        """From the database."""
        return None if value is None else timedelta(microseconds=value)


# Text sorts by its bytes everywhere: as SQLite does by itself, and far cheaper than by the rules of a language.
_BYTEWISE_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(name, _BYTEWISE_TEXT, nullable=nullable and not primary_key, primary_key=primary_key)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _instant(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Instant, nullable=nullable)


def _shard() -> Column[int]:
    return Column("shard_id", Integer, primary_key=True, autoincrement=False)


def _key(name: str) -> Column[str]:
    return _text(name, primary_key=True)


def _partial_index(name: str, *columns: Column[Any], where: ColumnElement[bool]) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


# Small rows that change all the time. SQLite: one tree, by primary key. PostgreSQL: room on each page for the next
# version of a row, so that its indexes need not change with it.
_UPDATED_IN_PLACE: dict[str, Any] = {"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 50}}

# Hot: the ledger.

accounts = Table(
    "accounts",
    metadata,
    _shard(),
    _key("account_id"),
    _text("customer_id"),
    _text("provider_id"),
    _text("service"),
    _text("state"),
    _count("ledger_credits"),
    _count("reserved_credits"),
    _count("entry_count"),
    _instant("create_time"),
    _instant("update_time"),
    _text("state_reason"),
    _count("low_balance_credits"),
    _count("token_epoch"),
    CheckConstraint("reserved_credits >= 0", name="accounts_reserved_credits_not_negative"),
    CheckConstraint("ledger_credits >= reserved_credits", name="accounts_ledger_credits_cover_reserved"),
    **_UPDATED_IN_PLACE,
)

grants = Table(
    "grants",
    metadata,
    _shard(),
    _key("account_id"),
    _key("grant_id"),
    _text("kind"),
    Column("priority", Integer, nullable=False),
    _count("credits"),
    _count("remaining_credits"),
    _count("reserved_credits"),
    _instant("expire_time", nullable=True),
    _text("purchase_id", nullable=True),
    _instant("create_time"),
    # Whether nothing remains. By itself, so that an index can leave spent grants out without having to change
    # whenever credits do.
    Column("spent", Boolean, nullable=False),
    CheckConstraint("reserved_credits >= 0", name="grants_reserved_credits_not_negative"),
    CheckConstraint("remaining_credits >= reserved_credits", name="grants_remaining_credits_cover_reserved"),
    CheckConstraint("credits >= remaining_credits", name="grants_credits_cover_remaining"),
    CheckConstraint("spent = (remaining_credits = 0)", name="grants_spent_when_nothing_remains"),
    **_UPDATED_IN_PLACE,
)

# What an account has left; spent grants stay in the table and out of every batch.
_partial_index("grants_remaining", grants.c.shard_id, grants.c.account_id, where=grants.c.spent.is_(False))
# Grants whose time is over, for the sweeper.
_partial_index(
    "grants_due",
    grants.c.shard_id,
    grants.c.expire_time,
    where=and_(grants.c.spent.is_(False), grants.c.expire_time.is_not(None)),
)

reservations = Table(
    "reservations",
    metadata,
    _shard(),
    _key("reservation_id"),
    _text("account_id"),
    _text("provider_id"),
    _text("service"),
    _text("state"),
    _count("reserved_credits"),
    _count("captured_credits"),
    _count("released_credits"),
    _count("refunded_credits"),
    _text("allocations"),
    Column("fingerprint", String(32), nullable=False),
    _instant("create_time"),
    _instant("expire_time"),
    _instant("resolve_time", nullable=True),
    _text("description"),
    _text("metadata"),
    CheckConstraint("refunded_credits BETWEEN 0 AND captured_credits", name="reservations_refunded_within_captured"),
    CheckConstraint(
        "captured_credits >= 0 AND released_credits >= 0 AND reserved_credits >= captured_credits + released_credits",
        name="reservations_credits_add_up",
    ),
)

# Overdue reservations: all of them for the sweeper, and those of a batch's accounts in every batch.
_partial_index(
    "reservations_due",
    reservations.c.shard_id,
    reservations.c.expire_time,
    reservations.c.account_id,
    where=reservations.c.state == "ACTIVE",
)
# An account's reservations, newest first. Without the shard, which follows from the account: a planner that knows
# nothing of the table yet would take this index for any statement that names a shard.
Index("reservations_by_time", reservations.c.account_id, reservations.c.create_time)

entries = Table(
    "entries",
    metadata,
    _shard(),
    _key("account_id"),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _text("kind"),
    _count("credits"),
    _text("counterpart"),
    _count("ledger_credits_after"),
    _instant("time"),
    _text("reservation_id", nullable=True),
    _text("purchase_id", nullable=True),
    _text("description"),
    CheckConstraint("credits <> 0", name="entries_move_credits"),
    CheckConstraint("ledger_credits_after >= 0", name="entries_ledger_credits_not_negative"),
    sqlite_with_rowid=False,
)

operations = Table(
    "operations",
    metadata,
    _shard(),
    _key("operation_id"),
    _text("account_id"),
    _text("kind"),
    Column("fingerprint", String(32), nullable=False),
    _instant("time"),
    _count("captured_credits"),
    _count("released_credits"),
    _count("refunded_credits"),
    sqlite_with_rowid=False,
)

# Cold, but written together with the ledger: sales.

purchases = Table(
    "purchases",
    metadata,
    _shard(),
    _key("purchase_id"),
    _text("account_id"),
    _text("provider_id"),
    _text("service"),
    _text("pack_id"),
    _text("pack_title"),
    _count("credits"),
    Column("validity", Span),
    Column("currency", String(3), nullable=False),
    _count("price_minor_units"),
    _count("commission_minor_units"),
    _text("state"),
    Column("fingerprint", String(32), nullable=False),
    _instant("create_time"),
    _instant("pay_time", nullable=True),
    _text("origin"),
    _text("gateway"),
    _text("gateway_reference"),
    _text("checkout_url"),
    _text("return_url"),
    _instant("checkout_expire_time"),
    _count("refunded_credits"),
    _count("refunded_minor_units"),
    _count("refunded_commission_minor_units"),
    CheckConstraint(
        "commission_minor_units >= 0 AND commission_minor_units <= price_minor_units",
        name="purchases_commission_within_price",
    ),
    CheckConstraint("refunded_credits BETWEEN 0 AND credits", name="purchases_refunded_within_credits"),
    CheckConstraint("refunded_minor_units BETWEEN 0 AND price_minor_units", name="purchases_refunded_within_price"),
    CheckConstraint(
        "refunded_commission_minor_units BETWEEN 0 AND commission_minor_units",
        name="purchases_refunded_within_commission",
    ),
)
Index("purchases_by_account", purchases.c.account_id, purchases.c.create_time)
# A provider's sales.
_partial_index(
    "purchases_by_provider", purchases.c.provider_id, purchases.c.pay_time, where=purchases.c.pay_time.is_not(None)
)

purchase_refunds = Table(
    "purchase_refunds",
    metadata,
    _key("refund_id"),
    _text("account_id"),
    _text("purchase_id"),
    _text("kind"),
    _text("state"),
    _count("credits"),
    Column("currency", String(3), nullable=False),
    _count("amount_minor_units"),
    _count("commission_minor_units"),
    _text("reason"),
    Column("fingerprint", String(32), nullable=False),
    _text("gateway_reference"),
    _instant("create_time"),
    _instant("resolve_time", nullable=True),
)
Index("purchase_refunds_by_purchase", purchase_refunds.c.purchase_id)
# Refunds that the gateway has not been asked for, or has not answered yet.
_partial_index(
    "purchase_refunds_open",
    purchase_refunds.c.create_time,
    where=purchase_refunds.c.state == "REQUESTED",
)

payment_notices = Table(
    "payment_notices",
    metadata,
    _key("notice_id"),
    _text("account_id"),
    _text("gateway"),
    _text("gateway_event_id"),
    _text("kind"),
    _text("purchase_id"),
    Column("currency", String(3)),
    Column("amount_minor_units", BigInteger),
    _text("outcome"),
    _text("detail"),
    Column("times_received", Integer, nullable=False),
    _instant("receive_time"),
)
Index("payment_notices_by_time", payment_notices.c.receive_time, payment_notices.c.notice_id)

# How a customer has paid for an account before, in the gateway's words, for payments without the customer.
payment_methods = Table(
    "payment_methods",
    metadata,
    _key("account_id"),
    _key("gateway"),
    _text("customer_reference"),
    _text("method_reference"),
    _instant("create_time"),
)

auto_top_ups = Table(
    "auto_top_ups",
    metadata,
    _key("account_id"),
    _text("state"),
    _text("pack_id"),
    _count("threshold_credits"),
    Column("currency", String(3), nullable=False),
    _count("monthly_cap_minor_units"),
    _text("consent"),
    _instant("consent_time"),
    Column("failed_payments", Integer, nullable=False),
    _instant("next_attempt_time", nullable=True),
    _text("pending_purchase_id", nullable=True),
    Column("attempts", Integer, nullable=False),
)

journal_entries = Table(
    "journal_entries",
    metadata,
    _key("journal_entry_id"),
    _text("kind"),
    _text("provider_id"),
    _text("purchase_id", nullable=True),
    _text("payout_id", nullable=True),
    _instant("time"),
)
Index(
    "journal_entries_by_provider",
    journal_entries.c.provider_id,
    journal_entries.c.time,
    journal_entries.c.journal_entry_id,
)

journal_postings = Table(
    "journal_postings",
    metadata,
    _key("journal_entry_id"),
    Column("line", Integer, primary_key=True, autoincrement=False),
    _text("money_account"),
    Column("currency", String(3), nullable=False),
    _count("amount_minor_units"),
)
Index("journal_postings_by_account", journal_postings.c.money_account, journal_postings.c.currency)

payouts = Table(
    "payouts",
    metadata,
    _key("payout_id"),
    _text("provider_id"),
    Column("currency", String(3), nullable=False),
    _count("amount_minor_units"),
    _text("state"),
    _text("reference"),
    Column("fingerprint", String(32), nullable=False),
    _text("resolution_id", nullable=True),
    Column("resolution_fingerprint", String(32)),
    _instant("create_time"),
    _instant("resolve_time", nullable=True),
    CheckConstraint("amount_minor_units > 0", name="payouts_pay_something"),
)
Index("payouts_by_provider", payouts.c.provider_id, payouts.c.create_time)

trial_claims = Table(
    "trial_claims",
    metadata,
    _key("customer_id"),
    _key("service"),
    _text("account_id"),
    _instant("time"),
)

account_tokens = Table(
    "account_tokens",
    metadata,
    _key("token_hash"),
    _text("account_id"),
    _instant("create_time"),
    _instant("expire_time", nullable=True),
)
Index("account_tokens_by_account", account_tokens.c.account_id)

# Cold: who is who, and what is for sale.

providers = Table(
    "providers",
    metadata,
    _key("provider_id"),
    _text("name"),
    _text("state"),
    Column("commission_basis_points", Integer),
    Column("fingerprint", String(32), nullable=False),
    _instant("create_time"),
)

customers = Table(
    "customers",
    metadata,
    _key("customer_id"),
    _text("name"),
    _text("email"),
    Column("fingerprint", String(32), nullable=False),
    _instant("create_time"),
)

keys = Table(
    "keys",
    metadata,
    _key("key_id"),
    Column("secret_hash", String(64), nullable=False, unique=True),
    _text("role"),
    _text("owner_id"),
    _text("title"),
    _instant("create_time"),
    _instant("revoke_time", nullable=True),
)

services = Table(
    "services",
    metadata,
    _key("service"),
    Column("creation_id", Text, nullable=False, unique=True),
    _text("provider_id"),
    _text("title"),
    _text("description"),
    _text("unit_name"),
    _count("trial_credits"),
    Column("default_ttl", Span, nullable=False),
    Column("max_ttl", Span, nullable=False),
    _text("state"),
    Column("fingerprint", String(32), nullable=False),
    _instant("create_time"),
)

packs = Table(
    "packs",
    metadata,
    _key("pack_id"),
    _text("service"),
    _text("title"),
    _count("credits"),
    Column("currency", String(3), nullable=False),
    _count("price_minor_units"),
    Column("validity", Span),
    Column("archived", Boolean, nullable=False),
    Column("fingerprint", String(32), nullable=False),
    _instant("create_time"),
)
Index("packs_by_service", packs.c.service, packs.c.credits)

# Events: an outbox, written together with what caused them. A place in the order of all is given to them afterwards,
# by one process at a time, so that whoever has read up to a place misses nothing.

events = Table(
    "events",
    metadata,
    _key("event_id"),
    Column("position", BigInteger),
    _text("type"),
    _text("provider_id"),
    _text("customer_id"),
    _text("account_id"),
    _text("data"),
    _instant("time"),
)
Index("events_by_position", events.c.position, unique=True)
_partial_index("events_unplaced", events.c.time, events.c.event_id, where=events.c.position.is_(None))
Index("events_by_provider", events.c.provider_id, events.c.position)
Index("events_by_customer", events.c.customer_id, events.c.position)

# `owner_role` is a key's role, or ACCOUNT for an account's low-balance alert.
webhooks = Table(
    "webhooks",
    metadata,
    _key("webhook_id"),
    _text("owner_role"),
    _text("owner_id"),
    _text("url"),
    _text("types"),
    _text("signing_secret"),
    Column("fingerprint", String(32), nullable=False),
    _instant("create_time"),
)
Index("webhooks_by_owner", webhooks.c.owner_role, webhooks.c.owner_id)

# What is still to be delivered, or was given up; what was delivered is deleted.
deliveries = Table(
    "deliveries",
    metadata,
    _key("webhook_id"),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    _text("event_id"),
    _text("account_id"),
    _text("state"),
    Column("attempts", Integer, nullable=False),
    _instant("next_attempt_time"),
    _text("last_error"),
    _instant("create_time"),
)
_partial_index(
    "deliveries_due", deliveries.c.next_attempt_time, deliveries.c.webhook_id, where=deliveries.c.state == "PENDING"
)
_partial_index(
    "deliveries_in_order",
    deliveries.c.webhook_id,
    deliveries.c.account_id,
    deliveries.c.position,
    where=deliveries.c.state == "PENDING",
)

# What `init` decided about this database.
properties = Table(
    "properties",
    metadata,
    _key("name"),
    _text("value"),
)
