"""A broker with Stripe as its gateway, and the double of Stripe: purchases from their start to their end."""

from dataclasses import dataclass
from typing import Any

from google.type.money_pb2 import Money
from iap.broker.v1 import purchase_pb2

from mesh_runtime.addresses import Address
from tests.contract.broker_world.world import Account, World, call, new_id
from tests.stripe_double.api import SECRET_KEY, Json
from tests.stripe_double.server import WEBHOOK_SECRET, StripeDouble

ANY_PORT = Address("127.0.0.1", 0)


def stripe_settings(stripe_url: str) -> dict[str, Any]:
    """What a broker's settings have to be so that it sells through the double."""
    return {
        "http_listen": ANY_PORT,
        "payment_gateways": ("stripe",),
        "stripe_secret_key": SECRET_KEY,
        "stripe_webhook_secret": WEBHOOK_SECRET,
        "stripe_api_url": stripe_url,
    }


@dataclass(frozen=True, slots=True)
class Sale:
    """A purchase that was started, and its Checkout Session."""

    account: Account
    purchase: purchase_pb2.Purchase
    session: Json

    @property
    def purchase_id(self) -> str:
        return self.purchase.purchase_id


@dataclass(frozen=True, slots=True)
class StripeShop:
    """The broker's world, and Stripe."""

    world: World
    stripe: StripeDouble

    @property
    def url(self) -> str:
        return self.world.running.http_url

    async def create_purchase(
        self,
        account: Account,
        pack_id: str,
        *,
        request_id: str | None = None,
        return_url: str = "",
        saves_method: bool = False,
    ) -> purchase_pb2.CreatePurchaseResponse:
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=request_id or new_id(), pack_id=pack_id, return_url=return_url, save_payment_method=saves_method
        )
        if saves_method:
            request.account_id = account.id
        else:
            request.account_token = account.token
        key = account.customer.key if saves_method else ""
        return await call(self.world.stubs.purchases.CreatePurchase, request, key)

    async def start(
        self,
        *,
        price: Money | None = None,
        account: Account | None = None,
        return_url: str = "",
        title: str = "Pack",
        saves_method: bool = False,
    ) -> Sale:
        """Starts a purchase of 100 credits, for 10 EUR unless said otherwise."""
        account = account or await self.world.new_account(trial_credits=0)
        pack = await self.world.new_pack(account.service, price=price, title=title)
        made = await self.create_purchase(account, pack.pack_id, return_url=return_url, saves_method=saves_method)
        (session,) = [
            it
            for it in self.stripe.api.sessions.values()
            if it["metadata"] == {"purchase_id": made.purchase.purchase_id}
        ]
        assert made.checkout_url == session["url"]
        return Sale(account, made.purchase, session)

    async def tell(self, kind: str, subject: Json) -> int:
        """Sends a notice and returns the status of the answer."""
        status, _ = await self.stripe.send(self.url, self.stripe.event(kind, subject))
        return status

    async def paid(self, **how: Any) -> tuple[Sale, Json]:
        """Starts a purchase and pays it; returns it with its payment."""
        sale = await self.start(**how)
        payment = self.stripe.api.pay(sale.session)
        assert await self.tell("checkout.session.completed", sale.session) == 200
        assert await self.state(sale) == "PAID"
        return sale, payment

    async def purchase(self, sale: Sale) -> purchase_pb2.Purchase:
        request = purchase_pb2.GetPurchaseRequest(purchase_id=sale.purchase_id, account_token=sale.account.token)
        return (await call(self.world.stubs.purchases.GetPurchase, request)).purchase

    async def state(self, sale: Sale) -> str:
        state = (await self.purchase(sale)).state
        return purchase_pb2.PurchaseState.Name(state).removeprefix("PURCHASE_STATE_")

    async def credits(self, sale: Sale) -> int:
        return (await self.world.balance(sale.account))[0]

    async def refund(self, sale: Sale, *, request_id: str | None = None) -> purchase_pb2.RefundPurchaseResponse:
        request = purchase_pb2.RefundPurchaseRequest(request_id=request_id or new_id(), purchase_id=sale.purchase_id)
        return await call(self.world.stubs.purchases.RefundPurchase, request, sale.account.customer.key)

    def notices(self, sale: Sale) -> list[tuple[Any, ...]]:
        """What is kept of the notices of a purchase, in the order they came in: kind, outcome, times, detail."""
        return self.world.running.sql(
            "SELECT kind, outcome, times_received, detail FROM payment_notices WHERE purchase_id = ?"
            " ORDER BY receive_time, gateway_event_id",
            sale.purchase_id,
        )
