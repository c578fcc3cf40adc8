"""What a mesh needs before its first request: a provider with a service and packs, and a customer with an account."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from google.type.money_pb2 import Money
from iap.broker.v1.purchase_pb2 import Purchase

from client_stub.accounts import AccountClient
from client_stub.admin import AdminClient
from client_stub.catalog import CatalogClient
from client_stub.purchases import PurchaseClient

SERVICE: Final = "sms"
# A provider offers no more than is on sale here.
SEEDED_SERVICES: Final = ("--services", SERVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackTerms:
    """A pack to put on sale."""

    title: str
    credits: int
    price: Money


PACKS: Final = (
    PackTerms(title="Small pack", credits=20, price=Money(currency_code="EUR", units=4, nanos=990_000_000)),
    PackTerms(title="Large pack", credits=100, price=Money(currency_code="EUR", units=19)),
)
TRIAL_CREDITS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """Who and what there is now, with the secrets that the broker shows once."""

    service: str
    pack_ids: tuple[str, ...]
    provider_id: str
    customer_id: str
    account_id: str
    provider_key: str = field(repr=False)
    customer_key: str = field(repr=False)
    account_token: str = field(repr=False)


async def seed(
    broker: str,
    *,
    operator_key: str,
    packs: Sequence[PackTerms] = PACKS,
    trial_credits: int = TRIAL_CREDITS,
) -> Seeded:
    """Register a provider and a customer, publish the service and its packs, and open an account for it.

    Raises IapError, AlreadyExistsError for a broker where the service is published.
    """
    async with AdminClient.connect(broker, key=operator_key) as admin:
        provider = await admin.register_provider(name="Example Texts Ltd")
        customer = await admin.register_customer(name="Ada Example", email="ada@example.com")
    pack_ids = await _publish(broker, provider.provider_key, packs, trial_credits)
    async with AccountClient.connect(broker, key=customer.customer_key) as accounts:
        opened = await accounts.open_account(service=SERVICE)
    return Seeded(
        service=SERVICE,
        pack_ids=pack_ids,
        provider_id=provider.provider.provider_id,
        customer_id=customer.customer.customer_id,
        account_id=opened.account.account_id,
        provider_key=provider.provider_key,
        customer_key=customer.customer_key,
        account_token=opened.account_token,
    )


async def buy_pack(broker: str, *, pack_id: str, account_token: str) -> Purchase:
    """Buy a pack and play the payer's part at the sandbox gateway; return the purchase, paid. Raises IapError."""
    async with PurchaseClient.connect(broker) as purchases:
        created = await purchases.create_purchase(pack_id=pack_id, account_token=account_token)
        paid = await purchases.complete_sandbox_payment(purchase_id=created.purchase.purchase_id)
    return paid.purchase


async def _publish(broker: str, provider_key: str, packs: Sequence[PackTerms], trial_credits: int) -> tuple[str, ...]:
    async with CatalogClient.connect(broker, key=provider_key) as catalog:
        await catalog.create_service(
            service=SERVICE,
            title="Text messages",
            description="Sends text messages to phones in every country.",
            unit_name="segment",
            trial_credits=trial_credits,
        )
        created = [
            await catalog.create_pack(service=SERVICE, title=pack.title, credits=pack.credits, price=pack.price)
            for pack in packs
        ]
    return tuple(response.pack.pack_id for response in created)
