"""Records as messages of the contract."""

from collections.abc import Sequence

from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, purchase_pb2

from broker_service.domain.directory import Customer, Key, Pack, Provider, ProviderState, Role, Service, ServiceState
from broker_service.domain.errors import InsufficientCredits
from broker_service.domain.records import (
    Account,
    AccountState,
    Balance,
    Entry,
    EntryKind,
    Grant,
    GrantKind,
    Purchase,
    PurchaseOrigin,
    PurchaseState,
    Reservation,
    ReservationState,
)
from broker_service.transport.money import to_money
from broker_service.transport.times import put_instant, to_duration, to_timestamp

# Error details travel as metadata, of which callers take 8 KiB in all; what does not fit is left out.
_MAX_OFFER_BYTES = 2_500

RESERVATION_STATES = {
    ReservationState.ACTIVE: broker_pb2.RESERVATION_STATE_ACTIVE,
    ReservationState.CAPTURED: broker_pb2.RESERVATION_STATE_CAPTURED,
    ReservationState.RELEASED: broker_pb2.RESERVATION_STATE_RELEASED,
    ReservationState.EXPIRED: broker_pb2.RESERVATION_STATE_EXPIRED,
}
_ACCOUNT_STATES = {
    AccountState.ACTIVE: account_pb2.ACCOUNT_STATE_ACTIVE,
    AccountState.SUSPENDED: account_pb2.ACCOUNT_STATE_SUSPENDED,
}
_GRANT_KINDS = {
    GrantKind.PAID: account_pb2.GRANT_KIND_PAID,
    GrantKind.TRIAL: account_pb2.GRANT_KIND_TRIAL,
    GrantKind.PROMOTIONAL: account_pb2.GRANT_KIND_PROMOTIONAL,
}
_ENTRY_KINDS = {
    EntryKind.PURCHASE: account_pb2.ENTRY_KIND_PURCHASE,
    EntryKind.TRIAL: account_pb2.ENTRY_KIND_TRIAL,
    EntryKind.PROMOTIONAL: account_pb2.ENTRY_KIND_PROMOTIONAL,
    EntryKind.CAPTURE: account_pb2.ENTRY_KIND_CAPTURE,
    EntryKind.REFUND: account_pb2.ENTRY_KIND_REFUND,
    EntryKind.EXPIRY: account_pb2.ENTRY_KIND_EXPIRY,
    EntryKind.PURCHASE_REFUND: account_pb2.ENTRY_KIND_PURCHASE_REFUND,
}
PURCHASE_STATES = {
    PurchaseState.PENDING: purchase_pb2.PURCHASE_STATE_PENDING,
    PurchaseState.PAID: purchase_pb2.PURCHASE_STATE_PAID,
    PurchaseState.FAILED: purchase_pb2.PURCHASE_STATE_FAILED,
    PurchaseState.REFUNDED: purchase_pb2.PURCHASE_STATE_REFUNDED,
    PurchaseState.PARTIALLY_REFUNDED: purchase_pb2.PURCHASE_STATE_PARTIALLY_REFUNDED,
    PurchaseState.CHARGED_BACK: purchase_pb2.PURCHASE_STATE_CHARGED_BACK,
}
_PURCHASE_ORIGINS = {
    PurchaseOrigin.CUSTOMER: purchase_pb2.PURCHASE_ORIGIN_CUSTOMER,
    PurchaseOrigin.AUTO_TOP_UP: purchase_pb2.PURCHASE_ORIGIN_AUTO_TOP_UP,
}
_PROVIDER_STATES = {
    ProviderState.ACTIVE: admin_pb2.PROVIDER_STATE_ACTIVE,
    ProviderState.SUSPENDED: admin_pb2.PROVIDER_STATE_SUSPENDED,
}
_SERVICE_STATES = {
    ServiceState.ACTIVE: catalog_pb2.SERVICE_STATE_ACTIVE,
    ServiceState.RETIRED: catalog_pb2.SERVICE_STATE_RETIRED,
}


def render_reservation(reservation: Reservation) -> broker_pb2.Reservation:
    """Renders a reservation; its allocation stays inside."""
    message = broker_pb2.Reservation()
    put_reservation(message, reservation)
    return message


def render_balance(balance: Balance) -> broker_pb2.Balance:
    """Renders a balance."""
    message = broker_pb2.Balance()
    put_balance(message, balance)
    return message


# What nearly every call of the hot path answers with is put into the response field by field: a message that is given
# to another one's constructor is serialized and parsed again on its way there, which costs more than all the rest.


def put_reservation(message: broker_pb2.Reservation, reservation: Reservation) -> None:
    """Renders a reservation into an empty message, such as a response's field."""
    message.reservation_id = reservation.reservation_id
    message.account_id = reservation.account_id
    message.service = reservation.service
    message.state = RESERVATION_STATES[reservation.state]
    message.reserved_credits = reservation.reserved_credits
    message.captured_credits = reservation.captured_credits
    message.released_credits = reservation.released_credits
    message.refunded_credits = reservation.refunded_credits
    put_instant(message.create_time, reservation.create_time)
    put_instant(message.expire_time, reservation.expire_time)
    if reservation.resolve_time is not None:
        put_instant(message.resolve_time, reservation.resolve_time)
    message.description = reservation.description
    if reservation.metadata:
        message.metadata.update(reservation.metadata)


def put_balance(message: broker_pb2.Balance, balance: Balance) -> None:
    """Renders a balance into an empty message."""
    message.ledger_credits = balance.ledger_credits
    message.reserved_credits = balance.reserved_credits
    message.available_credits = balance.available_credits


def render_offer(error: InsufficientCredits, packs: Sequence[Pack], purchase_url: str) -> broker_pb2.Offer:
    """Renders what a customer can buy to go on: the first packs, as many as fit into an error's details.

    `{service}` in the URL becomes the service's name.
    """
    missing_credits = error.missing_credits
    offer = broker_pb2.Offer(
        service=error.service,
        missing_credits=missing_credits,
        purchase_url=purchase_url.replace("{service}", error.service),
        message=f"{missing_credits} more {'credit is' if missing_credits == 1 else 'credits are'} needed.",
    )
    for pack in packs:
        rendered = render_pack(pack)
        if offer.ByteSize() + rendered.ByteSize() > _MAX_OFFER_BYTES:
            break
        offer.packs.append(rendered)
    return offer


def render_account(account: Account) -> account_pb2.Account:
    """Renders an account, without its credits."""
    return account_pb2.Account(
        account_id=account.account_id,
        customer_id=account.customer_id,
        service=account.service,
        state=_ACCOUNT_STATES[account.state],
        create_time=to_timestamp(account.create_time),
    )


def render_grant(grant: Grant) -> account_pb2.Grant:
    """Renders a grant."""
    return account_pb2.Grant(
        grant_id=grant.grant_id,
        kind=_GRANT_KINDS[grant.kind],
        credits=grant.credits,
        remaining_credits=grant.remaining_credits,
        reserved_credits=grant.reserved_credits,
        priority=grant.priority,
        expire_time=None if grant.expire_time is None else to_timestamp(grant.expire_time),
        purchase_id=grant.purchase_id or "",
        create_time=to_timestamp(grant.create_time),
    )


def render_entry(entry: Entry) -> account_pb2.Entry:
    """Renders a line of a statement."""
    return account_pb2.Entry(
        entry_id=f"ent_{entry.account_id[4:]}_{entry.sequence}",
        time=to_timestamp(entry.time),
        kind=_ENTRY_KINDS[entry.kind],
        credits=entry.credits,
        ledger_credits_after=entry.ledger_credits_after,
        reservation_id=entry.reservation_id or "",
        purchase_id=entry.purchase_id or "",
        description=entry.description,
    )


def render_service(service: Service) -> catalog_pb2.Service:
    """Renders a service."""
    return catalog_pb2.Service(
        service=service.service,
        provider_id=service.provider_id,
        title=service.title,
        description=service.description,
        unit_name=service.unit_name,
        trial_credits=service.trial_credits,
        default_ttl=to_duration(service.default_ttl),
        max_ttl=to_duration(service.max_ttl),
        state=_SERVICE_STATES[service.state],
    )


def render_pack(pack: Pack) -> catalog_pb2.Pack:
    """Renders a pack."""
    return catalog_pb2.Pack(
        pack_id=pack.pack_id,
        service=pack.service,
        title=pack.title,
        credits=pack.credits,
        price=to_money(pack.currency, pack.price_minor_units),
        validity=None if pack.validity is None else to_duration(pack.validity),
        state=catalog_pb2.PACK_STATE_ARCHIVED if pack.archived else catalog_pb2.PACK_STATE_ACTIVE,
    )


def render_purchase(purchase: Purchase) -> purchase_pb2.Purchase:
    """Renders a purchase, with the pack as it was when it was sold."""
    refunded = to_money(purchase.currency, purchase.refunded_minor_units) if purchase.refunded_minor_units else None
    return purchase_pb2.Purchase(
        purchase_id=purchase.purchase_id,
        account_id=purchase.account_id,
        pack=catalog_pb2.Pack(
            pack_id=purchase.pack_id,
            service=purchase.service,
            title=purchase.pack_title,
            credits=purchase.credits,
            price=to_money(purchase.currency, purchase.price_minor_units),
            validity=None if purchase.validity is None else to_duration(purchase.validity),
            state=catalog_pb2.PACK_STATE_ACTIVE,
        ),
        credits=purchase.credits,
        price=to_money(purchase.currency, purchase.price_minor_units),
        commission=to_money(purchase.currency, purchase.commission_minor_units),
        provider_share=to_money(purchase.currency, purchase.provider_share_minor_units),
        state=PURCHASE_STATES[purchase.state],
        create_time=to_timestamp(purchase.create_time),
        pay_time=None if purchase.pay_time is None else to_timestamp(purchase.pay_time),
        checkout_expire_time=to_timestamp(purchase.checkout_expire_time),
        refunded_credits=purchase.refunded_credits,
        refunded=refunded,
        origin=_PURCHASE_ORIGINS[purchase.origin],
        gateway=purchase.gateway,
    )


def render_provider(provider: Provider) -> admin_pb2.Provider:
    """Renders a provider."""
    return admin_pb2.Provider(
        provider_id=provider.provider_id,
        name=provider.name,
        state=_PROVIDER_STATES[provider.state],
        commission_basis_points=provider.commission_basis_points,
        create_time=to_timestamp(provider.create_time),
    )


def render_customer(customer: Customer) -> admin_pb2.Customer:
    """Renders a customer."""
    return admin_pb2.Customer(
        customer_id=customer.customer_id,
        name=customer.name,
        email=customer.email,
        create_time=to_timestamp(customer.create_time),
    )


def render_key(key: Key) -> admin_pb2.Key:
    """Renders a key, without its secret."""
    rendered = admin_pb2.Key(
        key_id=key.key_id,
        title=key.title,
        create_time=to_timestamp(key.create_time),
        revoke_time=None if key.revoke_time is None else to_timestamp(key.revoke_time),
    )
    match key.role:
        case Role.PROVIDER:
            rendered.provider_id = key.owner_id
        case Role.CUSTOMER:
            rendered.customer_id = key.owner_id
        case Role.OPERATOR:
            rendered.operator = True
    return rendered
