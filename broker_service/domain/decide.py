"""The one entrance to the rules: a batch of commands in, outcomes and changes out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain import (
    accounts,
    charges,
    extensions,
    low_balance_alerts,
    operator_grants,
    payment_notices,
    purchase_refunds,
    purchases,
    refund_settlement,
    refunds,
    reservations,
    tokens,
)
from broker_service.domain.accounts import AccountResult
from broker_service.domain.book import Book, Changes, latest_time
from broker_service.domain.commands import (
    Capture,
    ChangeAccountState,
    Charge,
    Command,
    Extend,
    GrantCredits,
    OpenAccount,
    Refund,
    Release,
    Reserve,
    RotateToken,
    SetLowBalanceAlert,
    Settle,
)
from broker_service.domain.errors import Refusal
from broker_service.domain.events import with_low_balance
from broker_service.domain.expiry import expire
from broker_service.domain.low_balance_alerts import AlertResult
from broker_service.domain.operator_grants import GrantResult
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.payment_notices import NoticeResult
from broker_service.domain.purchase_commands import (
    AttachCheckout,
    CompleteSandboxPayment,
    RefundPurchase,
    SettleRefund,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.purchase_refunds import PurchaseRefundResult
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.tokens import TokenResult

Result = (
    ReservationResult
    | AccountResult
    | PurchaseResult
    | NoticeResult
    | PurchaseRefundResult
    | GrantResult
    | TokenResult
    | AlertResult
)


class Verdict(Struct, frozen=True):
    """What a batch comes to. `outcomes` has one result or refusal per command, in their order.

    `now` is the instant at which all of it happened.
    """

    outcomes: tuple[Result | Refusal, ...]
    changes: tuple[Changes, ...]
    now: datetime


def decide_batch(books: Mapping[str, Book], commands: Sequence[Command], now: datetime) -> Verdict:
    """Decides commands in their order, each on the books as the ones before left them.

    A refused command changes nothing and does not stop those behind it. `books` holds a book for every account that a
    command names, and is brought up to date. Raises InvariantError if the books contradict themselves.
    """
    loaded = list(books.values())
    now = latest_time(loaded, now)
    written = [changes for book in loaded for changes in expire(book, now)]
    outcomes: list[Result | Refusal] = []
    for command in commands:
        book = books[command.account_id]
        try:
            changes, result = decide(book, command, now)
        except Refusal as refusal:
            outcomes.append(refusal)
            continue
        if book.account is not None and book.account.low_balance_credits:
            changes = with_low_balance(book.account, changes)
        book.apply(changes)
        written.append(changes)
        outcomes.append(result)
    return Verdict(tuple(outcomes), tuple(_with_numbered_events(written)), now)


def _with_numbered_events(written: Sequence[Changes]) -> Iterator[Changes]:
    """Yields a batch's changes; all of it happens at one instant, so its events are told apart by their numbers."""
    numbers = count()
    for changes in written:
        if changes.events:
            events = tuple(replace(event, ordinal=next(numbers)) for event in changes.events)
            yield replace(changes, events=events)
        else:
            yield changes


def decide(  # noqa: C901, PLR0911, PLR0912 - one case for each command, the most frequent first
    book: Book, command: Command, now: datetime
) -> tuple[Changes, Result]:
    """Decides one command; returns what it changes and its result. Raises a Refusal, which changes nothing."""
    match command:
        case Reserve():
            return reservations.decide_reserve(book, command, now)
        case Capture():
            return reservations.decide_capture(book, command, now)
        case Release():
            return reservations.decide_release(book, command, now)
        case Charge():
            return charges.decide_charge(book, command, now)
        case Extend():
            return extensions.decide_extend(book, command, now)
        case Refund():
            return refunds.decide_refund(book, command, now)
        case StartPurchase():
            return purchases.decide_start_purchase(book, command, now)
        case AttachCheckout():
            return purchases.decide_attach_checkout(book, command, now)
        case TakePaymentNotice():
            return payment_notices.decide_take_payment_notice(book, command, now)
        case CompleteSandboxPayment():
            return payment_notices.decide_complete_sandbox_payment(book, command, now)
        case RefundPurchase():
            return purchase_refunds.decide_refund_purchase(book, command, now)
        case SettleRefund():
            return refund_settlement.decide_settle_refund(book, command, now)
        case GrantCredits():
            return operator_grants.decide_grant_credits(book, command, now)
        case OpenAccount():
            return accounts.decide_open_account(book, command, now)
        case RotateToken():
            return tokens.decide_rotate_token(book, command, now)
        case SetLowBalanceAlert():
            return low_balance_alerts.decide_set_low_balance_alert(book, command, now)
        case ChangeAccountState():
            return accounts.decide_change_account_state(book, command, now)
        case Settle():
            return accounts.decide_settle(book)
