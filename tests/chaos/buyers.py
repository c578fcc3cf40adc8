"""Customers that buy, use and give back, at a broker that may be gone at any moment, and Stripe, which tells it."""

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from iap.broker.v1 import broker_pb2, purchase_pb2

from deploy.node_process import NodeProcess
from tests.chaos.calls import Caller, UnclearError
from tests.chaos.journal import Journal
from tests.contract.broker_world.world import Account
from tests.stripe_double.api import Json
from tests.stripe_double.server import StripeDouble

PACK_CREDITS = 100
# A notice that nobody answers for so long is sent again.
NOTICE_SECONDS = 5.0


@dataclass(slots=True)
class Buyer:
    """Has an account of its own. What has no clear answer is left to be settled, but for what Stripe tells.

    `reached` is told of each moment that is good for a blow.
    """

    caller: Caller
    journal: Journal
    chance: random.Random
    account: Account
    pack_ids: list[str]
    broker: NodeProcess
    stripe: StripeDouble
    reached: Callable[[str], None]
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while not self.stopped.is_set():
            try:
                await self._buy()
            except UnclearError:
                continue

    async def _buy(self) -> None:
        bought = purchase_pb2.CreatePurchaseRequest(
            pack_id=self.chance.choice(self.pack_ids), account_token=self.account.token
        )
        purchase_id = (await self._ask("CreatePurchase", bought)).purchase.purchase_id
        if self.chance.random() < 0.1:
            return
        session = self._session_of(purchase_id)
        self.stripe.api.pay(session)
        event = self.stripe.event("checkout.session.completed", session)
        await asyncio.gather(*(self._deliver(event) for _ in range(self.chance.choice((1, 1, 2)))))
        if self.chance.random() < 0.5:
            used = self.chance.randint(1, 3)
            await self._ask("Charge", broker_pb2.ChargeRequest(account_token=self.account.token, credits=used))
        if self.chance.random() < 0.6:
            self.reached("refund sent")
            request = purchase_pb2.RefundPurchaseRequest(purchase_id=purchase_id, reason="no more of it")
            await self._ask("RefundPurchase", request)

    async def _ask(self, rpc: str, request: Any) -> Any:
        request.request_id = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        await self.journal.write_request(rpc, request)
        answer = await self.caller.tell(self.journal, rpc, request, self.chance)
        self.reached("answered")
        return answer

    def _session_of(self, purchase_id: str) -> Json:
        (session,) = (it for it in self.stripe.api.sessions.values() if it["client_reference_id"] == purchase_id)
        return session

    async def _deliver(self, event: Json) -> None:
        """Tells the broker until it has taken note."""
        while True:
            self.reached("notice sent")
            try:
                async with asyncio.timeout(NOTICE_SECONDS):
                    status, _ = await self.stripe.send(f"http://{self.broker.http_address}", event)
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            if status == 200:
                self.caller.progress.count_answer()
                self.reached("notice taken")
                return
            assert status in (0, 503), f"a notice was answered with {status}"
            self.caller.progress.unclear += 1
            await asyncio.sleep(0.1)
