"""Sales: cold, but written together with the ledger."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, String, Table

from broker_service.storage.tables.columns import Span, count, instant, key, metadata, partial_index, shard, text

purchases = Table(
    "purchases",
    metadata,
    shard(),
    key("purchase_id"),
    text("account_id"),
    text("provider_id"),
    text("service"),
    text("pack_id"),
    text("pack_title"),
    count("credits"),
    Column("validity", Span),
    Column("currency", String(3), nullable=False),
    count("price_minor_units"),
    count("commission_minor_units"),
    text("state"),
    Column("fingerprint", String(32), nullable=False),
    instant("create_time"),
    instant("pay_time", nullable=True),
    text("origin"),
    text("gateway"),
    text("gateway_reference"),
    text("checkout_url"),
    text("return_url"),
    instant("checkout_expire_time"),
    count("refunded_credits"),
    count("refunded_minor_units"),
    count("refunded_commission_minor_units"),
    Column("saves_method", Boolean, nullable=False),
    Column("chargeback_told", Boolean, nullable=False),
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
partial_index(
    "purchases_by_provider", purchases.c.provider_id, purchases.c.pay_time, where=purchases.c.pay_time.is_not(None)
)

purchase_refunds = Table(
    "purchase_refunds",
    metadata,
    key("refund_id"),
    text("account_id"),
    text("purchase_id"),
    text("kind"),
    text("state"),
    count("credits"),
    Column("currency", String(3), nullable=False),
    count("amount_minor_units"),
    count("commission_minor_units"),
    text("reason"),
    Column("fingerprint", String(32), nullable=False),
    text("gateway_reference"),
    instant("create_time"),
    instant("resolve_time", nullable=True),
    Column("times_returned", Integer, nullable=False),
)
Index("purchase_refunds_by_purchase", purchase_refunds.c.purchase_id)
# Refunds that the gateway has not been asked for, or has not answered yet.
partial_index(
    "purchase_refunds_open",
    purchase_refunds.c.create_time,
    where=purchase_refunds.c.state == "REQUESTED",
)
# Refunds that their gateway has not paid, and customers are owed.
partial_index(
    "purchase_refunds_owed",
    purchase_refunds.c.create_time,
    purchase_refunds.c.refund_id,
    where=purchase_refunds.c.state == "FAILED",
)

payment_notices = Table(
    "payment_notices",
    metadata,
    key("notice_id"),
    text("account_id"),
    text("gateway"),
    text("gateway_event_id"),
    text("kind"),
    text("purchase_id"),
    Column("currency", String(3)),
    Column("amount_minor_units", BigInteger),
    text("outcome"),
    text("detail"),
    Column("times_received", Integer, nullable=False),
    instant("receive_time"),
)
Index("payment_notices_by_time", payment_notices.c.receive_time, payment_notices.c.notice_id)

# How a customer has paid for an account before, in the gateway's words, for payments without the customer.
payment_methods = Table(
    "payment_methods",
    metadata,
    key("account_id"),
    key("gateway"),
    text("customer_reference"),
    text("method_reference"),
    instant("create_time"),
)

auto_top_ups = Table(
    "auto_top_ups",
    metadata,
    key("account_id"),
    text("state"),
    text("pack_id"),
    count("threshold_credits"),
    Column("currency", String(3), nullable=False),
    count("monthly_cap_minor_units"),
    text("consent"),
    instant("consent_time"),
    Column("failed_payments", Integer, nullable=False),
    text("gateway"),
    text("customer_reference"),
    text("method_reference"),
    instant("next_attempt_time", nullable=True),
    text("pending_purchase_id", nullable=True),
    Column("asked", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("agreements", Integer, nullable=False),
)

# Everything that a customer ever agreed to, by its number.
auto_top_up_agreements = Table(
    "auto_top_up_agreements",
    metadata,
    key("account_id"),
    Column("number", Integer, primary_key=True, autoincrement=False),
    text("pack_id"),
    count("threshold_credits"),
    Column("currency", String(3), nullable=False),
    count("monthly_cap_minor_units"),
    text("consent"),
    instant("consent_time"),
)

journal_entries = Table(
    "journal_entries",
    metadata,
    key("journal_entry_id"),
    text("kind"),
    text("provider_id"),
    text("purchase_id", nullable=True),
    text("payout_id", nullable=True),
    instant("time"),
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
    key("journal_entry_id"),
    Column("line", Integer, primary_key=True, autoincrement=False),
    text("money_account"),
    Column("currency", String(3), nullable=False),
    count("amount_minor_units"),
)
Index("journal_postings_by_account", journal_postings.c.money_account, journal_postings.c.currency)

payouts = Table(
    "payouts",
    metadata,
    key("payout_id"),
    text("provider_id"),
    Column("currency", String(3), nullable=False),
    count("amount_minor_units"),
    text("state"),
    text("reference"),
    Column("fingerprint", String(32), nullable=False),
    text("resolution_id", nullable=True),
    Column("resolution_fingerprint", String(32)),
    instant("create_time"),
    instant("resolve_time", nullable=True),
    CheckConstraint("amount_minor_units > 0", name="payouts_pay_something"),
)
Index("payouts_by_provider", payouts.c.provider_id, payouts.c.create_time)
