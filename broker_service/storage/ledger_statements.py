"""What a batch asks of the database, in no database's dialect.

A few statements, each for any number of rows, so that a batch costs the same handful of round trips whatever its size.
Each statement on a hot table names exactly one shard, so that the tables can be spread over machines.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Table

from broker_service.domain.records import ReservationState
from broker_service.storage import tables
from broker_service.storage.ledger_rows import (
    ACCOUNT_TOKENS,
    ACCOUNTS,
    ENTRIES,
    EVENTS,
    GRANTS,
    OPERATIONS,
    PAYMENT_METHODS,
    PAYMENT_NOTICES,
    PURCHASE_REFUNDS,
    PURCHASES,
    RESERVATIONS,
    TRIAL_CLAIMS,
    WEBHOOKS,
    RecordRows,
)

SHARD = "shard_id"


class Load(Struct, frozen=True, eq=False):
    """Reads rows whose `named` columns hold one of the values given for each, in that order.

    Further: `condition` holds. With `due`, rows are found by that column not being after an instant given last, and
    the named columns only sift them: what is due is little, what an account has had is a lot. `locks`: until the
    transaction ends nobody else can lock or change the rows; they are taken in the order of their first named column,
    so that batches of different processes wait for each other and never deadlock.
    """

    rows: RecordRows[Any]
    named: tuple[str, ...]
    condition: ColumnElement[bool] | None = None
    due: str | None = None
    locks: bool = False


class Insert(Struct, frozen=True, eq=False):
    """Adds rows, given as values of `columns`; one that is there already is a conflict."""

    table: Table
    columns: tuple[str, ...]

    @property
    def is_sharded(self) -> bool:
        """Whether its table is spread over shards."""
        return SHARD in self.table.c


class Update(Struct, frozen=True, eq=False):
    """Changes rows that are there, given as values of the `keys`, then of the `changing` columns."""

    table: Table
    keys: tuple[str, ...]
    changing: tuple[str, ...]

    @property
    def is_sharded(self) -> bool:
        """Whether its table is spread over shards."""
        return SHARD in self.table.c

    @property
    def columns(self) -> tuple[str, ...]:
        """What is given for each row."""
        return self.keys + self.changing


class LoadStep(Struct, frozen=True):
    """Asks for rows; answered with them, in the order of the statement's columns."""

    load: Load
    values: tuple[Sequence[Any], ...]
    due_microseconds: int = 0


class WriteStep(Struct, frozen=True):
    """Asks for rows to be written: each, or a StorageConflictError."""

    write: Insert | Update
    rows: list[list[Any]]


# What does not depend on each other goes in one step, so that a database may do it in one round trip.
LoadSteps = tuple[LoadStep, ...]
WriteSteps = tuple[WriteStep, ...]

_UNSPENT = tables.grants.c.spent.is_(False)
_ACTIVE = tables.reservations.c.state == ReservationState.ACTIVE.value

LOCK_ACCOUNTS = Load(ACCOUNTS, ("account_id",), locks=True)
UNSPENT_GRANTS = Load(GRANTS, ("account_id",), condition=_UNSPENT)
NAMED_GRANTS = Load(GRANTS, ("account_id", "grant_id"))
OVERDUE_RESERVATIONS = Load(RESERVATIONS, ("account_id",), condition=_ACTIVE, due="expire_time")
NAMED_RESERVATIONS = Load(RESERVATIONS, ("reservation_id",))
NAMED_OPERATIONS = Load(OPERATIONS, ("operation_id",))
NAMED_PURCHASES = Load(PURCHASES, ("purchase_id",))
NAMED_PURCHASE_REFUNDS = Load(PURCHASE_REFUNDS, ("refund_id",))
REFUNDS_OF_PURCHASES = Load(PURCHASE_REFUNDS, ("purchase_id",))
NAMED_PAYMENT_NOTICES = Load(PAYMENT_NOTICES, ("notice_id",))
NAMED_WEBHOOKS = Load(WEBHOOKS, ("webhook_id",))
METHODS_OF_ACCOUNTS = Load(PAYMENT_METHODS, ("account_id",))
TOKENS_OF_ACCOUNTS = Load(ACCOUNT_TOKENS, ("account_id",))
CLAIMS_OF_CUSTOMERS = Load(TRIAL_CLAIMS, ("customer_id", "service"))

INSERT_ACCOUNTS = Insert(tables.accounts, ACCOUNTS.columns)
INSERT_GRANTS = Insert(tables.grants, GRANTS.columns)
INSERT_RESERVATIONS = Insert(tables.reservations, RESERVATIONS.columns)
INSERT_ENTRIES = Insert(tables.entries, ENTRIES.columns)
INSERT_OPERATIONS = Insert(tables.operations, OPERATIONS.columns)
INSERT_PURCHASES = Insert(tables.purchases, PURCHASES.columns)
INSERT_PURCHASE_REFUNDS = Insert(tables.purchase_refunds, PURCHASE_REFUNDS.columns)
INSERT_PAYMENT_NOTICES = Insert(tables.payment_notices, PAYMENT_NOTICES.columns)
INSERT_WEBHOOKS = Insert(tables.webhooks, WEBHOOKS.columns)
INSERT_PAYMENT_METHODS = Insert(tables.payment_methods, PAYMENT_METHODS.columns)
INSERT_EVENTS = Insert(tables.events, EVENTS.columns)
INSERT_TRIAL_CLAIMS = Insert(tables.trial_claims, TRIAL_CLAIMS.columns)
INSERT_ACCOUNT_TOKENS = Insert(tables.account_tokens, ACCOUNT_TOKENS.columns)
INSERT_JOURNAL_ENTRIES = Insert(
    tables.journal_entries, ("journal_entry_id", "kind", "provider_id", "purchase_id", "payout_id", "time")
)
INSERT_JOURNAL_POSTINGS = Insert(
    tables.journal_postings, ("journal_entry_id", "line", "money_account", "currency", "amount_minor_units")
)

UPDATE_ACCOUNTS = Update(
    tables.accounts,
    keys=("account_id",),
    changing=(
        "state",
        "ledger_credits",
        "reserved_credits",
        "entry_count",
        "update_time",
        "state_reason",
        "low_balance_credits",
        "token_epoch",
    ),
)
MOVE_CREDITS_OF_ACCOUNTS = Update(
    tables.accounts,
    keys=UPDATE_ACCOUNTS.keys,
    changing=("ledger_credits", "reserved_credits", "entry_count", "update_time"),
)
UPDATE_GRANTS = Update(
    tables.grants,
    keys=("account_id", "grant_id"),
    changing=("remaining_credits", "reserved_credits", "revoked", "spent"),
)
# Without what indexes look at, so that they stay as they are.
MOVE_CREDITS_OF_GRANTS = Update(
    tables.grants, keys=UPDATE_GRANTS.keys, changing=("remaining_credits", "reserved_credits")
)
UPDATE_RESERVATIONS = Update(
    tables.reservations,
    keys=("reservation_id",),
    changing=(
        "state",
        "reserved_credits",
        "captured_credits",
        "released_credits",
        "refunded_credits",
        "allocations",
        "expire_time",
        "resolve_time",
    ),
)
UPDATE_PURCHASES = Update(
    tables.purchases,
    keys=("purchase_id",),
    changing=(
        "state",
        "pay_time",
        "gateway_reference",
        "checkout_url",
        "refunded_credits",
        "refunded_minor_units",
        "refunded_commission_minor_units",
        "chargeback_told",
    ),
)
UPDATE_PURCHASE_REFUNDS = Update(
    tables.purchase_refunds,
    keys=("refund_id",),
    changing=("state", "gateway_reference", "resolve_time", "times_returned"),
)
UPDATE_PAYMENT_NOTICES = Update(tables.payment_notices, keys=("notice_id",), changing=("times_received",))
UPDATE_WEBHOOKS = Update(tables.webhooks, keys=("webhook_id",), changing=("url", "signing_secret", "create_time"))
UPDATE_PAYMENT_METHODS = Update(
    tables.payment_methods,
    keys=("account_id", "gateway"),
    changing=("customer_reference", "method_reference", "create_time"),
)
UPDATE_ACCOUNT_TOKENS = Update(tables.account_tokens, keys=("token_hash",), changing=("expire_time",))
