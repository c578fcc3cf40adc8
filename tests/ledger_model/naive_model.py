"""The ledger as docs/ledger.md and the contract tell it, in the plainest way that can be run.

An oracle for the engine: it shares the commands and the words of the records with it, and no rule. It keeps what
happened and sums it up anew at every question, however long that takes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from broker_service.domain import commands as ask
from broker_service.domain.identities import grant_id_for
from broker_service.domain.records import DEFAULT_PRIORITY, MAX_CREDITS, AccountState, EntryKind, GrantKind
from broker_service.domain.records import PurchaseState as Sale
from broker_service.domain.records import ReservationState as State
from tests.ledger_model.figures import Figures, model_figures, parameters_of
from tests.ledger_model.naive_account import Account, Grant, Purchase, Refused, Reservation, refuse_if

# Credits captured, released and refunded by a command.
Moved = tuple[int, int, int]
NOTHING = (0, 0, 0)


class NaiveLedger:
    """All accounts, and who has had trial credits."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.trials: set[tuple[str, str]] = set()

    def answer_batch(self, batch: Sequence[ask.Command], clock: datetime) -> tuple[list[Figures], datetime]:
        """Returns the answers to a batch of one shard, and the instant at which all of it happens."""
        accounts = [self.accounts[command.account_id] for command in batch if command.account_id in self.accounts]
        now = max([clock, *(account.last_change for account in accounts)])
        for account in accounts:
            account.settle(now)
        return [self._answer(command, now) for command in batch], now

    def _answer(self, command: Any, now: datetime) -> Figures:
        """Returns the answer's figures, or the reason of the refusal. The checks come in the contract's order."""
        account = self.accounts.get(command.account_id)
        key = type(command), getattr(command, "request_id", "")
        try:
            row = named_row(account, command)
            if account is not None and key in account.answered:
                return replay(account, command, *account.answered[key])
            if account is None:
                account = self._open(command, now)
            moved = change(account, row, command, now)
        except Refused as refused:
            return {"reason": str(refused)}
        if moved is not None:
            account.settle(now)
            if not leaves_account_row(command):
                account.last_change = now
            if hasattr(command, "request_id"):
                account.answered[key] = parameters_of(command), moved
        return model_figures(account, command, moved or NOTHING, replayed=False)

    def _open(self, command: ask.OpenAccount, now: datetime) -> Account:
        refuse_if(command.service_retired, "SERVICE_RETIRED")
        account = Account(command.customer_id, command.service, now, now, tokens={command.token_hash: None})
        claim = command.customer_id, command.service
        if command.trial_credits and claim not in self.trials:
            grant_id = grant_id_for(f"TRIAL {command.account_id}")
            add_grant(account, Grant(grant_id, GrantKind.TRIAL, DEFAULT_PRIORITY, command.trial_credits, None, now))
            self.trials.add(claim)
        self.accounts[command.account_id] = account
        return account


def named_row(account: Account | None, command: Any) -> Any:
    """Returns the reservation or purchase that a command is about, if there is one for this caller."""
    row: Any = None
    match command:
        case ask.OpenAccount():
            pass
        case ask.Capture() | ask.Release() | ask.Extend() | ask.Refund():
            row = account and account.reservations.get(command.reservation_id)
            refuse_if(row is None or row.provider_id != command.provider_id, "RESERVATION_NOT_FOUND")
        case ask.ResolvePayment():
            row = account and account.purchases.get(command.purchase_id)
            refuse_if(row is None, "PURCHASE_NOT_FOUND")
        case ask.RotateToken():
            refuse_if(account is None or account.customer_id != command.customer_id, "ACCOUNT_NOT_FOUND")
        case _:
            refuse_if(account is None, "ACCOUNT_NOT_FOUND")
    return row


def replay(account: Account, command: Any, parameters: object, moved: Moved) -> Figures:
    refuse_if(parameters != parameters_of(command), "REQUEST_ID_REUSED")
    # A token's secret is shown to the very try that made it, however often that is run.
    is_first_try = getattr(command, "token_hash", None) in account.tokens
    return model_figures(account, command, moved, replayed=not is_first_try)


def leaves_account_row(command: Any) -> bool:
    """Whether the account's own time of change is left as it was: what is bought or rotated has times of its own."""
    failed = isinstance(command, ask.ResolvePayment) and not command.succeeded
    return failed or isinstance(command, ask.StartPurchase | ask.RotateToken)


def change(account: Account, row: Any, command: Any, now: datetime) -> Moved | None:
    """Carries a command out; returns what it moved, or None if there was nothing to change."""
    match command:
        case ask.Settle():
            return None
        case ask.ChangeAccountState():
            same, account.state = account.state is command.state, command.state
            return None if same else NOTHING
        case ask.Reserve() | ask.Charge():
            return make_reservation(account, command, now)
        case ask.Capture() | ask.Release() | ask.Extend() | ask.Refund():
            return change_reservation(account, row, command, now)
        case ask.GrantCredits():
            refuse_if(command.expire_time is not None and command.expire_time <= now, "INVALID_ARGUMENT")
            terms = command.grant_id, command.kind, command.priority, command.credits, command.expire_time
            add_grant(account, Grant(*terms, create_time=now))
        case ask.RotateToken():
            end = now + command.overlap
            account.tokens = {token: min(end, until or end) for token, until in account.tokens.items()}
            account.tokens[command.token_hash] = None
        case ask.StartPurchase():
            refuse_unless_on_sale(account, command.pack)
            account.purchases[command.purchase_id] = Purchase(command.pack, now)
        case ask.ResolvePayment():
            refuse_if(row.state is not Sale.PENDING, f"PURCHASE_{row.state}")
            if command.succeeded:
                expire_time = None if row.pack.validity is None else now + row.pack.validity
                terms = grant_id_for(command.purchase_id), GrantKind.PAID, DEFAULT_PRIORITY, row.credits, expire_time
                add_grant(account, Grant(*terms, create_time=now))
            row.state, row.pay_time = (Sale.PAID, now) if command.succeeded else (Sale.FAILED, None)
    return NOTHING


def make_reservation(account: Account, command: ask.Reserve | ask.Charge, now: datetime) -> Moved:
    row = Reservation(command.provider_id, create_time=now, expire_time=now)
    if isinstance(command, ask.Reserve):
        row.expire_time = now + (command.ttl or command.default_ttl)
        refuse_if(row.expire_time > now + command.max_ttl, "INVALID_ARGUMENT")
    refuse_if_suspended(account, command)
    account.set_aside(row, command.credits)
    account.reservations[command.reservation_id] = row
    if isinstance(command, ask.Reserve):
        return NOTHING
    return capture(account, row, command.credits, State.CAPTURED, now)


def change_reservation(account: Account, row: Reservation, command: Any, now: datetime) -> Moved:
    if isinstance(command, ask.Refund):
        amount = row.refundable_credits if command.credits is None else command.credits
        account.refund(row, amount)
        return 0, 0, amount
    if isinstance(command, ask.Extend):
        refuse_if(command.ttl is not None and command.ttl > command.max_ttl, "INVALID_ARGUMENT")
        if command.additional_credits:
            refuse_if_suspended(account, command)
    refuse_if(row.state is not State.ACTIVE, f"RESERVATION_{row.state}")
    match command:
        case ask.Capture():
            amount = row.open_credits if command.credits is None else command.credits
            return capture(account, row, amount, State.ACTIVE if command.keep_open else State.CAPTURED, now)
        case ask.Extend():
            refuse_if(row.reserved_credits + command.additional_credits > MAX_CREDITS, "INVALID_ARGUMENT")
            account.set_aside(row, command.additional_credits)
            row.expire_time = row.expire_time if command.ttl is None else now + command.ttl
            return NOTHING
        case _:
            return capture(account, row, 0, State.RELEASED, now)


def refuse_unless_on_sale(account: Account, pack: ask.PackTerms) -> None:
    refuse_if_suspended(account, pack)
    refuse_if(pack.service != account.service, "PACK_OF_OTHER_SERVICE")
    refuse_if(pack.service_retired, "SERVICE_RETIRED")
    refuse_if(pack.archived, "PACK_ARCHIVED")


def refuse_if_suspended(account: Account, terms: Any) -> None:
    refuse_if(terms.provider_suspended, "PROVIDER_SUSPENDED")
    refuse_if(account.state is AccountState.SUSPENDED, "ACCOUNT_SUSPENDED")


def capture(account: Account, row: Reservation, amount: int, final_state: State, now: datetime) -> Moved:
    account.capture(row, amount)
    return amount, 0 if final_state is State.ACTIVE else row.resolve(final_state, now), 0


def add_grant(account: Account, grant: Grant) -> None:
    account.receive(EntryKind.PURCHASE if grant.kind is GrantKind.PAID else EntryKind(grant.kind), grant.credits)
    account.grants[grant.grant_id] = grant
