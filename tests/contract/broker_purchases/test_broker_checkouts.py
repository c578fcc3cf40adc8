"""Where a purchase is paid: opened once the purchase stands, and again if it was not; and how long it stays open."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2
from google.type.money_pb2 import Money
from iap.broker.v1 import purchase_pb2

from broker_service.domain.records import PaymentNoticeKind, PaymentNoticeOutcome
from broker_service.payments.gateways import Gateways
from broker_service.payments.sandbox import SandboxGateway
from tests.contract.broker_purchases.till import get_purchase, tell, told
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.scripted_gateway import ScriptedGateway
from tests.contract.broker_world.world import Account, World, call, new_id, new_world

PENDING = purchase_pb2.PURCHASE_STATE_PENDING
FAILED = purchase_pb2.PURCHASE_STATE_FAILED


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway("EUR", "JPY")


@pytest.fixture
async def shop(database_url: str, gateway: ScriptedGateway) -> AsyncIterator[World]:
    """A broker with a gateway that does as it is told, and the sandbox for one currency more."""
    gateways = Gateways(gateway, SandboxGateway(currencies=frozenset({"USD", "EUR"})))
    async with running_broker(database_url, gateways=gateways) as running:
        yield await new_world(running)


async def create(
    world: World, account: Account, pack_id: str, request_id: str | None = None
) -> purchase_pb2.CreatePurchaseResponse:
    request = purchase_pb2.CreatePurchaseRequest(
        request_id=request_id or new_id(), pack_id=pack_id, account_token=account.token
    )
    return await call(world.stubs.purchases.CreatePurchase, request)


async def for_sale(world: World, currency: str = "EUR") -> tuple[Account, str]:
    account = await world.new_account(trial_credits=0)
    return account, (await world.new_pack(account.service, price=Money(currency_code=currency, units=10))).pack_id


async def test_the_checkout_is_the_gateway_s(shop: World, gateway: ScriptedGateway) -> None:
    account, pack_id = await for_sale(shop)
    answer = await create(shop, account, pack_id)
    purchase_id = answer.purchase.purchase_id
    assert answer.checkout_url == f"https://pay.example/{purchase_id}"
    assert (answer.purchase.gateway, answer.purchase.origin) == ("scripted", purchase_pb2.PURCHASE_ORIGIN_CUSTOMER)
    references = shop.running.sql("SELECT gateway_reference FROM purchases WHERE purchase_id = ?", purchase_id)
    assert references == [(f"ref-{purchase_id}",)]


@pytest.mark.parametrize(("currency", "name"), [("EUR", "scripted"), ("JPY", "scripted"), ("USD", "sandbox")])
async def test_the_first_gateway_that_takes_the_currency_is_chosen(shop: World, currency: str, name: str) -> None:
    account, pack_id = await for_sale(shop, currency)
    assert (await create(shop, account, pack_id)).purchase.gateway == name


async def test_a_currency_that_no_gateway_takes_is_refused(shop: World) -> None:
    account, pack_id = await for_sale(shop, "KWD")
    refusal = await refusal_of(create(shop, account, pack_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_NOT_SUPPORTED")
    assert refusal.metadata == {"currency": "KWD"}
    assert shop.running.sql("SELECT count(*) FROM purchases") == [(0,)]


async def test_an_archived_pack_comes_before_its_currency(shop: World) -> None:
    account, pack_id = await for_sale(shop, "KWD")
    await shop.archive(pack_id)
    assert (await refusal_of(create(shop, account, pack_id))).reason == "PACK_ARCHIVED"


async def test_a_replay_opens_no_second_checkout(shop: World, gateway: ScriptedGateway) -> None:
    account, pack_id = await for_sale(shop)
    request_id = new_id()
    first = await create(shop, account, pack_id, request_id)
    again = await create(shop, account, pack_id, request_id)
    assert (again.purchase, again.checkout_url) == (first.purchase, first.checkout_url)
    assert (first.replayed, again.replayed, len(gateway.checkouts)) == (False, True, 1)


async def test_while_the_gateway_is_down_the_purchase_waits(shop: World, gateway: ScriptedGateway) -> None:
    account, pack_id = await for_sale(shop)
    request_id, gateway.down = new_id(), True
    refusal = await refusal_of(create(shop, account, pack_id, request_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "GATEWAY_UNAVAILABLE")
    assert refusal.metadata == {"gateway": "scripted"}
    assert refusal.detail(error_details_pb2.RetryInfo).retry_delay.ToMicroseconds() > 0
    ((purchase_id,),) = shop.running.sql("SELECT purchase_id FROM purchases")
    assert (await get_purchase(shop, account, purchase_id)).state == PENDING
    gateway.down = False
    answer = await create(shop, account, pack_id, request_id)
    assert (answer.purchase.purchase_id, answer.replayed) == (purchase_id, True)
    assert answer.checkout_url == f"https://pay.example/{purchase_id}"


async def test_the_same_purchase_started_at_once_has_one_checkout(shop: World) -> None:
    account, pack_id = await for_sale(shop)
    request_id = new_id()
    answers = await asyncio.gather(*(create(shop, account, pack_id, request_id) for _ in range(10)))
    assert len({answer.checkout_url for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1


async def test_a_gateway_that_declines_fails_the_purchase(shop: World, gateway: ScriptedGateway) -> None:
    account, pack_id = await for_sale(shop)
    request_id, gateway.declines = new_id(), True
    answer = await create(shop, account, pack_id, request_id)
    assert (answer.purchase.state, answer.checkout_url, answer.replayed) == (FAILED, "", False)
    detail = "the payment failed: not this pack"
    assert await told(shop, answer.purchase.purchase_id) == [("FAILED", "APPLIED", detail, 1)]
    gateway.declines = False
    again = await create(shop, account, pack_id, request_id)
    assert (again.purchase.state, again.checkout_url, len(gateway.checkouts)) == (FAILED, "", 1)


async def test_a_purchase_paid_before_its_checkout_was_attached_stays_paid(
    shop: World, gateway: ScriptedGateway
) -> None:
    """A gateway may tell of the payment before the broker has written down where it was to be made."""
    account, pack_id = await for_sale(shop)
    request_id, gateway.down = new_id(), True
    await refusal_of(create(shop, account, pack_id, request_id))
    ((purchase_id,),) = shop.running.sql("SELECT purchase_id FROM purchases")
    await tell(shop, PaymentNoticeKind.SUCCEEDED, purchase_id, gateway="scripted")
    gateway.down = False
    answer = await create(shop, account, pack_id, request_id)
    assert (answer.purchase.state, answer.checkout_url) == (purchase_pb2.PURCHASE_STATE_PAID, "")


async def test_a_checkout_expires_to_the_tick(shop: World) -> None:
    account, pack_id = await for_sale(shop, "USD")
    request_id = new_id()
    answer = await create(shop, account, pack_id, request_id)
    purchase = answer.purchase
    assert purchase.checkout_expire_time.ToDatetime() - purchase.create_time.ToDatetime() == timedelta(hours=24)
    shop.clock.move(timedelta(hours=24) - timedelta(microseconds=1))
    assert (await get_purchase(shop, account, purchase.purchase_id)).state == PENDING
    shop.clock.move(timedelta(microseconds=1))
    assert (await get_purchase(shop, account, purchase.purchase_id)).state == FAILED
    refusal = await refusal_of(shop.pay(purchase.purchase_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CHECKOUT_EXPIRED")
    assert refusal.metadata == {
        "purchase_id": purchase.purchase_id,
        "expire_time": purchase.checkout_expire_time.ToJsonString(),
    }
    assert await shop.balance(account) == (0, 0, 0)
    again = await create(shop, account, pack_id, request_id)
    assert (again.purchase.state, again.checkout_url, again.replayed) == (FAILED, "", True)


async def test_how_long_a_checkout_stays_open_can_be_set(database_url: str) -> None:
    async with running_broker(database_url, checkout_hours=2) as running:
        world = await new_world(running)
        account, pack_id = await for_sale(world)
        purchase = (await create(world, account, pack_id)).purchase
        assert purchase.checkout_expire_time.ToDatetime() - purchase.create_time.ToDatetime() == timedelta(hours=2)


async def test_the_sandbox_s_payer_cannot_pay_another_gateway_s_purchase(shop: World) -> None:
    account, pack_id = await for_sale(shop)
    purchase_id = (await create(shop, account, pack_id)).purchase.purchase_id
    refusal = await refusal_of(shop.pay(purchase_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PURCHASE_OF_OTHER_GATEWAY")
    assert refusal.metadata == {"purchase_id": purchase_id, "gateway": "scripted"}
    assert await shop.balance(account) == (0, 0, 0)


async def test_without_the_sandbox_nobody_pays_for_nothing(database_url: str, gateway: ScriptedGateway) -> None:
    """Purchases that were started while the sandbox was a gateway are no way to free credits afterwards."""
    async with running_broker(database_url) as running:
        world = await new_world(running)
        account, pack_id = await for_sale(world)
        request_id = new_id()
        old = (await create(world, account, pack_id, request_id)).purchase
    async with running_broker(database_url, gateways=Gateways(gateway)) as running:
        world = World(running, world.provider, world.rival, world.services)
        refusal = await refusal_of(world.pay(old.purchase_id))
        assert (refusal.reason, refusal.metadata) == ("GATEWAY_UNAVAILABLE", {"gateway": "sandbox"})
        new = (await create(world, account, pack_id)).purchase
        assert (await refusal_of(world.pay(new.purchase_id))).reason == "PURCHASE_OF_OTHER_GATEWAY"
        assert (await refusal_of(world.pay("pur_unknown"))).reason == "PURCHASE_NOT_FOUND"
        assert await world.balance(account) == (0, 0, 0)
        outcome = await tell(world, PaymentNoticeKind.SUCCEEDED, new.purchase_id, gateway="scripted")
        assert outcome is PaymentNoticeOutcome.APPLIED
