"""The sandbox gateway's moods: by itself, at once, refusing, late, and twice."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import purchase_pb2

from broker_service.payments.gateway import PaymentMethod
from broker_service.payments.gateways import Gateways
from broker_service.payments.sandbox import SandboxBehavior, SandboxGateway
from tests.contract.broker_purchases.till import get_purchase, money_accounts, refund_purchase, refund_rows, told
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, call, new_id, new_world

PENDING = purchase_pb2.PURCHASE_STATE_PENDING
PAID = purchase_pb2.PURCHASE_STATE_PAID


async def started(world: World) -> tuple[Account, str]:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    return account, (await world.purchase(account, pack.pack_id)).purchase_id


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens in a database
            await asyncio.sleep(0.01)


async def test_a_payment_that_is_told_of_late_is_pending_until_then(database_url: str) -> None:
    async with running_broker(
        database_url, sandbox_behavior=SandboxBehavior.DELAY, sandbox_delay_seconds=0.3
    ) as running:
        world = await new_world(running)
        account, purchase_id = await started(world)
        request_id = new_id()
        answer = await world.pay(purchase_id, request_id=request_id)
        assert (answer.purchase.state, answer.replayed) == (PENDING, False)
        assert await world.balance(account) == (0, 0, 0)
        again = await world.pay(purchase_id, request_id=request_id)
        assert (again.purchase.state, again.replayed) == (PENDING, True)

        async def is_paid() -> bool:
            return (await get_purchase(world, account, purchase_id)).state == PAID

        await until(is_paid)
        assert await world.balance(account) == (100, 0, 100)
        assert (await refusal_of(world.pay(purchase_id))).reason == "PURCHASE_PAID"
        assert (await world.pay(purchase_id, request_id=request_id)).purchase.state == PAID


async def test_a_purchase_is_paid_at_once_where_the_sandbox_pays_by_itself(database_url: str) -> None:
    async with running_broker(database_url, sandbox_behavior=SandboxBehavior.INSTANT) as running:
        world = await new_world(running)
        account = await world.new_account(trial_credits=0)
        pack = await world.new_pack(account.service)
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=new_id(), pack_id=pack.pack_id, account_id=account.id, save_payment_method=True
        )
        for replayed in (False, True):
            answer = await call(world.stubs.purchases.CreatePurchase, request, account.customer.key)
            assert (answer.purchase.state, answer.checkout_url, answer.replayed) == (PAID, "", replayed)
        purchase_id = answer.purchase.purchase_id
        assert await told(world, purchase_id) == [("SUCCEEDED", "APPLIED", "the purchase is paid", 1)]
        assert await world.balance(account) == (100, 0, 100)
        assert running.sql("SELECT method_reference FROM payment_methods") == [("sandbox",)]
        assert (await refusal_of(world.pay(purchase_id))).reason == "PURCHASE_PAID"
        await refund_purchase(world, account, purchase_id)
        assert refund_rows(world, purchase_id) == [("REFUND", "PAID", 100, 1_000, 250)]


async def test_what_a_crash_has_left_unpaid_at_such_a_sandbox_is_paid_by_a_replay(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_broker(database_url, sandbox_behavior=SandboxBehavior.INSTANT) as running:
        world = await new_world(running)
        account = await world.new_account(trial_credits=0)
        pack = await world.new_pack(account.service)
        request_id = new_id()

        async def crash(*_: object) -> None:
            raise RuntimeError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(running.broker.desk, "take_notice", crash)
            assert (await refusal_of(world.purchase(account, pack.pack_id, request_id=request_id))).reason == "INTERNAL"
        assert await world.balance(account) == (0, 0, 0)
        assert (await world.purchase(account, pack.pack_id, request_id=request_id)).state == PAID
        assert await world.balance(account) == (100, 0, 100)


async def test_a_refund_that_is_told_of_late_is_owed_until_then(database_url: str) -> None:
    async with running_broker(
        database_url, sandbox_behavior=SandboxBehavior.DELAY, sandbox_delay_seconds=0.2
    ) as running:
        world = await new_world(running)
        account, purchase_id = await started(world)
        await world.pay(purchase_id)

        async def is_paid() -> bool:
            return (await get_purchase(world, account, purchase_id)).state == PAID

        await until(is_paid)
        await refund_purchase(world, account, purchase_id)
        assert money_accounts(world, purchase_id) == {"gateway_clearing": 1_000, "refunds_in_transit": -1_000}

        async def is_settled() -> bool:
            return money_accounts(world, purchase_id) == {}

        await until(is_settled)


async def test_what_is_told_twice_counts_once(database_url: str) -> None:
    async with running_broker(
        database_url, sandbox_behavior=SandboxBehavior.TWICE, sandbox_delay_seconds=0.0
    ) as running:
        world = await new_world(running)
        account, purchase_id = await started(world)
        assert (await world.pay(purchase_id)).purchase.state == PAID
        await refund_purchase(world, account, purchase_id)

        async def is_told_twice() -> bool:
            return [times for *_, times in await told(world, purchase_id)] == [2, 2]

        await until(is_told_twice)
        assert await world.balance(account) == (0, 0, 0)
        assert len(await world.entries(account)) == 2
        assert refund_rows(world, purchase_id) == [("REFUND", "PAID", 100, 1_000, 250)]


async def test_a_refund_that_is_refused_stays_owed(database_url: str) -> None:
    async with running_broker(database_url, sandbox_behavior=SandboxBehavior.FAIL) as running:
        world = await new_world(running)
        account, purchase_id = await started(world)
        assert (await world.pay(purchase_id)).purchase.state == PAID
        answer = await refund_purchase(world, account, purchase_id)
        assert answer.purchase.state == purchase_pb2.PURCHASE_STATE_REFUNDED
        assert await world.balance(account) == (0, 0, 0)
        assert refund_rows(world, purchase_id) == [("REFUND", "FAILED", 100, 1_000, 250)]
        assert money_accounts(world, purchase_id) == {"gateway_clearing": 1_000, "refunds_in_transit": -1_000}
        details = {(kind, outcome, detail) for kind, outcome, detail, _ in await told(world, purchase_id)}
        assert ("REFUND_FAILED", "APPLIED", "the refund failed: the sandbox refuses") in details


@pytest.mark.parametrize(
    ("behavior", "balance"),
    [(SandboxBehavior.SUCCEED, (100, 0, 100)), (SandboxBehavior.FAIL, (0, 0, 0))],
)
async def test_a_charge_pays_or_fails_the_purchase(
    database_url: str, behavior: SandboxBehavior, balance: tuple[int, int, int]
) -> None:
    gateway = SandboxGateway(behavior=behavior)
    async with running_broker(database_url, gateways=Gateways(gateway)) as running:
        world = await new_world(running)
        account, purchase_id = await started(world)
        purchase = await running.broker.desk.purchase(purchase_id)
        for _ in range(2):
            notice = await gateway.charge(purchase, PaymentMethod("cus-1", "card-1"))
            assert notice is not None
            await running.broker.desk.take_notice("sandbox", notice)
        assert await world.balance(account) == balance
        assert [times for *_, times in await told(world, purchase_id)] == [2]


async def test_a_broker_with_pages_sends_payers_there(database_url: str) -> None:
    gateways = Gateways(SandboxGateway(public_address="https://pay.example/"))
    async with running_broker(database_url, gateways=gateways) as running:
        world = await new_world(running)
        account = await world.new_account()
        pack = await world.new_pack(account.service, price=Money(currency_code="JPY", units=100))
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=new_id(), pack_id=pack.pack_id, account_token=account.token
        )
        answer = await call(world.stubs.purchases.CreatePurchase, request)
        assert answer.checkout_url == f"https://pay.example/checkout/{answer.purchase.purchase_id}"


async def test_a_notice_that_is_still_owed_when_the_broker_stops_is_lost_and_the_payer_can_go_on(
    database_url: str,
) -> None:
    async with running_broker(
        database_url, sandbox_behavior=SandboxBehavior.DELAY, sandbox_delay_seconds=3_600
    ) as running:
        world = await new_world(running)
        account, purchase_id = await started(world)
        request_id = new_id()
        await world.pay(purchase_id, request_id=request_id)
    async with running_broker(database_url, sandbox_behavior=SandboxBehavior.DELAY, sandbox_delay_seconds=0) as running:
        world = World(running, world.provider, world.rival, world.services)
        assert await world.balance(account) == (0, 0, 0)
        await world.pay(purchase_id, request_id=request_id)

        async def is_paid() -> bool:
            return (await get_purchase(world, account, purchase_id)).state == PAID

        await until(is_paid)
        assert await world.balance(account) == (100, 0, 100)
