"""Giving money of purchases back: refunds that are asked for, and chargebacks, which are not (docs/money.md)."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.errors import InvariantError, NothingToRefund, PurchaseNotPaid, RequestIdReused
from broker_service.domain.events import account_suspended, purchase_refunded
from broker_service.domain.grants import without_free_credits
from broker_service.domain.identities import grant_id_for, purchase_refund_id_for
from broker_service.domain.journal import chargeback_of, refund_of, refund_paid_of
from broker_service.domain.purchase_commands import RefundPurchase
from broker_service.domain.purchases import purchase_of
from broker_service.domain.records import (
    Account,
    AccountState,
    Counterpart,
    EntryKind,
    Grant,
    Purchase,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
    PurchaseState,
)

# The `gateway_reference` of refunds that a chargeback has paid.
PAID_BY_CHARGEBACK = "chargeback"


class PurchaseRefundResult(Struct, frozen=True):
    """A refund and its purchase as they stand after the command."""

    purchase: Purchase
    refund: PurchaseRefund
    replayed: bool = False


class RefundedMoney(Struct, frozen=True):
    """What a refund gives back, and how much of that the broker bears; the rest is the provider's. Minor units."""

    amount_minor_units: int
    commission_minor_units: int


def money_for(purchase: Purchase, refunded_credits: int, *, step_minor_units: int) -> RefundedMoney:
    """Returns what so many further credits of a purchase are refunded with, in whole steps of its gateway's.

    Each sum over all refunds is rounded down: the amount is the refunded credits' part of the price, the commission's
    part is as large a part of the commission. So several refunds come to the same as one, all credits to the price
    whatever the step, and neither the broker nor the provider ever gives back more than it got.
    """
    total_credits = purchase.refunded_credits + refunded_credits
    amount_minor_units = purchase.price_minor_units * total_credits // purchase.credits - purchase.refunded_minor_units
    if total_credits < purchase.credits:
        amount_minor_units -= amount_minor_units % step_minor_units
    total_minor_units = purchase.refunded_minor_units + amount_minor_units
    commission_minor_units = purchase.commission_minor_units * total_minor_units // purchase.price_minor_units
    return RefundedMoney(amount_minor_units, commission_minor_units - purchase.refunded_commission_minor_units)


def decide_refund_purchase(book: Book, command: RefundPurchase, now: datetime) -> tuple[Changes, PurchaseRefundResult]:
    """Takes the unspent credits of a purchase back and owes the customer their price.

    The gateway is asked afterwards. It takes nothing from anybody's account that is not paid for, so no suspension
    stops it.
    """
    purchase, account = purchase_of(book, command), account_of(book)
    first = book.purchase_refunds.get(command.refund_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="RefundPurchase")
        return Changes(), PurchaseRefundResult(purchase, first, replayed=True)
    grant, money = _refundable(book, purchase, command.step_minor_units)
    # Nothing can be refused from here on.
    refund = PurchaseRefund(
        account_id=account.account_id,
        refund_id=command.refund_id,
        purchase_id=purchase.purchase_id,
        kind=PurchaseRefundKind.REFUND,
        state=PurchaseRefundState.REQUESTED,
        credits=grant.free_credits,
        currency=purchase.currency,
        amount_minor_units=money.amount_minor_units,
        commission_minor_units=money.commission_minor_units,
        reason=command.reason,
        fingerprint=command.fingerprint,
        gateway_reference="",
        create_time=now,
        resolve_time=None,
    )
    whole = purchase.refunded_credits + refund.credits == purchase.credits
    state = PurchaseState.REFUNDED if whole else PurchaseState.PARTIALLY_REFUNDED
    changes, purchase = _given_back(account, purchase, grant, refund, state, now)
    changes = replace(changes, journal_entries=(refund_of(purchase.provider_id, refund),))
    return changes, PurchaseRefundResult(purchase, refund)


def charged_back(book: Book, account: Account, purchase: Purchase, now: datetime) -> Changes:
    """Returns what a chargeback does to a purchase that was paid.

    All that has not been refunded goes back. Refunds that were owed and not paid are paid by it: the bank has taken
    that money too, so the gateway must not be asked for it. The credits that are left are gone, those that come back
    later as well, and the account is suspended.
    """
    refund = PurchaseRefund(
        account_id=account.account_id,
        refund_id=purchase_refund_id_for(account.account_id, "Chargeback", purchase.purchase_id),
        purchase_id=purchase.purchase_id,
        kind=PurchaseRefundKind.CHARGEBACK,
        state=PurchaseRefundState.PAID,
        credits=0,
        currency=purchase.currency,
        amount_minor_units=purchase.price_minor_units - purchase.refunded_minor_units,
        commission_minor_units=purchase.commission_minor_units - purchase.refunded_commission_minor_units,
        reason="charged back",
        fingerprint="",
        gateway_reference="",
        create_time=now,
        resolve_time=now,
    )
    grant = book.grants.get(grant_id_for(purchase.purchase_id))
    if grant is not None:
        refund = replace(refund, credits=grant.free_credits)
        grant = replace(grant, revoked=True)
    overtaken = tuple(paid_back(it, now, PAID_BY_CHARGEBACK) for it in owed_refunds(book, purchase))
    changes, _ = _given_back(account, purchase, grant, refund, PurchaseState.CHARGED_BACK, now)
    journal_entries = (
        *(refund_paid_of(purchase.provider_id, it) for it in overtaken),
        chargeback_of(purchase.provider_id, refund),
    )
    changes = replace(
        changes, purchase_refunds=(*overtaken, *changes.purchase_refunds), journal_entries=journal_entries
    )
    return _suspending(changes, f"purchase {purchase.purchase_id} was charged back", refund.refund_id, now)


def owed_refunds(book: Book, purchase: Purchase) -> list[PurchaseRefund]:
    """Returns a purchase's refunds that the customer has not been paid, oldest first."""
    owed = [
        it
        for it in book.purchase_refunds.values()
        if it.purchase_id == purchase.purchase_id and it.state is not PurchaseRefundState.PAID
    ]
    return sorted(owed, key=lambda it: (it.create_time, it.refund_id))


def paid_back(refund: PurchaseRefund, now: datetime, gateway_reference: str) -> PurchaseRefund:
    """Returns a refund whose money has reached the customer, or its bank."""
    return replace(
        refund,
        state=PurchaseRefundState.PAID,
        gateway_reference=gateway_reference or refund.gateway_reference,
        resolve_time=now,
    )


def _refundable(book: Book, purchase: Purchase, step_minor_units: int) -> tuple[Grant, RefundedMoney]:
    """Returns a purchase's grant and the money for its free credits. Raises PurchaseNotPaid, NothingToRefund."""
    if purchase.state in (PurchaseState.PENDING, PurchaseState.FAILED):
        raise PurchaseNotPaid(purchase_id=purchase.purchase_id)
    nothing = NothingToRefund(purchase_id=purchase.purchase_id)
    if purchase.state is PurchaseState.CHARGED_BACK:
        raise nothing
    grant = book.grants.get(grant_id_for(purchase.purchase_id))
    if grant is None:
        raise InvariantError(f"purchase {purchase.purchase_id} is paid and has no grant")
    # What has expired is no longer among a grant's free credits: every batch begins with that.
    money = money_for(purchase, grant.free_credits, step_minor_units=step_minor_units)
    if money.amount_minor_units == 0:
        raise nothing
    return grant, money


def _given_back(
    account: Account,
    purchase: Purchase,
    grant: Grant | None,
    refund: PurchaseRefund,
    state: PurchaseState,
    now: datetime,
) -> tuple[Changes, Purchase]:
    """Takes the credits of a refund back and counts it; returns that and the purchase as it then stands."""
    purchase = replace(
        purchase,
        state=state,
        refunded_credits=purchase.refunded_credits + refund.credits,
        refunded_minor_units=purchase.refunded_minor_units + refund.amount_minor_units,
        refunded_commission_minor_units=purchase.refunded_commission_minor_units + refund.commission_minor_units,
    )
    account, entries = write_entries(
        replace(account, update_time=now),
        now,
        EntryDraft(
            EntryKind.PURCHASE_REFUND,
            -refund.credits,
            Counterpart.REFUNDED_PURCHASE,
            purchase_id=purchase.purchase_id,
            description=refund.reason,
        ),
    )
    reserved_credits = 0 if grant is None else grant.reserved_credits
    event = purchase_refunded(account, purchase, refund, now, reserved_credits=reserved_credits)
    changes = Changes(
        account=account,
        grants=() if grant is None else (without_free_credits(grant),),
        entries=entries,
        purchases=(purchase,),
        purchase_refunds=(refund,),
        events=(event,),
    )
    return changes, purchase


def _suspending(changes: Changes, reason: str, cause_id: str, now: datetime) -> Changes:
    """Suspends the account of some changes as well; one that already is keeps the reason first given."""
    account = changes.account
    if account is None or account.state is AccountState.SUSPENDED:
        return changes
    account = replace(account, state=AccountState.SUSPENDED, state_reason=reason)
    return replace(changes, account=account, events=(*changes.events, account_suspended(account, cause_id, now)))
