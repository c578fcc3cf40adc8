"""Accounts that buy by themselves: as their customers agreed, once for each need, and never beyond the cap."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, purchase_pb2

from broker_service.domain.auto_top_ups import CLAIM, WAITS_AFTER_FAILURE, AutoTopUp
from broker_service.domain.records import Purchase
from broker_service.engine.auto_top_ups import AutoTopUps
from broker_service.payments.gateway import PaymentMethod
from broker_service.payments.gateways import Gateways
from broker_service.storage.audit import audit
from tests.contract.broker_world.fresh_books import FreshBooks
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import MovableClock, running_broker
from tests.contract.broker_world.scripted_gateway import ScriptedGateway
from tests.contract.broker_world.world import Account, World, new_id, new_world
from tests.databases import DatabaseKind, DatabaseMaker

METHOD = PaymentMethod("customer", "card")
PACK_CREDITS, PRICE = 100, 1_000
ACTIVE, PAUSED, OFF = (
    account_pb2.AUTO_TOP_UP_STATE_ACTIVE,
    account_pb2.AUTO_TOP_UP_STATE_PAUSED,
    account_pb2.AUTO_TOP_UP_STATE_OFF,
)


@dataclass
class Shop:
    """A broker whose gateway is scripted, with an account that has bought a pack once and has used most of it."""

    world: World
    gateway: ScriptedGateway
    account: Account
    pack_id: str

    @property
    def top_ups(self) -> AutoTopUps:
        return self.world.running.broker.top_ups

    async def set_up(self, **changed: Any) -> account_pb2.AutoTopUp:
        fields = {
            "account_id": self.account.id,
            "pack_id": self.pack_id,
            "threshold_credits": 10,
            "monthly_cap": Money(currency_code="EUR", units=30),
            "consent": "up to 30 EUR a month",
        } | changed
        request = account_pb2.SetAutoTopUpRequest(**fields)
        response = await self.world.call(self.world.stubs.accounts.SetAutoTopUp, request, self.account.customer.key)
        top_up: account_pb2.AutoTopUp = response.auto_top_up
        return top_up

    async def shown(self) -> account_pb2.AutoTopUp:
        request = account_pb2.GetAutoTopUpRequest(account_id=self.account.id)
        response = await self.world.call(self.world.stubs.accounts.GetAutoTopUp, request, self.account.customer.key)
        top_up: account_pb2.AutoTopUp = response.auto_top_up
        return top_up

    async def spend(self, amount: int) -> None:
        reservation_id = await self.world.reserved(self.account, amount)
        await self.world.capture(reservation_id)

    async def available(self) -> int:
        return (await self.world.balance(self.account))[2]

    async def buy_as_customer(self, *, saves_method: bool = True) -> str:
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=new_id(),
            pack_id=self.pack_id,
            account_id=self.account.id,
            save_payment_method=saves_method,
        )
        key = self.account.customer.key
        return str(
            (await self.world.call(self.world.stubs.purchases.CreatePurchase, request, key)).purchase.purchase_id
        )

    async def pay(self, purchase_id: str) -> None:
        desk = self.world.running.broker.desk
        await desk.take_notice("scripted", self.gateway.payment_of(await desk.purchase(purchase_id), METHOD))


async def open_shop(world: World, gateway: ScriptedGateway) -> Shop:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service, pack_credits=PACK_CREDITS, price=Money(currency_code="EUR", units=10))
    shop = Shop(world, gateway, account, pack.pack_id)
    await shop.pay(await shop.buy_as_customer())
    await shop.spend(95)
    return shop


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    gateway = ScriptedGateway("EUR")
    async with running_broker(database_url, gateways=Gateways(gateway)) as running:
        yield await open_shop(await new_world(running), gateway)
        assert (await running.broker.database.read(audit)).violations == ()


@pytest.fixture(scope="module")
async def standing(
    database_kind: DatabaseKind, fresh_books: FreshBooks, session_databases: DatabaseMaker
) -> AsyncIterator[Shop]:
    """A shop that is shared by tests that change nothing."""
    gateway = ScriptedGateway("EUR")
    url = fresh_books.copy(database_kind, session_databases)
    async with running_broker(url, gateways=Gateways(gateway)) as running:
        yield await open_shop(await new_world(running), gateway)


async def test_an_account_that_runs_low_buys_a_pack_once(shop: Shop) -> None:
    set_up = await shop.set_up()
    assert (set_up.state, set_up.consent) == (ACTIVE, "up to 30 EUR a month")
    assert set_up.consent_time.ToDatetime() == shop.world.clock.now.replace(tzinfo=None)
    assert await shop.top_ups.buy_due() == 1
    assert await shop.top_ups.buy_due() == 0
    assert await shop.available() == 5 + PACK_CREDITS
    assert len(shop.gateway.charged) == 1
    assert (await shop.shown()).spent_this_month == Money(currency_code="EUR", units=10)
    listed = await shop.world.call(
        shop.world.stubs.purchases.ListPurchases, purchase_pb2.ListPurchasesRequest(account_token=shop.account.token)
    )
    assert {it.origin for it in listed.purchases} == {
        purchase_pb2.PURCHASE_ORIGIN_AUTO_TOP_UP,
        purchase_pb2.PURCHASE_ORIGIN_CUSTOMER,
    }


async def test_an_account_at_its_threshold_buys_nothing(shop: Shop) -> None:
    await shop.set_up(threshold_credits=5)
    assert await shop.top_ups.buy_due() == 0
    # What is reserved is not available.
    await shop.world.reserved(shop.account, 1)
    assert await shop.top_ups.buy_due() == 1


async def test_the_month_s_cap_is_kept_and_the_next_month_is_another(shop: Shop) -> None:
    await shop.set_up(monthly_cap=Money(currency_code="EUR", units=20))
    for bought in (1, 1, 0):
        assert await shop.top_ups.buy_due() == bought
        if bought:
            await shop.spend(await shop.available())
    assert len(shop.gateway.charged) == 2
    assert (await shop.shown()).spent_this_month == Money(currency_code="EUR", units=20)
    shop.world.clock.move(timedelta(days=1))
    assert await shop.top_ups.buy_due() == 1
    assert (await shop.shown()).spent_this_month == Money(currency_code="EUR", units=10)


async def test_failed_payments_are_tried_again_ever_later_and_then_it_pauses(shop: Shop) -> None:
    await shop.set_up()
    shop.gateway.declines = True
    for number, wait in enumerate(WAITS_AFTER_FAILURE, start=1):
        await shop.top_ups.buy_due()
        it = await shop.shown()
        assert (it.state, it.failed_payments) == (ACTIVE, number)
        assert await shop.top_ups.buy_due() == 0
        shop.world.clock.move(wait)
    await shop.top_ups.buy_due()
    it = await shop.shown()
    assert (it.state, it.failed_payments, it.spent_this_month.units) == (PAUSED, len(WAITS_AFTER_FAILURE) + 1, 0)
    assert len(set(shop.gateway.charged)) == len(WAITS_AFTER_FAILURE) + 1
    # Setting it again goes on.
    shop.gateway.declines = False
    await shop.set_up()
    assert await shop.top_ups.buy_due() == 1
    assert await shop.available() == 5 + PACK_CREDITS


async def test_a_gateway_that_is_down_is_asked_again_for_the_same_payment(shop: Shop) -> None:
    await shop.set_up()
    shop.gateway.down = True
    assert await shop.top_ups.buy_due() == 0
    shop.world.clock.move(CLAIM)
    assert await shop.top_ups.buy_due() == 0
    # Not before a while has passed.
    assert await shop.top_ups.buy_due() == 0
    shop.gateway.down = False
    shop.world.clock.move(CLAIM)
    assert await shop.top_ups.buy_due() == 1
    assert (len(shop.gateway.charged), len(set(shop.gateway.charged))) == (3, 1)
    assert await shop.available() == 5 + PACK_CREDITS


async def test_a_payment_that_is_told_of_later_counts_against_the_cap_meanwhile(shop: Shop) -> None:
    shop.world.clock.move(timedelta(days=3))
    await shop.set_up(monthly_cap=Money(currency_code="EUR", units=10))
    shop.gateway.silent = True
    await shop.top_ups.buy_due()
    assert await shop.available() == 5
    assert (await shop.shown()).spent_this_month.units == 10
    # Long after a checkout would have expired it is still under way.
    shop.world.clock.move(timedelta(hours=30))
    await shop.top_ups.buy_due()
    assert (await shop.shown()).spent_this_month.units == 10
    await shop.pay(shop.gateway.charged[0])
    shop.world.clock.move(CLAIM)
    await shop.top_ups.buy_due()
    assert len(set(shop.gateway.charged)) == 1
    assert await shop.available() == 5 + PACK_CREDITS


async def test_what_a_crash_has_left_half_done_is_gone_on_with(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.set_up()

    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    # Before the purchase, before the payment, and before its end is written down.
    for step in ("_purchase_of", "_pay", "_end"):
        with monkeypatch.context() as patch:
            patch.setattr(shop.top_ups, step, crash)
            assert await shop.top_ups.buy_due() == 0
        shop.world.clock.move(CLAIM)
    assert await shop.top_ups.buy_due() == 1
    assert (len(set(shop.gateway.charged)), await shop.available()) == (1, 5 + PACK_CREDITS)
    assert (await shop.shown()).spent_this_month.units == 10


async def test_two_brokers_at_once_buy_once(shop: Shop) -> None:
    await shop.set_up()
    database_url = shop.world.running.database_url
    clock = MovableClock(shop.world.clock.now)
    async with running_broker(database_url, clock, gateways=Gateways(shop.gateway)) as other:
        rounds = [broker.top_ups.buy_due() for broker in (shop.world.running.broker, other.broker) for _ in range(4)]
        await asyncio.gather(*rounds)
    assert (len(set(shop.gateway.charged)), await shop.available()) == (1, 5 + PACK_CREDITS)


async def test_turned_off_it_buys_no_more(shop: Shop) -> None:
    await shop.set_up()
    assert (await shop.set_up(pack_id="")).state == OFF
    assert await shop.top_ups.buy_due() == 0
    assert (await shop.shown()).consent == "up to 30 EUR a month"


async def test_a_pack_off_sale_pauses_it_and_a_suspended_account_buys_nothing(shop: Shop) -> None:
    await shop.set_up()
    shop.world.suspend_account(shop.account)
    assert await shop.top_ups.buy_due() == 0
    assert (await shop.shown()).state == ACTIVE
    shop.world.running.sql("UPDATE accounts SET state = 'ACTIVE' WHERE account_id = '" + shop.account.id + "'")
    await shop.world.archive(shop.pack_id)
    assert await shop.top_ups.buy_due() == 0
    assert ((await shop.shown()).state, shop.gateway.charged) == (PAUSED, [])


async def test_a_broker_that_serves_tops_up_by_itself(database_url: str) -> None:
    gateway = ScriptedGateway("EUR")
    async with running_broker(database_url, gateways=Gateways(gateway), top_up_seconds=0.05) as running:
        shop = await open_shop(await new_world(running), gateway)
        await shop.set_up()
        async with asyncio.timeout(10):
            while await shop.available() != 5 + PACK_CREDITS:  # noqa: ASYNC110 - seen from outside alone
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"threshold_credits": 0}, "threshold_credits"),
        ({"threshold_credits": -1}, "threshold_credits"),
        ({"threshold_credits": 10**12 + 1}, "threshold_credits"),
        ({"monthly_cap": None}, "monthly_cap"),
        ({"monthly_cap": Money(currency_code="EUR", units=-1)}, "monthly_cap"),
        ({"monthly_cap": Money(currency_code="EUR", units=9, nanos=990_000_000)}, "monthly_cap"),
        ({"monthly_cap": Money(currency_code="EUR", units=30, nanos=1)}, "monthly_cap.nanos"),
        ({"monthly_cap": Money(currency_code="USD", units=30)}, "monthly_cap.currency_code"),
        ({"monthly_cap": Money(currency_code="XXX", units=30)}, "monthly_cap.currency_code"),
        ({"consent": ""}, "consent"),
        ({"consent": " \n"}, "consent"),
        ({"consent": "x" * 2_001}, "consent"),
        ({"account_id": ""}, "account_id"),
    ],
)
async def test_a_wrong_field_is_named_and_changes_nothing(standing: Shop, changed: dict[str, Any], field: str) -> None:
    refusal = await refusal_of(standing.set_up(**changed))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert field in refusal.fields
    assert (await standing.shown()).state == OFF


async def test_what_does_not_fit_is_refused(shop: Shop) -> None:
    world = shop.world
    other = await world.new_account(trial_credits=0)
    elsewhere = await world.new_pack(await world.new_service())
    in_francs = await world.new_pack(shop.account.service, price=Money(currency_code="CHF", units=1))
    archived = await world.new_pack(shop.account.service)
    await world.archive(archived.pack_id)
    cases = [
        ({"pack_id": "pck_none"}, "PACK_NOT_FOUND"),
        ({"pack_id": elsewhere.pack_id}, "PACK_OF_OTHER_SERVICE"),
        ({"pack_id": archived.pack_id}, "PACK_ARCHIVED"),
        (
            {"pack_id": in_francs.pack_id, "monthly_cap": Money(currency_code="CHF", units=5)},
            "CURRENCY_NOT_SUPPORTED",
        ),
        ({"account_id": "acc_none"}, "ACCOUNT_NOT_FOUND"),
        ({"account_id": other.id}, "PERMISSION_DENIED"),
    ]
    for changed, reason in cases:
        assert (await refusal_of(shop.set_up(**changed))).reason == reason, changed
    never_paid = Shop(world, shop.gateway, other, shop.pack_id)
    assert (await refusal_of(never_paid.set_up())).reason == "PAYMENT_METHOD_MISSING"
    assert (await shop.shown()).state == OFF


async def test_a_stranger_who_buys_for_the_account_lends_it_no_card(shop: Shop) -> None:
    world = shop.world
    by_token = await world.purchase(shop.account, shop.pack_id)
    desk = world.running.broker.desk
    other = PaymentMethod("stranger", "stranger's card")
    await desk.take_notice("scripted", shop.gateway.payment_of(await desk.purchase(by_token.purchase_id), other))
    found = world.running.sql("SELECT method_reference FROM payment_methods")
    assert found == [("card",)]
    request = purchase_pb2.CreatePurchaseRequest(
        request_id=new_id(), pack_id=shop.pack_id, account_token=shop.account.token, save_payment_method=True
    )
    refusal = await refusal_of(world.call(world.stubs.purchases.CreatePurchase, request))
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["save_payment_method"])


async def test_a_method_that_is_not_to_be_kept_is_not(shop: Shop) -> None:
    shop.world.running.sql("DELETE FROM payment_methods")
    await shop.pay(await shop.buy_as_customer(saves_method=False))
    assert (await refusal_of(shop.set_up())).reason == "PAYMENT_METHOD_MISSING"


@pytest.mark.parametrize("change", ["turned off", "suspended", "another pack"])
@pytest.mark.parametrize("reached", [False, True])
async def test_what_is_no_longer_wanted_is_not_charged(shop: Shop, change: str, reached: bool) -> None:
    world = shop.world
    await shop.set_up()
    # The gateway is asked, and nobody hears whether it has heard.
    shop.gateway.down = True
    await shop.top_ups.buy_due()
    shop.gateway.down = False
    (purchase_id,) = shop.gateway.charged
    if reached:
        shop.gateway.received.add(purchase_id)
    if change == "turned off":
        await shop.set_up(pack_id="")
    elif change == "suspended":
        world.suspend_account(shop.account)
    else:
        pack = await world.new_pack(shop.account.service, pack_credits=1, price=Money(currency_code="EUR", units=30))
        await shop.set_up(pack_id=pack.pack_id, threshold_credits=1)
    world.clock.move(CLAIM)
    await shop.top_ups.buy_due()
    assert len(shop.gateway.charged) == (2 if reached else 1)
    assert await shop.available() == (5 + PACK_CREDITS if reached else 5)
    purchase = await world.running.broker.desk.purchase(purchase_id)
    assert purchase.state == ("PAID" if reached else "FAILED")
    assert (await shop.shown()).failed_payments == 0


@pytest.mark.parametrize("change", ["a lower cap", "a pack bought by hand"])
@pytest.mark.parametrize("is_asked", [False, True])
async def test_what_has_become_too_much_is_not_charged(
    shop: Shop, change: str, is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.set_up()
    assert await shop.top_ups.buy_due() == 1
    await shop.spend(100)
    # The next one is begun, or the gateway is asked for it as well, and then nothing goes on for a while.
    with monkeypatch.context() as patch:
        if is_asked:
            shop.gateway.down = True
        else:
            patch.setattr(shop.top_ups, "_ask", nothing)
        assert await shop.top_ups.buy_due() == 0
        shop.gateway.down = False
    assert len(set(shop.gateway.charged)) == 1 + is_asked
    assert (await shop.shown()).spent_this_month.units == 20
    if change == "a lower cap":
        await shop.set_up(monthly_cap=Money(currency_code="EUR", units=19))
    else:
        await shop.pay(await shop.buy_as_customer())
    charged = len(shop.gateway.charged)
    for _ in range(2):
        shop.world.clock.move(CLAIM)
        await shop.top_ups.buy_due()
    assert len(shop.gateway.charged) == charged
    assert await shop.available() == (5 if change == "a lower cap" else 5 + PACK_CREDITS)
    assert (await shop.shown()).spent_this_month.units == 10


async def nothing(*_: object) -> None:
    pass


async def test_an_account_that_another_broker_has_topped_up_meanwhile_buys_nothing(shop: Shop) -> None:
    await shop.set_up()
    (found_low,) = await shop.top_ups._due(0, "")
    assert await shop.top_ups.buy_due() == 1
    assert not await shop.top_ups._go_on(found_low)
    assert (len(shop.gateway.charged), await shop.available()) == (1, 5 + PACK_CREDITS)
    assert (await shop.shown()).spent_this_month.units == 10


async def test_one_account_s_trouble_is_no_other_s(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await open_shop(shop.world, shop.gateway)
    await shop.set_up()
    await other.set_up()
    first = min(shop.account.id, other.account.id)
    purchase_of = shop.top_ups._purchase_of

    async def fails_for_the_first(attempt: AutoTopUp) -> Purchase:
        if attempt.account_id == first:
            raise RuntimeError("a bug")
        return await purchase_of(attempt)

    monkeypatch.setattr(shop.top_ups, "_purchase_of", fails_for_the_first)
    assert await shop.top_ups.buy_due() == 1


async def test_everything_agreed_to_stays_on_record(shop: Shop) -> None:
    await shop.set_up()
    await shop.set_up(threshold_credits=20, consent="up to 30 EUR a month, below 20")
    await shop.set_up(pack_id="")
    agreements = "SELECT number, threshold_credits, consent FROM auto_top_up_agreements ORDER BY number"
    assert shop.world.running.sql(agreements) == [
        (1, 10, "up to 30 EUR a month"),
        (2, 20, "up to 30 EUR a month, below 20"),
    ]
