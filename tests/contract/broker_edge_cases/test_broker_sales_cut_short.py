"""A broker is killed in the midst of a sale: what was written stands, the rest is done by a retry, and once."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import pytest
from iap.broker.v1 import purchase_pb2

from broker_service.background.refund_runner import RefundRunner
from broker_service.domain.records import PaymentNoticeKind
from broker_service.payments.gateways import Gateways
from broker_service.storage.audit import audit
from tests.contract.broker_edge_cases.dying_broker import COMMANDS_VARIABLE
from tests.contract.broker_edge_cases.processes import broker_processes
from tests.contract.broker_purchases.till import events, get_purchase, money_accounts, refund_purchase, tell, told
from tests.contract.broker_world.running_broker import MovableClock, running_broker
from tests.contract.broker_world.scripted_gateway import ScriptedGateway
from tests.contract.broker_world.world import Account, World, call, new_id, new_world

DYING_BROKER = "tests.contract.broker_edge_cases.dying_broker"
PAID = purchase_pb2.PURCHASE_STATE_PAID


@asynccontextmanager
async def living(database_url: str) -> AsyncIterator[World]:
    async with running_broker(database_url, MovableClock(datetime.now(UTC))) as running:
        world = await new_world(running)
        yield world
        assert (await running.broker.database.read(audit)).violations == ()


@asynccontextmanager
async def dying(world: World, directory: Path, *, after_commands: int) -> AsyncIterator[World]:
    """The same people at a broker that dies once so many commands are committed, before it goes on."""
    environment: Mapping[str, str] = {COMMANDS_VARIABLE: str(after_commands)}
    async with broker_processes(world, directory, module=DYING_BROKER, environment=environment) as [it]:
        yield it.world


async def sold(world: World) -> tuple[Account, str]:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    return account, (await world.buy(account, pack.pack_id)).purchase_id


@pytest.mark.parametrize("after_commands", [1, 2])
async def test_killed_before_or_after_the_checkout_a_retry_opens_it(
    database_url: str, tmp_path: Path, after_commands: int
) -> None:
    """One command starts the purchase, the next one keeps its checkout."""
    async with living(database_url) as world:
        account = await world.new_account(trial_credits=0)
        pack = await world.new_pack(account.service)
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=new_id(), pack_id=pack.pack_id, account_token=account.token
        )
        async with dying(world, tmp_path, after_commands=after_commands) as other:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(other.stubs.purchases.CreatePurchase, request)
        rows = world.running.sql("SELECT state, checkout_url <> '' FROM purchases")
        assert [(state, bool(open_)) for state, open_ in rows] == [("PENDING", after_commands == 2)]
        answer = await call(world.stubs.purchases.CreatePurchase, request)
        assert answer.replayed
        assert answer.checkout_url == f"sandbox:{answer.purchase.purchase_id}"
        assert (await world.pay(answer.purchase.purchase_id)).purchase.state == PAID


async def test_killed_between_a_payment_and_its_answer_a_retry_is_a_replay(database_url: str, tmp_path: Path) -> None:
    async with living(database_url) as world:
        account = await world.new_account(trial_credits=0)
        pack = await world.new_pack(account.service)
        purchase_id = (await world.purchase(account, pack.pack_id)).purchase_id
        request_id = new_id()
        async with dying(world, tmp_path, after_commands=1) as other:
            with pytest.raises(grpc.aio.AioRpcError):
                await other.pay(purchase_id, request_id=request_id)
        answer = await world.pay(purchase_id, request_id=request_id)
        assert (answer.purchase.state, answer.replayed) == (PAID, True)
        assert await world.balance(account) == (100, 0, 100)
        # A gateway that has got no answer tells again.
        event_id = world.running.sql("SELECT gateway_event_id FROM payment_notices")[0][0]
        await tell(world, PaymentNoticeKind.SUCCEEDED, purchase_id, event_id=event_id)
        assert await told(world, purchase_id) == [("SUCCEEDED", "APPLIED", "the purchase is paid", 2)]
        assert await world.balance(account) == (100, 0, 100)
        assert events(world, account) == ["purchase.paid"]


@pytest.mark.parametrize("after_commands", [1, 2])
@pytest.mark.parametrize("who", ["the customer", "the runner"])
async def test_killed_before_or_after_the_gateway_is_asked_a_refund_is_paid_once(
    database_url: str, tmp_path: Path, after_commands: int, who: str
) -> None:
    """One command refunds the credits, the next one takes what the gateway has said."""
    async with living(database_url) as world:
        account, purchase_id = await sold(world)
        request_id = new_id()
        async with dying(world, tmp_path, after_commands=after_commands) as other:
            with pytest.raises(grpc.aio.AioRpcError):
                await refund_purchase(other, account, purchase_id, request_id=request_id)
        assert await world.balance(account) == (0, 0, 0)
        owed = {"gateway_clearing": 1_000, "refunds_in_transit": -1_000}
        assert money_accounts(world, purchase_id) == (owed if after_commands == 1 else {})
        if who == "the customer":
            answer = await refund_purchase(world, account, purchase_id, request_id=request_id)
            assert (answer.replayed, answer.refund.units) == (True, 10)
        else:
            broker = world.running.broker
            world.clock.now = datetime.now(UTC)
            runner = RefundRunner(broker.database, world.clock, broker.desk, interval_seconds=0)
            assert await runner.run() == (after_commands == 1)
        assert money_accounts(world, purchase_id) == {}
        assert (await get_purchase(world, account, purchase_id)).refunded_credits == 100
        assert events(world, account) == ["purchase.paid", "purchase.refunded"]


async def test_a_gateway_that_has_paid_and_whose_answer_is_lost_pays_once(database_url: str) -> None:
    gateway = ScriptedGateway()
    async with running_broker(database_url, gateways=Gateways(gateway)) as running:
        world = await new_world(running)
        account = await world.new_account(trial_credits=0)
        pack = await world.new_pack(account.service)
        purchase_id = (await world.purchase(account, pack.pack_id)).purchase_id
        await tell(world, PaymentNoticeKind.SUCCEEDED, purchase_id, gateway="scripted")
        gateway.loses_answers = True
        await refund_purchase(world, account, purchase_id)
        assert list(gateway.paid.values()) == [1_000]
        assert money_accounts(world, purchase_id) == {"gateway_clearing": 1_000, "refunds_in_transit": -1_000}
        gateway.loses_answers = False
        runner = RefundRunner(running.broker.database, world.clock, running.broker.desk, interval_seconds=0)
        assert await runner.run() == 1
        assert (list(gateway.paid.values()), money_accounts(world, purchase_id)) == ([1_000], {})
        assert (await running.broker.database.read(audit)).violations == ()
