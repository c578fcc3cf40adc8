"""The ledger: accounts, their grants and reservations, what moved them, and who has had and may show what."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, String, Table, and_

from broker_service.storage.tables.columns import (
    UPDATED_IN_PLACE,
    count,
    instant,
    key,
    metadata,
    partial_index,
    shard,
    text,
)

accounts = Table(
    "accounts",
    metadata,
    shard(),
    key("account_id"),
    text("customer_id"),
    text("provider_id"),
    text("service"),
    text("state"),
    count("ledger_credits"),
    count("reserved_credits"),
    count("entry_count"),
    instant("create_time"),
    instant("update_time"),
    text("state_reason"),
    count("low_balance_credits"),
    count("token_epoch"),
    CheckConstraint("reserved_credits >= 0", name="accounts_reserved_credits_not_negative"),
    CheckConstraint("ledger_credits >= reserved_credits", name="accounts_ledger_credits_cover_reserved"),
    **UPDATED_IN_PLACE,
)

grants = Table(
    "grants",
    metadata,
    shard(),
    key("account_id"),
    key("grant_id"),
    text("kind"),
    Column("priority", Integer, nullable=False),
    count("credits"),
    count("remaining_credits"),
    count("reserved_credits"),
    instant("expire_time", nullable=True),
    text("purchase_id", nullable=True),
    instant("create_time"),
    # Whether nothing remains. By itself, so that an index can leave spent grants out without having to change
    # whenever credits do.
    Column("spent", Boolean, nullable=False),
    Column("revoked", Boolean, nullable=False),
    CheckConstraint("reserved_credits >= 0", name="grants_reserved_credits_not_negative"),
    CheckConstraint("remaining_credits >= reserved_credits", name="grants_remaining_credits_cover_reserved"),
    CheckConstraint("credits >= remaining_credits", name="grants_credits_cover_remaining"),
    CheckConstraint("spent = (remaining_credits = 0)", name="grants_spent_when_nothing_remains"),
    **UPDATED_IN_PLACE,
)

# What an account has left; spent grants stay in the table and out of every batch.
partial_index("grants_remaining", grants.c.shard_id, grants.c.account_id, where=grants.c.spent.is_(False))
# Grants whose time is over, for the sweeper.
partial_index(
    "grants_due",
    grants.c.shard_id,
    grants.c.expire_time,
    where=and_(grants.c.spent.is_(False), grants.c.expire_time.is_not(None)),
)

reservations = Table(
    "reservations",
    metadata,
    shard(),
    key("reservation_id"),
    text("account_id"),
    text("provider_id"),
    text("service"),
    text("state"),
    count("reserved_credits"),
    count("captured_credits"),
    count("released_credits"),
    count("refunded_credits"),
    text("allocations"),
    Column("fingerprint", String(32), nullable=False),
    instant("create_time"),
    instant("expire_time"),
    instant("resolve_time", nullable=True),
    text("description"),
    text("metadata"),
    CheckConstraint("refunded_credits BETWEEN 0 AND captured_credits", name="reservations_refunded_within_captured"),
    CheckConstraint(
        "captured_credits >= 0 AND released_credits >= 0 AND reserved_credits >= captured_credits + released_credits",
        name="reservations_credits_add_up",
    ),
)

# Overdue reservations: all of them for the sweeper, and those of a batch's accounts in every batch.
partial_index(
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
    shard(),
    key("account_id"),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    text("kind"),
    count("credits"),
    text("counterpart"),
    count("ledger_credits_after"),
    instant("time"),
    text("reservation_id", nullable=True),
    text("purchase_id", nullable=True),
    text("description"),
    CheckConstraint("credits <> 0", name="entries_move_credits"),
    CheckConstraint("ledger_credits_after >= 0", name="entries_ledger_credits_not_negative"),
    sqlite_with_rowid=False,
)

operations = Table(
    "operations",
    metadata,
    shard(),
    key("operation_id"),
    text("account_id"),
    text("kind"),
    Column("fingerprint", String(32), nullable=False),
    instant("time"),
    count("captured_credits"),
    count("released_credits"),
    count("refunded_credits"),
    sqlite_with_rowid=False,
)

# Cold, but written together with the ledger.

trial_claims = Table(
    "trial_claims",
    metadata,
    key("customer_id"),
    key("service"),
    text("account_id"),
    instant("time"),
)

account_tokens = Table(
    "account_tokens",
    metadata,
    key("token_hash"),
    text("account_id"),
    instant("create_time"),
    instant("expire_time", nullable=True),
)
Index("account_tokens_by_account", account_tokens.c.account_id)
