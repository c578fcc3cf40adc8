"""Buying packs: a purchase is started, gets its checkout, and is paid."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of, account_opened
from broker_service.domain.commission import commission_minor_units
from broker_service.domain.entries import EntryDraft, write_entries
from broker_service.domain.errors import (
    AccountSuspended,
    CurrencyNotSupported,
    PackArchived,
    PackOfOtherService,
    ProviderSuspended,
    PurchaseNotFound,
    RequestIdReused,
    ServiceRetired,
)
from broker_service.domain.events import purchase_paid
from broker_service.domain.grants import new_grant
from broker_service.domain.journal import sale_of
from broker_service.domain.purchase_commands import AttachCheckout, PurchaseCommand, StartPurchase
from broker_service.domain.records import (
    Account,
    AccountState,
    Counterpart,
    EntryKind,
    GrantKind,
    Purchase,
    PurchaseOrigin,
    PurchaseState,
)

# Paid once; some of them have given money back since.
SOLD_STATES = (
    PurchaseState.PAID,
    PurchaseState.PARTIALLY_REFUNDED,
    PurchaseState.REFUNDED,
    PurchaseState.CHARGED_BACK,
)


class PurchaseResult(Struct, frozen=True):
    """A purchase as it stands after the command."""

    purchase: Purchase
    replayed: bool = False


def is_checkout(purchase: Purchase) -> bool:
    """Tells whether a customer pays it, in a limited time; an automatic top-up ends by its gateway's word alone."""
    return purchase.origin is PurchaseOrigin.CUSTOMER


def as_of(purchase: Purchase, now: datetime) -> Purchase:
    """Returns a purchase as everybody sees it: FAILED once the time to pay is over, written down or not.

    What is stored stays PENDING: should the gateway tell of a payment after all, the money has come.
    """
    if not is_checkout(purchase):
        return purchase
    if purchase.state is PurchaseState.PENDING and now >= purchase.checkout_expire_time:
        return replace(purchase, state=PurchaseState.FAILED)
    return purchase


def purchase_of(book: Book, command: PurchaseCommand) -> Purchase:
    """Returns the purchase that a command names. Raises PurchaseNotFound."""
    purchase = book.purchases.get(command.purchase_id)
    if purchase is None or book.account is None:
        raise PurchaseNotFound(purchase_id=command.purchase_id)
    return purchase


def decide_start_purchase(book: Book, command: StartPurchase, now: datetime) -> tuple[Changes, PurchaseResult]:
    """Freezes the pack's terms and the commission in a pending purchase."""
    account, pack = account_opened(book, command, now), command.pack
    first = book.purchases.get(command.purchase_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="CreatePurchase")
        return Changes(), PurchaseResult(as_of(first, now), replayed=True)
    _refuse_unless_on_sale(account, command)
    if command.gateway is None:
        raise CurrencyNotSupported(currency=pack.currency)
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
        origin=command.origin,
        gateway=command.gateway,
        gateway_reference="",
        checkout_url="",
        return_url=command.return_url,
        checkout_expire_time=now + command.checkout_lifetime,
        saves_method=command.saves_method,
    )
    account = replace(account, update_time=now)
    return Changes(account=account, purchases=(purchase,)), PurchaseResult(purchase)


def decide_attach_checkout(book: Book, command: AttachCheckout, now: datetime) -> tuple[Changes, PurchaseResult]:
    """Keeps where a purchase is paid, unless it has a checkout or an end already. Raises PurchaseNotFound."""
    purchase, account = purchase_of(book, command), account_of(book)
    if purchase.state is not PurchaseState.PENDING or purchase.checkout_url:
        return Changes(), PurchaseResult(as_of(purchase, now))
    purchase = replace(purchase, checkout_url=command.checkout_url, gateway_reference=command.gateway_reference)
    account = replace(account, update_time=now)
    return Changes(account=account, purchases=(purchase,)), PurchaseResult(as_of(purchase, now))


def paid(account: Account, purchase: Purchase, now: datetime) -> Changes:
    """Returns what a payment does: the grant and its entry, the money in the journal, and the event, in one go.

    Raises BalanceOverflow.
    """
    purchase = replace(purchase, state=PurchaseState.PAID, pay_time=now)
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
    # Nothing can be refused from here on.
    grant = new_grant(
        account.account_id,
        GrantKind.PAID,
        purchase.credits,
        now,
        purchase_id=purchase.purchase_id,
        expire_time=None if purchase.validity is None else now + purchase.validity,
    )
    return Changes(
        account=account,
        grants=(grant,),
        entries=entries,
        purchases=(purchase,),
        journal_entries=(sale_of(purchase),),
        events=(purchase_paid(account, purchase, now),),
    )


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
