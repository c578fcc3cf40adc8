"""GrantCredits: credits that the operator gives."""

from datetime import datetime

from msgspec import Struct

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.commands import GrantCredits
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.errors import InvalidField, InvariantError, RequestIdReused
from broker_service.domain.grants import new_grant
from broker_service.domain.records import Account, Balance, Counterpart, EntryKind, Grant, GrantKind, Operation

# Paid credits come from purchases only.
_ENTRY_KINDS = {GrantKind.TRIAL: EntryKind.TRIAL, GrantKind.PROMOTIONAL: EntryKind.PROMOTIONAL}


class GrantResult(Struct, frozen=True):
    """A grant and its account's balance, as they stand after the command."""

    grant: Grant
    balance: Balance
    replayed: bool = False


def decide_grant_credits(book: Book, command: GrantCredits, now: datetime) -> tuple[Changes, GrantResult]:
    """Puts credits on an account, suspended or not. A replay gets the grant and the balance as they now stand."""
    account = account_of(book)
    replay = _replay_of(book, account, command)
    if replay is not None:
        return Changes(), replay
    # A field rule, but one that time breaks; so a replay comes first.
    if command.expire_time is not None and command.expire_time <= now:
        raise InvalidField(field="expire_time", description="must be in the future")
    account, entries = write_entries(  # Refuses a balance beyond 64 bits.
        account,
        now,
        EntryDraft(_ENTRY_KINDS[command.kind], command.credits, Counterpart.ISSUED, description=command.reason),
    )
    # Nothing can be refused from here on.
    grant = new_grant(
        account.account_id,
        command.kind,
        command.credits,
        now,
        grant_id=command.grant_id,
        priority=command.priority,
        expire_time=command.expire_time,
    )
    operation = Operation(account.account_id, command.operation_id, "GrantCredits", command.fingerprint, now)
    return (
        Changes(account=account, grants=(grant,), entries=entries, operations=(operation,)),
        GrantResult(grant, account.balance),
    )


def _replay_of(book: Book, account: Account, command: GrantCredits) -> GrantResult | None:
    first = book.operations.get(command.operation_id)
    if first is None:
        return None
    if first.fingerprint != command.fingerprint:
        raise RequestIdReused(request_id=command.request_id, rpc="GrantCredits")
    grant = book.grants.get(command.grant_id)
    if grant is None:
        raise InvariantError(f"grant {command.grant_id} was given to {account.account_id} and is gone")
    return GrantResult(grant, account.balance, replayed=True)
