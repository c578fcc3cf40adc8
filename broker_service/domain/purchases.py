"""Buying packs: a purchase is started, then paid or failed."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_opened
from broker_service.domain.commands import ResolvePayment, StartPurchase
from broker_service.domain.commission import commission_minor_units
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.errors import (
    AccountSuspended,
    InvariantError,
    PackArchived,
    PackOfOtherService,
    ProviderSuspended,
    PurchaseFailed,
    PurchaseNotFound,
    PurchasePaid,
    RequestIdReused,
    ServiceRetired,
)
from broker_service.domain.grants import new_grant
from broker_service.domain.records import (
    Account,
    AccountState,
    Counterpart,
    EntryKind,
    GrantKind,
    JournalEntry,
    JournalKind,
    Operation,
    Posting,
    Purchase,
    PurchaseOrigin,
    PurchaseState,
)

GATEWAY_CLEARING = "gateway_clearing"
COMMISSION = "commission"


class PurchaseResult(Struct, frozen=True):
    """A purchase as it stands after the command."""

    purchase: Purchase
    replayed: bool = False


def payable_to(provider_id: str) -> str:
    """Returns the money account that holds what a provider is owed."""
    return f"provider_payable:{provider_id}"


def sale_of(purchase: Purchase) -> JournalEntry:
    """Returns the movement of money that a paid purchase is."""
    if purchase.pay_time is None:
        raise InvariantError(f"purchase {purchase.purchase_id} is paid without a time")
    currency = purchase.currency
    return JournalEntry(
        journal_entry_id=f"sale:{purchase.purchase_id}",
        kind=JournalKind.SALE,
        provider_id=purchase.provider_id,
        purchase_id=purchase.purchase_id,
        payout_id=None,
        time=purchase.pay_time,
        postings=(
            Posting(GATEWAY_CLEARING, currency, purchase.price_minor_units),
            Posting(payable_to(purchase.provider_id), currency, -purchase.provider_share_minor_units),
            Posting(COMMISSION, currency, -purchase.commission_minor_units),
        ),
    )


def decide_start_purchase(book: Book, command: StartPurchase, now: datetime) -> tuple[Changes, PurchaseResult]:
    """Freezes the pack's terms and the commission in a pending purchase."""
    account, pack = account_opened(book, command, now), command.pack
    first = book.purchases.get(command.purchase_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="CreatePurchase")
        return Changes(), PurchaseResult(first, replayed=True)
    _refuse_unless_on_sale(account, command)
    # Nothing can be refused from here on.
    purchase = Purchase(
        account_id=account.account_id,
        purchase_id=command.purchase_id,
        provider_id=pack.provider_id,
        service=pack.service,
        pack_id=pack.pack_id,
        pack_title=pack.title,
        credits=pack.credits,
        validity=pack.validity,
        currency=pack.currency,
        price_minor_units=pack.price_minor_units,
        commission_minor_units=commission_minor_units(pack.price_minor_units, pack.commission_basis_points),
        state=PurchaseState.PENDING,
        fingerprint=command.fingerprint,
        create_time=now,
        pay_time=None,
        origin=PurchaseOrigin.CUSTOMER,
        gateway="sandbox",
        gateway_reference="",
        checkout_url="",
        return_url=command.return_url,
        checkout_expire_time=now + timedelta(hours=24),
    )
    account = replace(account, update_time=now)
    return Changes(account=account, purchases=(purchase,)), PurchaseResult(purchase)


def decide_resolve_payment(book: Book, command: ResolvePayment, now: datetime) -> tuple[Changes, PurchaseResult]:
    """Ends a pending purchase: paid, with its grant, entry and money in one go; or failed, with nothing."""
    purchase, account = book.purchases.get(command.purchase_id), book.account
    if purchase is None or account is None:
        raise PurchaseNotFound(purchase_id=command.purchase_id)
    first = book.operations.get(command.operation_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="CompleteSandboxPayment")
        return Changes(), PurchaseResult(purchase, replayed=True)
    match purchase.state:
        case PurchaseState.PAID:
            raise PurchasePaid(purchase_id=purchase.purchase_id)
        case PurchaseState.FAILED:
            raise PurchaseFailed(purchase_id=purchase.purchase_id)
        case _:
            pass
    operation = Operation(account.account_id, command.operation_id, "CompleteSandboxPayment", command.fingerprint, now)
    if not command.succeeded:
        failed = replace(purchase, state=PurchaseState.FAILED)
        account = replace(account, update_time=now)
        return Changes(account=account, purchases=(failed,), operations=(operation,)), PurchaseResult(failed)
    paid = replace(purchase, state=PurchaseState.PAID, pay_time=now)
    changes = _pay(account, paid, now)
    return replace(changes, operations=(operation,)), PurchaseResult(paid)


def _refuse_unless_on_sale(account: Account, command: StartPurchase) -> None:
    pack = command.pack
    if pack.provider_suspended:
        raise ProviderSuspended(provider_id=pack.provider_id)
    if account.state is AccountState.SUSPENDED:
        raise AccountSuspended(account_id=account.account_id)
    if pack.service != account.service:
        raise PackOfOtherService(pack_id=pack.pack_id, pack_service=pack.service, account_service=account.service)
    if pack.service_retired:
        raise ServiceRetired(service=pack.service)
    if pack.archived:
        raise PackArchived(pack_id=pack.pack_id)


def _pay(account: Account, purchase: Purchase, now: datetime) -> Changes:
    """Puts the grant on the account and the money into the journal."""
    account, entries = write_entries(
        account,
        now,
        EntryDraft(
            EntryKind.PURCHASE,
            purchase.credits,
            Counterpart.ISSUED,
            purchase_id=purchase.purchase_id,
            description=purchase.pack_title,
        ),
    )
    grant = new_grant(
        account.account_id,
        GrantKind.PAID,
        purchase.credits,
        now,
        purchase_id=purchase.purchase_id,
        expire_time=None if purchase.validity is None else now + purchase.validity,
    )
    return Changes(
        account=account, grants=(grant,), entries=entries, purchases=(purchase,), journal_entries=(sale_of(purchase),)
    )
