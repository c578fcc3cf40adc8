"""Refunds that nobody has paid yet are asked for again: after an outage, by several brokers, and ever more seldom."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from broker_service.background.refund_runner import RefundRunner
from broker_service.domain.records import PaymentNoticeKind
from broker_service.payments.gateways import Gateways
from broker_service.storage.audit import audit
from tests.contract.broker_purchases.till import money_accounts, refund_purchase, refund_rows, tell
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.scripted_gateway import ScriptedGateway
from tests.contract.broker_world.world import Account, World, new_id, new_world
from tests.databases import unreadable

INTERVAL_SECONDS = 60.0
OWED = {"gateway_clearing": 1_000, "refunds_in_transit": -1_000}


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
async def shop(books_url: str, gateway: ScriptedGateway) -> AsyncIterator[World]:
    async with running_broker(books_url, gateways=Gateways(gateway)) as running:
        world = await new_world(running)
        yield world
        assert (await running.broker.database.read(audit)).violations == ()


def runner_of(world: World) -> RefundRunner:
    broker = world.running.broker
    return RefundRunner(broker.database, world.clock, broker.desk, interval_seconds=INTERVAL_SECONDS)


async def owed_refund(world: World, gateway: ScriptedGateway) -> tuple[Account, str]:
    """Returns an account and its purchase, whose refund the gateway has not been able to take."""
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    purchase_id = (await world.purchase(account, pack.pack_id)).purchase_id
    await tell(world, PaymentNoticeKind.SUCCEEDED, purchase_id, gateway="scripted")
    gateway.down = True
    await refund_purchase(world, account, purchase_id)
    gateway.down = False
    return account, purchase_id


async def test_a_refund_is_paid_once_the_gateway_is_back(shop: World, gateway: ScriptedGateway) -> None:
    _, purchase_id = await owed_refund(shop, gateway)
    assert money_accounts(shop, purchase_id) == OWED
    runner = runner_of(shop)
    assert await runner.run() == 0, "it is left to whoever has just asked"
    shop.clock.move(timedelta(seconds=INTERVAL_SECONDS))
    assert await runner.run() == 1
    assert money_accounts(shop, purchase_id) == {}
    assert refund_rows(shop, purchase_id) == [("REFUND", "PAID", 100, 1_000, 250)]
    assert await runner.run() == 0


async def test_a_refund_that_the_gateway_refuses_is_not_asked_for_again(shop: World, gateway: ScriptedGateway) -> None:
    _, purchase_id = await owed_refund(shop, gateway)
    gateway.declines = True
    shop.clock.move(timedelta(seconds=INTERVAL_SECONDS))
    runner = runner_of(shop)
    assert [await runner.run() for _ in range(2)] == [1, 0]
    assert (money_accounts(shop, purchase_id), len(gateway.asked)) == (OWED, 2)


async def test_what_a_chargeback_pays_meanwhile_is_not_asked_for(shop: World, gateway: ScriptedGateway) -> None:
    """A round reads many refunds at once; the gateway may take long for those before."""
    purchases = [(await owed_refund(shop, gateway))[1] for _ in range(2)]
    asked_before = len(gateway.asked)
    shop.clock.move(timedelta(seconds=INTERVAL_SECONDS))
    async with gateway.held() as asked:
        round_of_runner = asyncio.create_task(runner_of(shop).run())
        first = await asyncio.wait_for(asked, timeout=20)
        (other,) = set(purchases) - {first}
        await tell(shop, PaymentNoticeKind.CHARGED_BACK, other, gateway="scripted")
    assert await round_of_runner == 2
    assert len(gateway.asked) - asked_before == 1, "only the first was asked for"
    assert all(money_accounts(shop, purchase_id) == {} for purchase_id in purchases)
    assert sum(gateway.paid.values()) == 1_000


async def test_several_brokers_pay_a_refund_once(shop: World, gateway: ScriptedGateway) -> None:
    purchases = [(await owed_refund(shop, gateway))[1] for _ in range(5)]
    shop.clock.move(timedelta(seconds=INTERVAL_SECONDS))
    async with running_broker(shop.running.database_url, shop.clock, gateways=Gateways(gateway)) as second:
        other = World(second, shop.provider, shop.rival)
        await asyncio.gather(*(runner_of(world).run() for world in (shop, other, shop, other)))
    assert all(money_accounts(shop, purchase_id) == {} for purchase_id in purchases)
    assert sum(gateway.paid.values()) == 5_000


async def test_it_finds_all_that_is_owed_batch_by_batch(
    shop: World, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker_service.background.refund_runner._BATCH_REFUNDS", 2)
    for _ in range(5):
        await owed_refund(shop, gateway)
    gateway.silent = True
    shop.clock.move(timedelta(seconds=INTERVAL_SECONDS))
    runner = runner_of(shop)
    assert await runner.run() == 0
    assert len(gateway.asked) == 10
    gateway.silent = False
    assert await runner_of(shop).run() == 5


async def test_it_asks_ever_more_seldom(shop: World, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await owed_refund(shop, gateway)
    gateway.silent = True
    shop.clock.move(timedelta(seconds=INTERVAL_SECONDS))
    now = time.monotonic()
    monkeypatch.setattr("broker_service.background.refund_runner.time.monotonic", lambda: now)
    runner = runner_of(shop)
    asked = []
    for minute in range(16):
        before = len(gateway.asked)
        await runner.run()
        if len(gateway.asked) > before:
            asked.append(minute)
        now += INTERVAL_SECONDS
    assert asked == [0, 2, 6, 14]


async def test_a_replay_asks_again_at_once(shop: World, gateway: ScriptedGateway) -> None:
    account, owed_before = await owed_refund(shop, gateway)
    pack = await shop.new_pack(account.service)
    purchase_id = (await shop.purchase(account, pack.pack_id)).purchase_id
    await tell(shop, PaymentNoticeKind.SUCCEEDED, purchase_id, gateway="scripted")
    request_id, gateway.down = new_id(), True
    first = await refund_purchase(shop, account, purchase_id, request_id=request_id)
    assert money_accounts(shop, purchase_id) == OWED
    gateway.down = False
    again = await refund_purchase(shop, account, purchase_id, request_id=request_id)
    assert (again.refund, again.replayed) == (first.refund, True)
    assert money_accounts(shop, purchase_id) == {}
    assert money_accounts(shop, owed_before) == OWED, "others are left to the runner"


async def test_it_runs_by_itself_and_outlives_an_outage(books_url: str, gateway: ScriptedGateway) -> None:
    async with running_broker(books_url, gateways=Gateways(gateway)) as running:
        world = await new_world(running)
        _, purchase_id = await owed_refund(world, gateway)
        world.clock.move(timedelta(seconds=1))
        runner = RefundRunner(running.broker.database, world.clock, running.broker.desk, interval_seconds=0.05)
        with unreadable(books_url, "purchase_refunds"):
            runner.start()
            await asyncio.sleep(0.3)
        async with asyncio.timeout(20):
            while not gateway.paid:  # noqa: ASYNC110 - what is waited for happens outside
                await asyncio.sleep(0.05)
        await runner.stop()
        assert money_accounts(world, purchase_id) == {}
