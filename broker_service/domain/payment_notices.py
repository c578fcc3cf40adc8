"""What payment gateways tell, and what comes of it.

A gateway repeats itself, tells late and out of order, and may be wrong. So nothing that it says is refused: each notice
is kept with its outcome, written together with what it changes, and one that says nothing new changes nothing.
"""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.errors import (
    CheckoutExpired,
    InvariantError,
    PurchaseFailed,
    PurchaseOfOtherGateway,
    PurchasePaid,
    RequestIdReused,
)
from broker_service.domain.journal import refund_paid_of, refund_returned_of
from broker_service.domain.purchase_commands import OPERATOR, SANDBOX, CompleteSandboxPayment, TakePaymentNotice
from broker_service.domain.purchase_refunds import PAID_BY_CHARGEBACK, charged_back, owed_refunds, paid_back
from broker_service.domain.purchases import SOLD_STATES, PurchaseResult, as_of, paid, purchase_of
from broker_service.domain.records import (
    Account,
    Operation,
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Purchase,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
    PurchaseState,
    SavedPaymentMethod,
)

_MOST_TIMES = 2**31 - 1


class NoticeResult(Struct, frozen=True):
    """A notice as it is kept, and the purchase as it stands after it. A notice that came before is `replayed`."""

    notice: PaymentNotice
    purchase: Purchase
    replayed: bool = False


class _Effect(Struct, frozen=True):
    """What comes of a notice: one sentence on why, and what it changes."""

    outcome: PaymentNoticeOutcome
    detail: str
    changes: Changes = Changes()


def decide_take_payment_notice(book: Book, command: TakePaymentNotice, now: datetime) -> tuple[Changes, NoticeResult]:
    """Takes a notice of a purchase that is there; the same one again is only counted.

    Raises BalanceOverflow for a payment whose credits the account cannot hold: the gateway will repeat it. Raises
    PurchaseNotFound.
    """
    purchase, account = purchase_of(book, command), account_of(book)
    first = book.payment_notices.get(command.notice_id)
    if first is not None:
        again = replace(first, times_received=min(first.times_received + 1, _MOST_TIMES))
        return Changes(payment_notices=(again,)), NoticeResult(again, as_of(purchase, now), replayed=True)
    effect = _effect_of(book, account, purchase, command, now)
    notice = notice_of(command, effect.outcome, effect.detail, now)
    after = next(iter(effect.changes.purchases), purchase)
    return replace(effect.changes, payment_notices=(notice,)), NoticeResult(notice, as_of(after, now))


def decide_complete_sandbox_payment(
    book: Book, command: CompleteSandboxPayment, now: datetime
) -> tuple[Changes, PurchaseResult]:
    """Ends a pending purchase of the sandbox's as its payer wants; late or twice is refused, unlike with a notice."""
    purchase, account = purchase_of(book, command), account_of(book)
    first = book.operations.get(command.operation_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="CompleteSandboxPayment")
        return Changes(), PurchaseResult(as_of(purchase, now), replayed=True)
    _refuse_unless_payable(purchase, now)
    operation = Operation(account.account_id, command.operation_id, "CompleteSandboxPayment", command.fingerprint, now)
    if command.delayed:
        account = replace(account, update_time=now)
        return Changes(account=account, operations=(operation,)), PurchaseResult(purchase)
    changes, result = decide_take_payment_notice(book, command.notice, now)
    return replace(changes, operations=(operation,)), PurchaseResult(result.purchase)


def notice_of(command: TakePaymentNotice, outcome: PaymentNoticeOutcome, detail: str, now: datetime) -> PaymentNotice:
    """Returns what is kept of a notice that comes for the first time."""
    return PaymentNotice(
        account_id=command.account_id,
        notice_id=command.notice_id,
        gateway=command.gateway,
        gateway_event_id=command.gateway_event_id,
        kind=command.kind,
        purchase_id=command.purchase_id,
        currency=command.currency,
        amount_minor_units=command.amount_minor_units,
        outcome=outcome,
        detail=f"{detail}: {command.detail}" if command.detail else detail,
        times_received=1,
        receive_time=now,
    )


def _refuse_unless_payable(purchase: Purchase, now: datetime) -> None:
    if purchase.gateway != SANDBOX:
        raise PurchaseOfOtherGateway(purchase_id=purchase.purchase_id, gateway=purchase.gateway)
    if purchase.state in SOLD_STATES:
        raise PurchasePaid(purchase_id=purchase.purchase_id)
    if purchase.state is PurchaseState.FAILED:
        raise PurchaseFailed(purchase_id=purchase.purchase_id)
    if as_of(purchase, now).state is PurchaseState.FAILED:
        raise CheckoutExpired(
            purchase_id=purchase.purchase_id,
            expire_time=purchase.checkout_expire_time.isoformat().replace("+00:00", "Z"),
        )


def _effect_of(book: Book, account: Account, purchase: Purchase, command: TakePaymentNotice, now: datetime) -> _Effect:
    if command.gateway != purchase.gateway:
        return _ignored(f"the purchase is paid through {purchase.gateway}")
    match command.kind:
        case PaymentNoticeKind.SUCCEEDED:
            return _succeeded(account, purchase, command, now)
        case PaymentNoticeKind.FAILED:
            return _failed(account, purchase, command, now)
        case PaymentNoticeKind.CHARGED_BACK:
            return _charged_back(book, account, purchase, command, now)
        case _:
            return _refund_ended(book, account, purchase, command, now)


def _succeeded(account: Account, purchase: Purchase, command: TakePaymentNotice, now: datetime) -> _Effect:
    """The money has come: it pays, however late it is and whatever was told before."""
    if (wrong := _wrong_amount(command, purchase.currency, purchase.price_minor_units)) is not None:
        return wrong
    if purchase.state in SOLD_STATES:
        if command.gateway_reference and command.gateway_reference == purchase.gateway_reference:
            return _ignored("that payment is known already")
        return _ignored("the purchase was paid before: the customer has paid twice")
    late = "" if as_of(purchase, now).state is PurchaseState.PENDING else ", after it had failed"
    reference = command.gateway_reference or purchase.gateway_reference
    changes = paid(account, replace(purchase, gateway_reference=reference), now)
    changes = replace(changes, payment_methods=_method_of(purchase, command, now))
    if purchase.chargeback_told:
        return _applied(f"the purchase is paid{late}, and charged back as was told before", _taken_back(changes, now))
    return _applied(f"the purchase is paid{late}", changes)


def _taken_back(payment: Changes, now: datetime) -> Changes:
    """Returns a payment's changes together with those of its chargeback, which was told before it."""
    (purchase,), account = payment.purchases, payment.account
    if account is None:
        raise InvariantError(f"purchase {purchase.purchase_id} was paid to no account")
    book = Book(account.account_id, account, grants={grant.grant_id: grant for grant in payment.grants})
    chargeback = charged_back(book, account, replace(purchase, chargeback_told=False), now)
    return replace(
        chargeback,
        entries=(*payment.entries, *chargeback.entries),
        journal_entries=(*payment.journal_entries, *chargeback.journal_entries),
        events=(*payment.events, *chargeback.events),
        payment_methods=payment.payment_methods,
    )


def _failed(account: Account, purchase: Purchase, command: TakePaymentNotice, now: datetime) -> _Effect:
    if (wrong := _wrong_amount(command, purchase.currency, purchase.price_minor_units)) is not None:
        return wrong
    if purchase.state in SOLD_STATES:
        return _ignored("the purchase is paid")
    if purchase.state is PurchaseState.FAILED:
        return _ignored("the payment had failed before")
    account = replace(account, update_time=now)
    failed = replace(purchase, state=PurchaseState.FAILED)
    return _applied("the payment failed", Changes(account=account, purchases=(failed,)))


def _charged_back(
    book: Book, account: Account, purchase: Purchase, command: TakePaymentNotice, now: datetime
) -> _Effect:
    """The payer's bank has taken back what no refund has paid; a part of it is not told from a mistake."""
    if purchase.state is PurchaseState.CHARGED_BACK:
        return _ignored("the purchase was charged back before")
    if purchase.state not in SOLD_STATES:
        return _charged_back_early(account, purchase, command, now)
    unrefunded = purchase.price_minor_units - purchase.refunded_minor_units
    owed = sum(it.amount_minor_units for it in owed_refunds(book, purchase))
    allowed = (purchase.price_minor_units, unrefunded + owed, unrefunded)
    if (wrong := _wrong_amount(command, purchase.currency, *allowed)) is not None:
        return wrong
    if unrefunded + owed == 0:
        return _ignored("the purchase was refunded before: the customer has the money twice")
    changes = charged_back(book, account, purchase, now)
    (after,), grants = changes.purchases, changes.grants
    taken = after.refunded_credits - purchase.refunded_credits
    reserved = sum(grant.reserved_credits for grant in grants)
    used = after.credits - after.refunded_credits - reserved
    return _applied(f"{taken} credits are taken back, {reserved} are reserved and {used} are used", changes)


def _charged_back_early(account: Account, purchase: Purchase, command: TakePaymentNotice, now: datetime) -> _Effect:
    """A gateway tells out of order: the payment that a bank has taken back is yet to be told."""
    if (wrong := _wrong_amount(command, purchase.currency, purchase.price_minor_units)) is not None:
        return wrong
    if purchase.chargeback_told:
        return _ignored("the chargeback was told before, and its payment is yet to be told")
    waiting = replace(purchase, chargeback_told=True)
    return _applied(
        "the chargeback waits for its payment to be told",
        Changes(account=replace(account, update_time=now), purchases=(waiting,)),
    )


def _refund_ended(
    book: Book, account: Account, purchase: Purchase, command: TakePaymentNotice, now: datetime
) -> _Effect:
    refund = book.purchase_refunds.get(command.refund_id)
    if refund is None or refund.purchase_id != purchase.purchase_id or refund.kind is not PurchaseRefundKind.REFUND:
        return _ignored("no such refund was asked for")
    if (wrong := _wrong_amount(command, refund.currency, refund.amount_minor_units)) is not None:
        return wrong
    account = replace(account, update_time=now)
    if command.kind is PaymentNoticeKind.REFUND_SUCCEEDED:
        return _refund_paid(account, purchase, refund, command, now)
    return _refund_failed(account, purchase, refund, command, now)


def _refund_paid(
    account: Account, purchase: Purchase, refund: PurchaseRefund, command: TakePaymentNotice, now: datetime
) -> _Effect:
    if refund.state is PurchaseRefundState.PAID:
        if refund.gateway_reference == OPERATOR:
            return _ignored("the refund was paid by the operator: the customer has the money twice")
        if purchase.state is PurchaseState.CHARGED_BACK:
            return _ignored(
                "the refund was paid before, if not by the chargeback: then the customer has the money twice"
            )
        return _ignored("the refund was paid before")
    if refund.state is PurchaseRefundState.FAILED and refund.times_returned:
        # A gateway tells out of order, so this is most likely of before the return: the customer stays owed.
        return _ignored("the refund was paid before, and the money came back since")
    refund = paid_back(refund, now, command.gateway_reference)
    movements = (refund_paid_of(purchase.provider_id, refund),)
    return _applied(
        "the refund is paid", Changes(account=account, purchase_refunds=(refund,), journal_entries=movements)
    )


def _refund_failed(
    account: Account, purchase: Purchase, refund: PurchaseRefund, command: TakePaymentNotice, now: datetime
) -> _Effect:
    """The gateway has refused a refund, or what it had paid came back, which may be days later."""
    if refund.state is PurchaseRefundState.FAILED:
        return _ignored("the refund had failed before")
    failed = _given_up(refund, command, now)
    if refund.state is PurchaseRefundState.REQUESTED:
        return _applied("the refund failed", Changes(account=account, purchase_refunds=(failed,)))
    if refund.gateway_reference in (PAID_BY_CHARGEBACK, OPERATOR):
        return _ignored(f"the refund was paid by the {refund.gateway_reference}, and is not owed any more")
    returned = replace(failed, times_returned=refund.times_returned + 1)
    movements = (refund_returned_of(purchase.provider_id, returned),)
    return _applied(
        "the refund had been paid, and the money came back: it is owed again",
        Changes(account=account, purchase_refunds=(returned,), journal_entries=movements),
    )


def _given_up(refund: PurchaseRefund, command: TakePaymentNotice, now: datetime) -> PurchaseRefund:
    """Returns a refund that the gateway has refused; what is owed stays owed."""
    return replace(
        refund,
        state=PurchaseRefundState.FAILED,
        gateway_reference=command.gateway_reference or refund.gateway_reference,
        resolve_time=now,
    )


def _method_of(purchase: Purchase, command: TakePaymentNotice, now: datetime) -> tuple[SavedPaymentMethod, ...]:
    """Returns how it was paid, if that is to be kept: whoever has the account's token may buy, but not lend a card."""
    if not purchase.saves_method or not command.method_reference:
        return ()
    return (
        SavedPaymentMethod(
            account_id=command.account_id,
            gateway=command.gateway,
            customer_reference=command.customer_reference,
            method_reference=command.method_reference,
            create_time=now,
        ),
    )


def _wrong_amount(command: TakePaymentNotice, currency: str, *allowed_minor_units: int) -> _Effect | None:
    """Returns what comes of a notice that names another amount; None if it names a right one, or none."""
    right_currency = command.currency in (None, currency)
    if right_currency and (command.amount_minor_units is None or command.amount_minor_units in allowed_minor_units):
        return None
    return _Effect(PaymentNoticeOutcome.WRONG_AMOUNT, f"{allowed_minor_units[0]} minor units of {currency} were due")


def _applied(detail: str, changes: Changes) -> _Effect:
    return _Effect(PaymentNoticeOutcome.APPLIED, detail, changes)


def _ignored(detail: str) -> _Effect:
    return _Effect(PaymentNoticeOutcome.IGNORED, detail)
