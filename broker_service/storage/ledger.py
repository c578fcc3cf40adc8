"""One batch of the ledger: what is loaded for it, and what is written after it.

`commit_steps` says what to do, step by step, and a database's lane does it, in one transaction. So the order of
locking, loading and writing stands here once, whatever the database, and whether it is waited for on a thread or on an
event loop.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

from msgspec import Struct, field

from broker_service.domain.book import Book, Changes, latest_time
from broker_service.domain.decide import Verdict
from broker_service.domain.records import Account, JournalEntry, TrialClaim
from broker_service.domain.references import References
from broker_service.storage import ledger_statements as statements
from broker_service.storage.errors import StorageConflictError
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
    PlainRow,
    RecordRows,
    to_microseconds,
)
from broker_service.storage.ledger_statements import Insert, LoadStep, LoadSteps, Update, WriteStep, WriteSteps

Decide = Callable[[dict[str, Book], datetime], Verdict]
Now = Callable[[], datetime]
Steps = Generator[LoadSteps | WriteSteps, Sequence[Iterable[PlainRow]], Verdict]


class LedgerLane(Protocol):
    """What the committer asks of a database: one shard's transactions.

    `parallel_batches` is how many of them it can have under way; they must not share accounts.
    """

    parallel_batches: int

    async def commit(self, references: References, now: Now, decide: Decide) -> Verdict:
        """Loads what is referred to, decides and writes, in one transaction; returns once that is durable.

        `decide` gets books as they are at `now`, which is asked once nobody else can change them. It may be called
        again with newer books, on another thread than the caller's. What it raises rolls back and passes through;
        otherwise raises InvariantError, DuplicateRowError, StorageConflictError or StorageUnavailableError.
        """
        ...


class _Usual(Struct, frozen=True):
    """An update for most changes: those that leave alone what `rest` returns of a record."""

    update: Update
    rest: Callable[[Any], Any]


class _Kept(Struct, frozen=True):
    """A kind of row that books hold and changes bring new versions of, both under `name`.

    `key` is the field that names a row; without `update` rows are only ever added.
    """

    name: str
    key: Callable[[Any], str]
    rows: RecordRows[Any]
    insert: Insert
    update: Update | None = None
    usual: _Usual | None = None


class _Added(Struct, frozen=True):
    """A kind of row that is only ever added, and that no book holds."""

    name: str
    rows: RecordRows[Any]
    insert: Insert


_ACCOUNTS = _Kept(
    "accounts",
    attrgetter("account_id"),
    ACCOUNTS,
    statements.INSERT_ACCOUNTS,
    statements.UPDATE_ACCOUNTS,
    _Usual(
        statements.MOVE_CREDITS_OF_ACCOUNTS,
        attrgetter("state", "state_reason", "low_balance_credits", "token_epoch"),
    ),
)
_GRANTS = _Kept(
    "grants",
    attrgetter("grant_id"),
    GRANTS,
    statements.INSERT_GRANTS,
    statements.UPDATE_GRANTS,
    _Usual(statements.MOVE_CREDITS_OF_GRANTS, lambda grant: (grant.revoked, grant.remaining_credits == 0)),
)
_RESERVATIONS = _Kept(
    "reservations",
    attrgetter("reservation_id"),
    RESERVATIONS,
    statements.INSERT_RESERVATIONS,
    statements.UPDATE_RESERVATIONS,
)
_OPERATIONS = _Kept("operations", attrgetter("operation_id"), OPERATIONS, statements.INSERT_OPERATIONS)
_PURCHASES = _Kept(
    "purchases", attrgetter("purchase_id"), PURCHASES, statements.INSERT_PURCHASES, statements.UPDATE_PURCHASES
)
_PURCHASE_REFUNDS = _Kept(
    "purchase_refunds",
    attrgetter("refund_id"),
    PURCHASE_REFUNDS,
    statements.INSERT_PURCHASE_REFUNDS,
    statements.UPDATE_PURCHASE_REFUNDS,
)
_PAYMENT_NOTICES = _Kept(
    "payment_notices",
    attrgetter("notice_id"),
    PAYMENT_NOTICES,
    statements.INSERT_PAYMENT_NOTICES,
    statements.UPDATE_PAYMENT_NOTICES,
)
_PAYMENT_METHODS = _Kept(
    "payment_methods",
    attrgetter("method_id"),
    PAYMENT_METHODS,
    statements.INSERT_PAYMENT_METHODS,
    statements.UPDATE_PAYMENT_METHODS,
)
_ACCOUNT_TOKENS = _Kept(
    "account_tokens",
    attrgetter("token_hash"),
    ACCOUNT_TOKENS,
    statements.INSERT_ACCOUNT_TOKENS,
    statements.UPDATE_ACCOUNT_TOKENS,
)
_WEBHOOKS = _Kept(
    "webhooks", attrgetter("webhook_id"), WEBHOOKS, statements.INSERT_WEBHOOKS, statements.UPDATE_WEBHOOKS
)

# In the order of writing.
_KEPT = (
    _GRANTS,
    _RESERVATIONS,
    _OPERATIONS,
    _PURCHASES,
    _PURCHASE_REFUNDS,
    _PAYMENT_NOTICES,
    _PAYMENT_METHODS,
    _ACCOUNT_TOKENS,
    _WEBHOOKS,
)
_ADDED = (
    _Added("entries", ENTRIES, statements.INSERT_ENTRIES),
    _Added("trial_claims", TRIAL_CLAIMS, statements.INSERT_TRIAL_CLAIMS),
    _Added("events", EVENTS, statements.INSERT_EVENTS),
)
_LOADED_BY = {
    statements.OVERDUE_RESERVATIONS: _RESERVATIONS,
    statements.NAMED_RESERVATIONS: _RESERVATIONS,
    statements.UNSPENT_GRANTS: _GRANTS,
    statements.NAMED_GRANTS: _GRANTS,
    statements.NAMED_OPERATIONS: _OPERATIONS,
    statements.NAMED_PURCHASES: _PURCHASES,
    statements.NAMED_PURCHASE_REFUNDS: _PURCHASE_REFUNDS,
    statements.REFUNDS_OF_PURCHASES: _PURCHASE_REFUNDS,
    statements.NAMED_PAYMENT_NOTICES: _PAYMENT_NOTICES,
    statements.METHODS_OF_ACCOUNTS: _PAYMENT_METHODS,
    statements.TOKENS_OF_ACCOUNTS: _ACCOUNT_TOKENS,
    statements.NAMED_WEBHOOKS: _WEBHOOKS,
}


class _Loaded(Struct):
    """The records a batch has loaded, by their keys, so that others are inserted and these updated."""

    accounts: dict[str, Account] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind.name: {} for kind in _KEPT})


def commit_steps(references: References, now: Now, decide: Decide) -> Steps:
    """Goes through a batch: yields each step, is sent the rows of each of its loads, and returns the verdict."""
    claims: dict[tuple[str, str], TrialClaim] = {}
    books = {account_id: Book(account_id, trial_claims=claims) for account_id in references.accounts}
    loaded = _Loaded()
    account_ids = sorted(references.accounts)
    (rows,) = yield (LoadStep(statements.LOCK_ACCOUNTS, (account_ids,)),)
    for row in rows:
        account = ACCOUNTS.record_of(row)
        books[account.account_id].account = account
        loaded.accounts[account.account_id] = account
    instant = latest_time(list(books.values()), now())
    steps = _loads(references, account_ids, instant)
    for step, rows in zip(steps, (yield steps), strict=True):
        _take(step, rows, books, loaded)
    spent_grants = references.grants | _grants_of(references.refunds, books)
    if spent_grants:
        step = LoadStep(statements.NAMED_GRANTS, (account_ids, list(spent_grants)))
        (rows,) = yield (step,)
        _take(step, rows, books, loaded)
    _expect_locked(books.values())
    verdict = decide(books, instant)
    writes = tuple(_writes(verdict.changes, loaded))
    if writes:
        yield writes
    return verdict


def _expect_locked(books: Iterable[Book]) -> None:
    """Raises StorageConflictError if an account was opened elsewhere after it was found missing, and so not locked."""
    for book in books:
        if book.account is None and (book.grants or book.reservations or book.operations or book.account_tokens):
            raise StorageConflictError(f"account {book.account_id} was opened meanwhile")


def _loads(references: References, account_ids: Sequence[str], instant: datetime) -> LoadSteps:
    """Returns what is loaded once the accounts are locked: their grants, what is overdue, and what is named."""
    steps = [
        LoadStep(statements.OVERDUE_RESERVATIONS, (account_ids,), to_microseconds(instant)),
        LoadStep(statements.UNSPENT_GRANTS, (account_ids,)),
    ]
    for load, named in (
        (statements.NAMED_RESERVATIONS, references.reservations),
        (statements.NAMED_OPERATIONS, references.operations),
        (statements.NAMED_PURCHASES, references.purchases),
        (statements.NAMED_PURCHASE_REFUNDS, references.purchase_refunds),
        (statements.REFUNDS_OF_PURCHASES, references.refunded_purchases),
        (statements.NAMED_PAYMENT_NOTICES, references.payment_notices),
        (statements.METHODS_OF_ACCOUNTS, references.method_accounts),
        (statements.TOKENS_OF_ACCOUNTS, references.token_accounts),
        (statements.NAMED_WEBHOOKS, references.webhooks),
    ):
        if named:
            steps.append(LoadStep(load, (list(named),)))
    if references.trial_claims:
        customers, services = (sorted(set(names)) for names in zip(*references.trial_claims, strict=True))
        steps.append(LoadStep(statements.CLAIMS_OF_CUSTOMERS, (customers, services)))
    return tuple(steps)


def _take(step: LoadStep, rows: Iterable[PlainRow], books: dict[str, Book], loaded: _Loaded) -> None:
    """Puts loaded rows into the books."""
    if step.load is statements.CLAIMS_OF_CUSTOMERS:
        _take_claims(rows, books)
        return
    kind = _LOADED_BY[step.load]
    records = loaded.kept[kind.name]
    for row in rows:
        record = kind.rows.record_of(row)
        key = kind.key(record)
        getattr(books[record.account_id], kind.name)[key] = record
        records[key] = record


def _take_claims(rows: Iterable[PlainRow], books: dict[str, Book]) -> None:
    # One dictionary for all books.
    claims = next(iter(books.values())).trial_claims
    for row in rows:
        claim = TRIAL_CLAIMS.record_of(row)
        claims[claim.customer_id, claim.service] = claim


def _grants_of(reservation_ids: set[str], books: dict[str, Book]) -> set[str]:
    """Returns the grants, spent or not, that reservations have taken credits from."""
    if not reservation_ids:
        return set()
    return {
        part.grant_id
        for book in books.values()
        for reservation_id in reservation_ids & book.reservations.keys()
        for part in book.reservations[reservation_id].allocations
    }


def _writes(changes: Sequence[Changes], loaded: _Loaded) -> Iterator[WriteStep]:
    """Returns what writes the last version of each row: new ones are inserted, loaded ones updated."""
    accounts = {change.account.account_id: change.account for change in changes if change.account is not None}
    yield from _put(_ACCOUNTS, accounts, loaded.accounts)
    for kind in _KEPT:
        records = {kind.key(record): record for change in changes for record in getattr(change, kind.name)}
        yield from _put(kind, records, loaded.kept[kind.name])
    for added in _ADDED:
        new = [added.rows.row_of(record) for change in changes for record in getattr(change, added.name)]
        if new:
            yield WriteStep(added.insert, new)
    yield from _add_journal([journal_entry for change in changes for journal_entry in change.journal_entries])


def _put(kind: _Kept, records: dict[str, Any], loaded: dict[str, Any]) -> Iterator[WriteStep]:
    if not records:
        return
    # What cannot change is never written twice: a row that is there already is a conflict.
    new = [record for key, record in records.items() if kind.update is None or key not in loaded]
    if new:
        yield WriteStep(kind.insert, [kind.rows.row_of(record) for record in new])
    if kind.update is None or len(new) == len(records):
        return
    changed = [(loaded[key], record) for key, record in records.items() if key in loaded]
    if kind.usual is not None:
        rest = kind.usual.rest
        usual = [record for before, record in changed if rest(before) == rest(record)]
        if usual:
            yield _change(kind, kind.usual.update, usual)
        if len(usual) == len(changed):
            return
        changed = [(before, record) for before, record in changed if rest(before) != rest(record)]
    yield _change(kind, kind.update, [record for _, record in changed])


def _change(kind: _Kept, update: Update, records: Iterable[Any]) -> WriteStep:
    change_of = _picker(kind.rows, update)
    return WriteStep(update, [change_of(record) for record in records])


@cache
def _picker(rows: RecordRows[Any], update: Update) -> Callable[[Any], list[Any]]:
    return rows.picker(update.columns)


def _add_journal(journal: Sequence[JournalEntry]) -> Iterator[WriteStep]:
    if not journal:
        return
    yield WriteStep(
        statements.INSERT_JOURNAL_ENTRIES,
        [
            [
                entry.journal_entry_id,
                entry.kind,
                entry.provider_id,
                entry.purchase_id,
                entry.payout_id,
                to_microseconds(entry.time),
            ]
            for entry in journal
        ],
    )
    yield WriteStep(
        statements.INSERT_JOURNAL_POSTINGS,
        [
            [entry.journal_entry_id, line, posting.money_account, posting.currency, posting.amount_minor_units]
            for entry in journal
            for line, posting in enumerate(entry.postings, start=1)
        ],
    )
