"""Opening accounts, bringing them up to date, suspending and resuming them."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.commands import ChangeAccountState, OpenAccount
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.errors import RequestIdReused, ServiceRetired
from broker_service.domain.events import account_suspended
from broker_service.domain.grants import new_grant
from broker_service.domain.records import (
    Account,
    AccountState,
    AccountToken,
    Counterpart,
    EntryKind,
    GrantKind,
    TrialClaim,
)
from broker_service.domain.tokens import is_same_try


class AccountResult(Struct, frozen=True):
    """An account as it stands after the command."""

    account: Account
    replayed: bool = False


def decide_settle(book: Book) -> tuple[Changes, AccountResult]:
    """Changes nothing: what was due has been written down before any command of the batch was decided."""
    return Changes(), AccountResult(account_of(book))


def decide_change_account_state(
    book: Book, command: ChangeAccountState, now: datetime
) -> tuple[Changes, AccountResult]:
    """Suspends or resumes an account; one that already is so stays as it is, with the reason first given."""
    account = account_of(book)
    if account.state is command.state:
        return Changes(), AccountResult(account)
    # Nothing can be refused from here on.
    account = replace(account, state=command.state, state_reason=command.reason, update_time=now)
    if command.state is not AccountState.SUSPENDED:
        return Changes(account=account), AccountResult(account)
    suspended = account_suspended(account, f"{account.account_id} {command.change_id}", now)
    return Changes(account=account, events=(suspended,)), AccountResult(account)


def decide_open_account(book: Book, command: OpenAccount, now: datetime) -> tuple[Changes, AccountResult]:
    """Opens an account, with the service's trial credits if its customer has not had them yet."""
    if book.account is not None:
        if book.account.service != command.service:
            raise RequestIdReused(request_id=command.request_id, rpc="OpenAccount")
        return Changes(), AccountResult(book.account, replayed=not is_same_try(book, command.token_hash))
    if command.service_retired:
        raise ServiceRetired(service=command.service)
    # Nothing can be refused from here on.
    account = Account(
        account_id=command.account_id,
        customer_id=command.customer_id,
        provider_id=command.provider_id,
        service=command.service,
        state=AccountState.ACTIVE,
        ledger_credits=0,
        reserved_credits=0,
        entry_count=0,
        create_time=now,
        update_time=now,
    )
    token = AccountToken(command.token_hash, command.account_id, create_time=now, expire_time=None)
    if command.trial_credits == 0 or (command.customer_id, command.service) in book.trial_claims:
        return Changes(account=account, account_tokens=(token,)), AccountResult(account)
    account, entries = write_entries(
        account,
        now,
        EntryDraft(EntryKind.TRIAL, command.trial_credits, Counterpart.ISSUED, description="trial credits"),
    )
    grant = new_grant(command.account_id, GrantKind.TRIAL, command.trial_credits, now)
    claim = TrialClaim(command.customer_id, command.service, command.account_id, now)
    return (
        Changes(
            account=account,
            grants=(grant,),
            entries=entries,
            trial_claims=(claim,),
            account_tokens=(token,),
        ),
        AccountResult(account),
    )
