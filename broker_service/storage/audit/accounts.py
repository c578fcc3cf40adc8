"""A page of accounts: each one's figures summed up again from its entries, grants and reservations."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Select, bindparam, case, func, select, type_coerce

from broker_service.domain.identities import shard_of
from broker_service.domain.records import Counterpart, EntryKind, ReservationState
from broker_service.storage import tables
from broker_service.storage.audit.checks import (
    LAST_ID,
    MOST_ROWS,
    Check,
    Rule,
    Span,
    behind,
    check_of,
    sort_in_files,
    within_span,
)
from broker_service.storage.audit.entries import ENTRIES
from broker_service.storage.audit.findings import Figures, Page, Violation
from broker_service.storage.audit.grants import grant_checks
from broker_service.storage.audit.horizon import NEVER, pruning_horizon
from broker_service.storage.audit.reservations import audit_reservations, parts_of
from broker_service.storage.audit.sums import NOTHING, amount_of, exact_sum

# Sums kept at once; there may be many of accounts that do not exist.
_STREAMED_ROWS = 500


@dataclass(frozen=True, slots=True)
class PageSize:
    """How much a page holds at most: accounts (or purchases, …), and entries unless one account has more."""

    rows: int = 200
    entries: int = 5_000


@dataclass(slots=True)
class _Account:
    """What is stored of an account, and what its rows come to."""

    ledger_credits: int
    reserved_credits: int
    entry_count: int
    update_time: int
    entries: int = 0
    entry_credits: int = 0
    last_entry_time: int = NEVER
    remaining_credits: int = 0
    grants_reserved_credits: int = 0
    open_credits: int = 0


def audit_accounts(connection: Connection, shard_id: int, shards: int, first_id: str, size: PageSize) -> Page:
    """Checks the accounts of a shard from an id on, as many as a page holds, and all rows that name them."""
    sort_in_files(connection)
    accounts, span = _page_of_accounts(connection, shard_id, first_id, size)
    violations: list[Violation] = []
    figures = _sum_up(connection, span, accounts, violations)
    for account_id, account in accounts.items():
        violations.extend(_differences(account_id, account))
        if shard_of(account_id, shards) != shard_id:
            violations.append(Violation(account_id, "SHARD_OF_ACCOUNT", f"it is in shard {shard_id}, where none looks"))
    parameters = span.parameters | {"pruned_before": pruning_horizon(connection)}
    for check in (ENTRIES, _TOKENS, *grant_checks(connection.dialect.name)):
        violations.extend(check.violations(connection, parameters))
    return Page(
        next_id=None if span.last_id == LAST_ID else behind(span.last_id),
        violations=tuple(violations),
        figures=figures,
        further=tuple(partial(audit_reservations, span=span, part=part) for part in parts_of(figures.entries)),
    )


def _sum_up(connection: Connection, span: Span, accounts: dict[str, _Account], violations: list[Violation]) -> Figures:
    """Adds to each account what its rows come to, and returns what all of them come to."""
    entries = captured_credits = 0
    counterparts: Counter[str] = Counter()
    for row, account in _sums(connection, _ENTRIES, span, accounts, violations):
        entries += row.entries
        captured_credits -= amount_of(row, "captured")
        counterparts.update({of.value: -amount_of(row, of.value) for of in Counterpart})
        if account is not None:
            account.entries, account.entry_credits = row.entries, amount_of(row, "moved")
            account.last_entry_time = row.last_entry_time
    for row, account in _sums(connection, _GRANTS, span, accounts, violations):
        if account is not None:
            account.remaining_credits = amount_of(row, "remaining")
            account.grants_reserved_credits = amount_of(row, "grants_reserved")
    for row, account in _sums(connection, _RESERVATIONS, span, accounts, violations):
        if account is not None:
            account.open_credits = amount_of(row, "open")
    return Figures(
        accounts=len(accounts),
        entries=entries,
        ledger_credits=sum(account.ledger_credits for account in accounts.values()),
        reserved_credits=sum(account.reserved_credits for account in accounts.values()),
        captured_credits=captured_credits,
        counterparts=counterparts,
    )


_IN_PAGE = tables.accounts.c.shard_id == bindparam("shard_id"), tables.accounts.c.account_id >= bindparam("first_id")
_ACCOUNTS = (
    select(
        tables.accounts.c.account_id,
        tables.accounts.c.ledger_credits,
        tables.accounts.c.reserved_credits,
        tables.accounts.c.entry_count,
        type_coerce(tables.accounts.c.update_time, BigInteger).label("update_time"),
    )
    .where(*_IN_PAGE)
    .order_by(tables.accounts.c.account_id)
    .limit(bindparam("rows"))
)


def _page_of_accounts(
    connection: Connection, shard_id: int, first_id: str, size: PageSize
) -> tuple[dict[str, _Account], Span]:
    """Returns the accounts of a page, and the ids it reaches over: up to the last of the shard if it is the last."""
    accounts: dict[str, _Account] = {}
    entries = 0
    rows = connection.execute(_ACCOUNTS, {"shard_id": shard_id, "first_id": first_id, "rows": size.rows}).all()
    for row in rows:
        entries += row.entry_count
        if accounts and entries > size.entries:
            break
        accounts[row.account_id] = _Account(row.ledger_credits, row.reserved_credits, row.entry_count, row.update_time)
    is_last = len(accounts) == len(rows) < size.rows
    return accounts, Span(shard_id, first_id, LAST_ID if is_last else next(reversed(accounts)))


def _moved_against(counterpart: Counterpart) -> Any:
    it = tables.entries.c
    return exact_sum(counterpart.value, [case((it.counterpart == counterpart.value, it.credits), else_=NOTHING)])


_ENTRIES = (
    select(
        tables.entries.c.account_id,
        func.count().label("entries"),
        func.max(type_coerce(tables.entries.c.time, BigInteger)).label("last_entry_time"),
        *exact_sum("moved", [tables.entries.c.credits]),
        *exact_sum(
            "captured",
            [case((tables.entries.c.kind == EntryKind.CAPTURE.value, tables.entries.c.credits), else_=NOTHING)],
        ),
        *(half for counterpart in Counterpart for half in _moved_against(counterpart)),
    )
    .where(within_span(tables.entries))
    .group_by(tables.entries.c.account_id)
)
_GRANTS = (
    select(
        tables.grants.c.account_id,
        *exact_sum("remaining", [tables.grants.c.remaining_credits]),
        *exact_sum("grants_reserved", [tables.grants.c.reserved_credits]),
    )
    .where(within_span(tables.grants))
    .group_by(tables.grants.c.account_id)
)
_IS_ACTIVE = tables.reservations.c.state == ReservationState.ACTIVE.value
_RESERVATIONS = (
    select(
        tables.reservations.c.account_id,
        *exact_sum(
            "open",
            [case((_IS_ACTIVE, tables.reservations.c.reserved_credits), else_=NOTHING)],
            [
                case((_IS_ACTIVE, tables.reservations.c.captured_credits), else_=NOTHING),
                case((_IS_ACTIVE, tables.reservations.c.released_credits), else_=NOTHING),
            ],
        ),
    )
    .where(within_span(tables.reservations))
    .group_by(tables.reservations.c.account_id)
)


def _tokens_check() -> Check:
    """Tokens are in no shard, so their number is asked for account by account."""
    account, token = tables.accounts.c, tables.account_tokens.c
    tokens = select(func.count()).where(token.account_id == account.account_id).scalar_subquery()
    return check_of(
        tables.accounts,
        (account.account_id, account.token_epoch),
        (Rule("TOKEN_EPOCH", account.token_epoch != tokens - 1, "each token but the first came with an epoch"),),
        lambda row: f"token epoch {row.token_epoch}",
        within_span(tables.accounts),
    )


_TOKENS = _tokens_check()
_NAMES: dict[Any, str] = {_ENTRIES: "entries", _GRANTS: "grants", _RESERVATIONS: "reservations"}


def _sums(
    connection: Connection,
    statement: Select[Any],
    span: Span,
    accounts: dict[str, _Account],
    violations: list[Violation],
) -> Iterator[tuple[Row[Any], _Account | None]]:
    """Yields the sums of each account that rows name, and the account; adds a violation where there is none."""
    homeless = 0
    streamed = statement.execution_options(yield_per=_STREAMED_ROWS)
    for row in connection.execute(streamed, span.parameters):
        account = accounts.get(row.account_id)
        if account is None:
            homeless += 1
            if homeless <= MOST_ROWS:
                description = f"{_NAMES[statement]} name an account that does not exist"
                violations.append(Violation(row.account_id, "ACCOUNT_EXISTS", description))
        yield row, account


def _differences(account_id: str, account: _Account) -> Iterator[Violation]:
    """Compares what is stored of an account with what its rows come to."""
    for rule, stored, summed in (
        ("LEDGER_IS_SUM_OF_ENTRIES", account.ledger_credits, account.entry_credits),
        ("ENTRY_COUNT", account.entry_count, account.entries),
        ("LEDGER_IS_SUM_OF_GRANTS", account.ledger_credits, account.remaining_credits),
        ("RESERVED_IS_SUM_OF_GRANTS", account.reserved_credits, account.grants_reserved_credits),
        ("RESERVED_IS_SUM_OF_RESERVATIONS", account.reserved_credits, account.open_credits),
    ):
        if stored != summed:
            yield Violation(account_id, rule, f"{stored} is stored, {summed} follows from the rows")
    if not 0 <= account.reserved_credits <= account.ledger_credits:
        description = f"0 ≤ reserved ≤ ledger credits: {account.reserved_credits} and {account.ledger_credits}"
        yield Violation(account_id, "ACCOUNT_IN_RANGE", description)
    if account.update_time < account.last_entry_time:
        yield Violation(account_id, "TIME_NEVER_BACKWARDS", "its last change is before its last entry")
