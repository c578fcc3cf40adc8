"""The first schema: the ledger, the money journal, and who sells what."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Instants and spans are whole microseconds.
_INSTANT = sa.BigInteger()
_SPAN = sa.BigInteger()
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Makes every table."""
    _make_accounts()
    _make_grants()
    _make_reservations()
    _make_entries()
    _make_operations()
    _make_purchases()
    _make_purchase_refunds()
    _make_payment_notices()
    _make_payment_methods()
    _make_auto_top_ups()
    _make_auto_top_up_agreements()
    _make_journal_entries()
    _make_journal_postings()
    _make_payouts()
    _make_trial_claims()
    _make_account_tokens()
    _make_providers()
    _make_customers()
    _make_keys()
    _make_services()
    _make_packs()
    _make_events()
    _make_webhooks()
    _make_deliveries()
    _make_properties()


def _make_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("shard_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("account_id", _TEXT, primary_key=True),
        sa.Column("customer_id", _TEXT, nullable=False),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("service", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("ledger_credits", sa.BigInteger(), nullable=False),
        sa.Column("reserved_credits", sa.BigInteger(), nullable=False),
        sa.Column("entry_count", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("update_time", _INSTANT, nullable=False),
        sa.Column("state_reason", _TEXT, nullable=False),
        sa.Column("low_balance_credits", sa.BigInteger(), nullable=False),
        sa.Column("token_epoch", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("reserved_credits >= 0", name="accounts_reserved_credits_not_negative"),
        sa.CheckConstraint("ledger_credits >= reserved_credits", name="accounts_ledger_credits_cover_reserved"),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 50},
    )


def _make_grants() -> None:
    op.create_table(
        "grants",
        sa.Column("shard_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("account_id", _TEXT, primary_key=True),
        sa.Column("grant_id", _TEXT, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("remaining_credits", sa.BigInteger(), nullable=False),
        sa.Column("reserved_credits", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", _INSTANT, nullable=True),
        sa.Column("purchase_id", _TEXT, nullable=True),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("spent", sa.Boolean(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.CheckConstraint("reserved_credits >= 0", name="grants_reserved_credits_not_negative"),
        sa.CheckConstraint("remaining_credits >= reserved_credits", name="grants_remaining_credits_cover_reserved"),
        sa.CheckConstraint("credits >= remaining_credits", name="grants_credits_cover_remaining"),
        sa.CheckConstraint("spent = (remaining_credits = 0)", name="grants_spent_when_nothing_remains"),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "grants_due",
        "grants",
        ["shard_id", "expire_time"],
        sqlite_where=sa.text("spent IS 0 AND expire_time IS NOT NULL"),
        postgresql_where=sa.text("spent IS false AND expire_time IS NOT NULL"),
    )
    op.create_index(
        "grants_remaining",
        "grants",
        ["shard_id", "account_id"],
        sqlite_where=sa.text("spent IS 0"),
        postgresql_where=sa.text("spent IS false"),
    )


def _make_reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("shard_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("reservation_id", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("service", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("reserved_credits", sa.BigInteger(), nullable=False),
        sa.Column("captured_credits", sa.BigInteger(), nullable=False),
        sa.Column("released_credits", sa.BigInteger(), nullable=False),
        sa.Column("refunded_credits", sa.BigInteger(), nullable=False),
        sa.Column("allocations", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("expire_time", _INSTANT, nullable=False),
        sa.Column("resolve_time", _INSTANT, nullable=True),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("metadata", _TEXT, nullable=False),
        sa.CheckConstraint(
            "refunded_credits BETWEEN 0 AND captured_credits", name="reservations_refunded_within_captured"
        ),
        sa.CheckConstraint(
            "captured_credits >= 0 AND released_credits >= 0 "
            "AND reserved_credits >= captured_credits + released_credits",
            name="reservations_credits_add_up",
        ),
    )
    op.create_index("reservations_by_time", "reservations", ["account_id", "create_time"])
    op.create_index(
        "reservations_due",
        "reservations",
        ["shard_id", "expire_time", "account_id"],
        sqlite_where=sa.text("state = 'ACTIVE'"),
        postgresql_where=sa.text("state = 'ACTIVE'"),
    )


def _make_entries() -> None:
    op.create_table(
        "entries",
        sa.Column("shard_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("account_id", _TEXT, primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("counterpart", _TEXT, nullable=False),
        sa.Column("ledger_credits_after", sa.BigInteger(), nullable=False),
        sa.Column("time", _INSTANT, nullable=False),
        sa.Column("reservation_id", _TEXT, nullable=True),
        sa.Column("purchase_id", _TEXT, nullable=True),
        sa.Column("description", _TEXT, nullable=False),
        sa.CheckConstraint("credits <> 0", name="entries_move_credits"),
        sa.CheckConstraint("ledger_credits_after >= 0", name="entries_ledger_credits_not_negative"),
        sqlite_with_rowid=False,
    )


def _make_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("shard_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("operation_id", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("time", _INSTANT, nullable=False),
        sa.Column("captured_credits", sa.BigInteger(), nullable=False),
        sa.Column("released_credits", sa.BigInteger(), nullable=False),
        sa.Column("refunded_credits", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )


def _make_purchases() -> None:
    op.create_table(
        "purchases",
        sa.Column("shard_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("purchase_id", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("service", _TEXT, nullable=False),
        sa.Column("pack_id", _TEXT, nullable=False),
        sa.Column("pack_title", _TEXT, nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("validity", _SPAN, nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("price_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("commission_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("pay_time", _INSTANT, nullable=True),
        sa.Column("origin", _TEXT, nullable=False),
        sa.Column("gateway", _TEXT, nullable=False),
        sa.Column("gateway_reference", _TEXT, nullable=False),
        sa.Column("checkout_url", _TEXT, nullable=False),
        sa.Column("return_url", _TEXT, nullable=False),
        sa.Column("checkout_expire_time", _INSTANT, nullable=False),
        sa.Column("refunded_credits", sa.BigInteger(), nullable=False),
        sa.Column("refunded_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("refunded_commission_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("saves_method", sa.Boolean(), nullable=False),
        sa.Column("chargeback_told", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "commission_minor_units >= 0 AND commission_minor_units <= price_minor_units",
            name="purchases_commission_within_price",
        ),
        sa.CheckConstraint("refunded_credits BETWEEN 0 AND credits", name="purchases_refunded_within_credits"),
        sa.CheckConstraint(
            "refunded_minor_units BETWEEN 0 AND price_minor_units", name="purchases_refunded_within_price"
        ),
        sa.CheckConstraint(
            "refunded_commission_minor_units BETWEEN 0 AND commission_minor_units",
            name="purchases_refunded_within_commission",
        ),
    )
    op.create_index("purchases_by_account", "purchases", ["account_id", "create_time"])
    op.create_index(
        "purchases_by_provider",
        "purchases",
        ["provider_id", "pay_time"],
        sqlite_where=sa.text("pay_time IS NOT NULL"),
        postgresql_where=sa.text("pay_time IS NOT NULL"),
    )


def _make_purchase_refunds() -> None:
    op.create_table(
        "purchase_refunds",
        sa.Column("refund_id", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("purchase_id", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("commission_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("gateway_reference", _TEXT, nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("resolve_time", _INSTANT, nullable=True),
        sa.Column("times_returned", sa.Integer(), nullable=False),
    )
    op.create_index("purchase_refunds_by_purchase", "purchase_refunds", ["purchase_id"])
    op.create_index(
        "purchase_refunds_open",
        "purchase_refunds",
        ["create_time"],
        sqlite_where=sa.text("state = 'REQUESTED'"),
        postgresql_where=sa.text("state = 'REQUESTED'"),
    )
    op.create_index(
        "purchase_refunds_owed",
        "purchase_refunds",
        ["create_time", "refund_id"],
        sqlite_where=sa.text("state = 'FAILED'"),
        postgresql_where=sa.text("state = 'FAILED'"),
    )


def _make_payment_notices() -> None:
    op.create_table(
        "payment_notices",
        sa.Column("notice_id", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("gateway", _TEXT, nullable=False),
        sa.Column("gateway_event_id", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("purchase_id", _TEXT, nullable=False),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.Column("amount_minor_units", sa.BigInteger(), nullable=True),
        sa.Column("outcome", _TEXT, nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sa.Column("times_received", sa.Integer(), nullable=False),
        sa.Column("receive_time", _INSTANT, nullable=False),
    )
    op.create_index("payment_notices_by_time", "payment_notices", ["receive_time", "notice_id"])


def _make_payment_methods() -> None:
    op.create_table(
        "payment_methods",
        sa.Column("account_id", _TEXT, primary_key=True),
        sa.Column("gateway", _TEXT, primary_key=True),
        sa.Column("customer_reference", _TEXT, nullable=False),
        sa.Column("method_reference", _TEXT, nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
    )


def _make_auto_top_ups() -> None:
    op.create_table(
        "auto_top_ups",
        sa.Column("account_id", _TEXT, primary_key=True),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("pack_id", _TEXT, nullable=False),
        sa.Column("threshold_credits", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("monthly_cap_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("consent", _TEXT, nullable=False),
        sa.Column("consent_time", _INSTANT, nullable=False),
        sa.Column("failed_payments", sa.Integer(), nullable=False),
        sa.Column("gateway", _TEXT, nullable=False),
        sa.Column("customer_reference", _TEXT, nullable=False),
        sa.Column("method_reference", _TEXT, nullable=False),
        sa.Column("next_attempt_time", _INSTANT, nullable=True),
        sa.Column("pending_purchase_id", _TEXT, nullable=True),
        sa.Column("asked", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("agreements", sa.Integer(), nullable=False),
    )


def _make_auto_top_up_agreements() -> None:
    op.create_table(
        "auto_top_up_agreements",
        sa.Column("account_id", _TEXT, primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("pack_id", _TEXT, nullable=False),
        sa.Column("threshold_credits", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("monthly_cap_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("consent", _TEXT, nullable=False),
        sa.Column("consent_time", _INSTANT, nullable=False),
    )


def _make_journal_entries() -> None:
    op.create_table(
        "journal_entries",
        sa.Column("journal_entry_id", _TEXT, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("purchase_id", _TEXT, nullable=True),
        sa.Column("payout_id", _TEXT, nullable=True),
        sa.Column("time", _INSTANT, nullable=False),
    )
    op.create_index("journal_entries_by_provider", "journal_entries", ["provider_id", "time", "journal_entry_id"])


def _make_journal_postings() -> None:
    op.create_table(
        "journal_postings",
        sa.Column("journal_entry_id", _TEXT, primary_key=True),
        sa.Column("line", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("money_account", _TEXT, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor_units", sa.BigInteger(), nullable=False),
    )
    op.create_index("journal_postings_by_account", "journal_postings", ["money_account", "currency"])


def _make_payouts() -> None:
    op.create_table(
        "payouts",
        sa.Column("payout_id", _TEXT, primary_key=True),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("reference", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("resolution_id", _TEXT, nullable=True),
        sa.Column("resolution_fingerprint", sa.String(32), nullable=True),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("resolve_time", _INSTANT, nullable=True),
        sa.CheckConstraint("amount_minor_units > 0", name="payouts_pay_something"),
    )
    op.create_index("payouts_by_provider", "payouts", ["provider_id", "create_time"])


def _make_trial_claims() -> None:
    op.create_table(
        "trial_claims",
        sa.Column("customer_id", _TEXT, primary_key=True),
        sa.Column("service", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("time", _INSTANT, nullable=False),
    )


def _make_account_tokens() -> None:
    op.create_table(
        "account_tokens",
        sa.Column("token_hash", _TEXT, primary_key=True),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("expire_time", _INSTANT, nullable=True),
    )
    op.create_index("account_tokens_by_account", "account_tokens", ["account_id"])


def _make_providers() -> None:
    op.create_table(
        "providers",
        sa.Column("provider_id", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("commission_basis_points", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
    )


def _make_customers() -> None:
    op.create_table(
        "customers",
        sa.Column("customer_id", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("email", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
    )


def _make_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("key_id", _TEXT, primary_key=True),
        sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("role", _TEXT, nullable=False),
        sa.Column("owner_id", _TEXT, nullable=False),
        sa.Column("title", _TEXT, nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("revoke_time", _INSTANT, nullable=True),
    )


def _make_services() -> None:
    op.create_table(
        "services",
        sa.Column("service", _TEXT, primary_key=True),
        sa.Column("creation_id", sa.Text(), nullable=False, unique=True),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("title", _TEXT, nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("unit_name", _TEXT, nullable=False),
        sa.Column("trial_credits", sa.BigInteger(), nullable=False),
        sa.Column("default_ttl", _SPAN, nullable=False),
        sa.Column("max_ttl", _SPAN, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
    )


def _make_packs() -> None:
    op.create_table(
        "packs",
        sa.Column("pack_id", _TEXT, primary_key=True),
        sa.Column("service", _TEXT, nullable=False),
        sa.Column("title", _TEXT, nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("price_minor_units", sa.BigInteger(), nullable=False),
        sa.Column("validity", _SPAN, nullable=True),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
    )
    op.create_index("packs_by_service", "packs", ["service", "credits"])


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", _TEXT, primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("type", _TEXT, nullable=False),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("customer_id", _TEXT, nullable=False),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("data", _TEXT, nullable=False),
        sa.Column("time", _INSTANT, nullable=False),
        sa.Column("entry_count", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
    )
    op.create_index("events_by_customer", "events", ["customer_id", "position"])
    op.create_index("events_by_position", "events", ["position"], unique=True)
    op.create_index("events_by_provider", "events", ["provider_id", "position"])
    op.create_index(
        "events_unplaced",
        "events",
        ["time", "entry_count", "ordinal", "event_id"],
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    )


def _make_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", _TEXT, primary_key=True),
        sa.Column("owner_role", _TEXT, nullable=False),
        sa.Column("owner_id", _TEXT, nullable=False),
        sa.Column("url", _TEXT, nullable=False),
        sa.Column("types", _TEXT, nullable=False),
        sa.Column("signing_secret", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
    )
    op.create_index("webhooks_by_owner", "webhooks", ["owner_role", "owner_id"])


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("webhook_id", _TEXT, primary_key=True),
        sa.Column("position", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("event_id", _TEXT, nullable=False),
        sa.Column("account_id", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_time", _INSTANT, nullable=False),
        sa.Column("last_error", _TEXT, nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
    )
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["next_attempt_time", "webhook_id"],
        sqlite_where=sa.text("state = 'PENDING'"),
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_index(
        "deliveries_in_order",
        "deliveries",
        ["webhook_id", "account_id", "position"],
        sqlite_where=sa.text("state = 'PENDING'"),
        postgresql_where=sa.text("state = 'PENDING'"),
    )


def _make_properties() -> None:
    op.create_table(
        "properties",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("value", _TEXT, nullable=False),
    )
