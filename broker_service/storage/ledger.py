"""One batch of the ledger: what is loaded for it, and what is written after it.

`commit_steps` says what to do, step by step, and a database's lane does it, in one transaction. So the order of
locking, loading and writing stands here once, whatever the database, and whether it is waited for on a thread or on an
event loop.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from msgspec import Struct, field

from broker_service.domain.book import Book, Changes, latest_time
from broker_service.domain.decide import Verdict
from broker_service.domain.records import (
    Account,
    AccountToken,
    Entry,
    Grant,
    JournalEntry,
    Operation,
    Purchase,
    Reservation,
    TrialClaim,
)
from broker_service.domain.references import References
from broker_service.storage import ledger_statements as statements
from broker_service.storage.errors import StorageConflictError
from broker_service.storage.ledger_rows import (
    ACCOUNT_TOKENS,
    ACCOUNTS,
    ENTRIES,
    GRANTS,
    OPERATIONS,
    PURCHASES,
    RESERVATIONS,
    TRIAL_CLAIMS,
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


class _Loaded(Struct):
    """Keys of the rows a batch has loaded, so that others are inserted and these updated."""

    accounts: set[str] = field(default_factory=set)
    grants: set[str] = field(default_factory=set)
    reservations: set[str] = field(default_factory=set)
    purchases: set[str] = field(default_factory=set)
    account_tokens: set[str] = field(default_factory=set)


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
        loaded.accounts.add(account.account_id)
    instant = latest_time(list(books.values()), now())
    steps = _loads(references, account_ids, instant)
    for step, rows in zip(steps, (yield steps), strict=True):
        _TAKE[step.load](rows, books, loaded)
    spent_grants = references.grants | _grants_of(references.refunds, books)
    if spent_grants:
        (rows,) = yield (LoadStep(statements.NAMED_GRANTS, (account_ids, list(spent_grants))),)
        _take_grants(rows, books, loaded)
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
        (statements.TOKENS_OF_ACCOUNTS, references.token_accounts),
    ):
        if named:
            steps.append(LoadStep(load, (list(named),)))
    if references.trial_claims:
        customers, services = (sorted(set(names)) for names in zip(*references.trial_claims, strict=True))
        steps.append(LoadStep(statements.CLAIMS_OF_CUSTOMERS, (customers, services)))
    return tuple(steps)


def _take_reservations(rows: Iterable[PlainRow], books: dict[str, Book], loaded: _Loaded) -> None:
    for row in rows:
        reservation = RESERVATIONS.record_of(row)
        books[reservation.account_id].reservations[reservation.reservation_id] = reservation
        loaded.reservations.add(reservation.reservation_id)


def _take_grants(rows: Iterable[PlainRow], books: dict[str, Book], loaded: _Loaded) -> None:
    for row in rows:
        grant = GRANTS.record_of(row)
        books[grant.account_id].grants[grant.grant_id] = grant
        loaded.grants.add(grant.grant_id)


def _take_operations(rows: Iterable[PlainRow], books: dict[str, Book], _loaded: _Loaded) -> None:
    for row in rows:
        operation = OPERATIONS.record_of(row)
        books[operation.account_id].operations[operation.operation_id] = operation


def _take_purchases(rows: Iterable[PlainRow], books: dict[str, Book], loaded: _Loaded) -> None:
    for row in rows:
        purchase = PURCHASES.record_of(row)
        books[purchase.account_id].purchases[purchase.purchase_id] = purchase
        loaded.purchases.add(purchase.purchase_id)


def _take_tokens(rows: Iterable[PlainRow], books: dict[str, Book], loaded: _Loaded) -> None:
    for row in rows:
        token = ACCOUNT_TOKENS.record_of(row)
        books[token.account_id].account_tokens[token.token_hash] = token
        loaded.account_tokens.add(token.token_hash)


def _take_claims(rows: Iterable[PlainRow], books: dict[str, Book], _loaded: _Loaded) -> None:
    # One dictionary for all books.
    claims = next(iter(books.values())).trial_claims
    for row in rows:
        claim = TRIAL_CLAIMS.record_of(row)
        claims[claim.customer_id, claim.service] = claim


_TAKE = {
    statements.OVERDUE_RESERVATIONS: _take_reservations,
    statements.NAMED_RESERVATIONS: _take_reservations,
    statements.UNSPENT_GRANTS: _take_grants,
    statements.NAMED_OPERATIONS: _take_operations,
    statements.NAMED_PURCHASES: _take_purchases,
    statements.TOKENS_OF_ACCOUNTS: _take_tokens,
    statements.CLAIMS_OF_CUSTOMERS: _take_claims,
}


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


def _writes(changes: Iterable[Changes], loaded: _Loaded) -> Iterator[WriteStep]:
    """Returns what writes the last version of each row: new ones are inserted, loaded ones updated."""
    accounts: dict[str, Account] = {}
    grants: dict[str, Grant] = {}
    reservations: dict[str, Reservation] = {}
    purchases: dict[str, Purchase] = {}
    tokens: dict[str, AccountToken] = {}
    entries: list[Entry] = []
    operations: list[Operation] = []
    claims: list[TrialClaim] = []
    journal: list[JournalEntry] = []
    for change in changes:
        if change.account is not None:
            accounts[change.account.account_id] = change.account
        for grant in change.grants:
            grants[grant.grant_id] = grant
        for reservation in change.reservations:
            reservations[reservation.reservation_id] = reservation
        for purchase in change.purchases:
            purchases[purchase.purchase_id] = purchase
        for token in change.account_tokens:
            tokens[token.token_hash] = token
        entries += change.entries
        operations += change.operations
        claims += change.trial_claims
        journal += change.journal_entries
    yield from _put(ACCOUNTS, accounts, loaded.accounts, statements.INSERT_ACCOUNTS, statements.UPDATE_ACCOUNTS)
    yield from _put(GRANTS, grants, loaded.grants, statements.INSERT_GRANTS, statements.UPDATE_GRANTS)
    yield from _put(
        RESERVATIONS,
        reservations,
        loaded.reservations,
        statements.INSERT_RESERVATIONS,
        statements.UPDATE_RESERVATIONS,
    )
    yield from _add(ENTRIES, entries, statements.INSERT_ENTRIES)
    yield from _add(OPERATIONS, operations, statements.INSERT_OPERATIONS)
    yield from _put(PURCHASES, purchases, loaded.purchases, statements.INSERT_PURCHASES, statements.UPDATE_PURCHASES)
    yield from _put(
        ACCOUNT_TOKENS,
        tokens,
        loaded.account_tokens,
        statements.INSERT_ACCOUNT_TOKENS,
        statements.UPDATE_ACCOUNT_TOKENS,
    )
    yield from _add(TRIAL_CLAIMS, claims, statements.INSERT_TRIAL_CLAIMS)
    yield from _add_journal(journal)


def _put(
    rows: RecordRows[Any], records: dict[str, Any], loaded: set[str], insert: Insert, update: Update
) -> Iterator[WriteStep]:
    if not records:
        return
    new = [rows.row_of(record) for key, record in records.items() if key not in loaded]
    if new:
        yield WriteStep(insert, new)
    if len(new) < len(records):
        change_of = _picker(rows, update)
        yield WriteStep(update, [change_of(record) for key, record in records.items() if key in loaded])


@cache
def _picker(rows: RecordRows[Any], update: Update) -> Callable[[Any], list[Any]]:
    return rows.picker(update.columns)


def _add(rows: RecordRows[Any], records: Iterable[Any], insert: Insert) -> Iterator[WriteStep]:
    new = [rows.row_of(record) for record in records]
    if new:
        yield WriteStep(insert, new)


def _add_journal(journal: Sequence[JournalEntry]) -> Iterator[WriteStep]:
    if not journal:
        return
    yield WriteStep(
        statements.INSERT_JOURNAL_ENTRIES,
        [[entry.journal_entry_id, entry.kind, entry.purchase_id, to_microseconds(entry.time)] for entry in journal],
    )
    yield WriteStep(
        statements.INSERT_JOURNAL_POSTINGS,
        [
            [entry.journal_entry_id, line, posting.money_account, posting.currency, posting.amount_minor_units]
            for entry in journal
            for line, posting in enumerate(entry.postings, start=1)
        ],
    )
