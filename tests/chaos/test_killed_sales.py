"""A broker that is killed in the midst of sales: what is paid is granted once, what is refunded is paid back once.

It dies between a payment notice and its grant, between a refund's commit and the call to the gateway, between that
call's effect and its answer, and at other moments, again and again. Buyers and Stripe repeat what was not answered.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle, islice
from os import environ
from pathlib import Path

import pytest
from google.type.money_pb2 import Money

from deploy.node_process import ANY_PORT, NodeCommand, NodeProcess
from tests.chaos.buyers import PACK_CREDITS, Buyer
from tests.chaos.calls import Caller, Progress
from tests.chaos.journal import Journal
from tests.chaos.reckoning import settle
from tests.chaos.stage import (
    BROKER,
    SECONDS_PER_KILL,
    SEED_VARIABLE,
    SILENCE_SECONDS,
    audit_of,
    channel_to,
    kills_wanted,
)
from tests.chaos.told_sales import ToldSales
from tests.contract.broker_world.running_broker import MovableClock, Stubs, running_broker
from tests.contract.broker_world.world import Account, new_world
from tests.databases import run_sql
from tests.stripe_double.api import SECRET_KEY, ApiError
from tests.stripe_double.server import WEBHOOK_SECRET, StripeDouble, running_stripe

KILLS = kills_wanted(6)
BUYERS = 6
# Prices that part into shares and refunds with remainders.
PRICES_CENTS = (999, 1_000, 101)
MOMENTS = ("notice sent", "refund sent", "refund asked", "notice taken", "refund done", "answered")
FLAGS = ("--payment-gateway", "stripe", "--http-listen", ANY_PORT, "--http-url", "https://pay.example")
ENVIRONMENT = {
    "IAP_BROKER_STRIPE_SECRET_KEY": SECRET_KEY,
    "IAP_BROKER_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
}


@dataclass(slots=True)
class Shop:
    """What is killed, and who is hurt by it."""

    url: str
    broker: NodeProcess
    stripe: StripeDouble
    caller: Caller
    accounts: list[Account]
    pack_ids: list[str]
    chance: random.Random
    seed: str
    awaited: str = ""
    _come: asyncio.Event = field(default_factory=asyncio.Event)

    def reached(self, moment: str) -> None:
        """Kills the broker at once if Stripe is at the moment that is waited for; else that is for who waits."""
        if moment != self.awaited:
            return
        self.awaited = ""
        self._come.set()
        if moment in ("refund asked", "refund done"):
            self.broker.kill_now()

    def hear(self, method: str, path: str, progress: str) -> None:
        """Hears what Stripe is asked; a request of a broker that dies meanwhile may never arrive."""
        if (method, path) == ("POST", "/v1/refunds"):
            dies = self.awaited == f"refund {progress}"
            self.reached(f"refund {progress}")
            if dies and progress == "asked" and self.chance.random() < 0.5:
                raise ApiError(500, "api_error")

    async def strike(self, moment: str) -> None:
        """Kills the broker at a moment in the midst of work, or shortly after it, and starts it again."""
        async with asyncio.timeout(SILENCE_SECONDS):
            await self.caller.progress.wait_for_answers(self.chance.randint(5, 20), lambda: None)
            self._come.clear()
            self.awaited = moment
            await self._come.wait()
        await asyncio.sleep(self.chance.choice((0.0, self.chance.uniform(0.0, 0.01), self.chance.uniform(0.0, 0.05))))
        await self.broker.kill()
        await self.broker.start()


@asynccontextmanager
async def open_shop(url: str, directory: Path) -> AsyncIterator[Shop]:
    """Serves packs from a broker process of its own, to be paid at Stripe; it is gone in the end."""
    seed = environ.get(SEED_VARIABLE) or secrets.token_hex(4)
    async with running_broker(url, MovableClock(datetime.now(UTC))) as running:
        world = await new_world(running)
        accounts = [await world.new_account(trial_credits=0) for _ in range(BUYERS)]
        prices = [Money(currency_code="EUR", units=it // 100, nanos=it % 100 * 10_000_000) for it in PRICES_CENTS]
        packs = [await world.new_pack(accounts[0].service, price=it, pack_credits=PACK_CREDITS) for it in prices]
    async with AsyncExitStack() as stack:
        stripe = await stack.enter_async_context(running_stripe())
        arguments = ("--database", url, "--stripe-api-url", stripe.url, "--refund-seconds", "0.3", *FLAGS)
        command = NodeCommand(module=BROKER, arguments=arguments, environment=ENVIRONMENT)
        broker = NodeProcess(command, log_path=directory / "broker.log")
        stack.push_async_callback(broker.kill)
        await broker.start()
        channel = await stack.enter_async_context(channel_to(broker.address))
        caller = Caller(Stubs(channel), world.provider.key, running.operator_key, Progress())
        pack_ids = [it.pack_id for it in packs]
        shop = Shop(url, broker, stripe, caller, accounts, pack_ids, random.Random(seed), seed)
        stripe.api.listener = shop.hear
        yield shop
        assert await broker.stop() == 0


async def sell_under_kills(shop: Shop, journals: list[Journal]) -> None:
    """Lets buyers buy while the broker is killed at one moment after the other."""
    print(f"seed {shop.seed}: {KILLS} kills")
    buyers = [
        Buyer(
            shop.caller,
            journal,
            random.Random(f"{shop.seed}/{number}"),
            account,
            shop.pack_ids,
            shop.broker,
            shop.stripe,
            shop.reached,
        )
        for number, (journal, account) in enumerate(zip(journals, shop.accounts, strict=True))
    ]
    async with asyncio.TaskGroup() as group:
        for buyer in buyers:
            group.create_task(buyer.run())
        for moment in islice(cycle(MOMENTS), KILLS):
            await shop.strike(moment)
        for buyer in buyers:
            buyer.stopped.set()


async def all_refunds_paid(shop: Shop) -> None:
    """Returns once the broker has asked for every refund that it owes."""
    owed = "SELECT count(*) FROM purchase_refunds WHERE state = 'REQUESTED'"
    async with asyncio.timeout(SILENCE_SECONDS):
        while (await asyncio.to_thread(run_sql, shop.url, owed)) != [(0,)]:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.1)


@pytest.mark.timeout(120 + SECONDS_PER_KILL * KILLS)
async def test_what_is_paid_is_granted_once_and_what_is_refunded_is_paid_back_once(
    database_url: str, tmp_path: Path
) -> None:
    async with open_shop(database_url, tmp_path) as shop:
        with ExitStack() as files:
            journals = [files.enter_context(Journal(tmp_path / f"buyer-{number}.journal")) for number in range(BUYERS)]
            await sell_under_kills(shop, journals)
            await settle(shop.caller, journals)
            await all_refunds_paid(shop)
            records = [record for journal in journals for record in journal.read()]
        told = ToldSales(database_url, shop.stripe.api, records)
        print(f"{told}; {shop.caller.progress.unclear} tries without an answer")
        told.assert_paid_once()
        told.assert_refunded_once()
        told.assert_money_is_at_stripe()
        await told.assert_credits_are_left(shop.caller, shop.accounts)
        await told.assert_answers_stand(shop.caller)
        told.assert_paid_once()
        told.assert_refunded_once()
        assert shop.caller.progress.unclear, "kills that leave nothing unanswered prove nothing"
    assert (await audit_of(database_url))["violations"] == []
