"""Payouts: all that is owed goes out once, and arrives or comes back."""

from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import admin_pb2, settlement_pb2

from tests.contract.broker_world.money import dinar, euro, mark, new_seller, timestamp, yen
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, call, new_id, new_world

IN_TRANSIT = settlement_pb2.PAYOUT_STATE_IN_TRANSIT
PAID = settlement_pb2.PAYOUT_STATE_PAID
FAILED = settlement_pb2.PAYOUT_STATE_FAILED


async def test_a_payout_pays_all_that_is_owed(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    await seller.sell(euro(333))
    made = await seller.pay_out()
    payout = made.payout
    assert (made.replayed, payout.state, payout.provider_id) == (False, IN_TRANSIT, seller.id)
    assert payout.amount == euro(750 + 250)
    assert payout.create_time == timestamp(world.clock.now)
    assert (payout.reference, payout.HasField("resolve_time")) == ("", False)
    assert await seller.payable() == [euro(0)]
    assert await seller.payouts() == [payout]


@pytest.mark.parametrize(
    ("price", "share"),
    [
        (euro(1), euro(1)),
        (yen(1), yen(1)),
        (yen(1_001), yen(751)),
        (dinar(1), dinar(1)),
        (dinar(10_001), dinar(7_501)),
        (yen(10**9), yen(750_000_000)),
    ],
)
async def test_a_payout_is_in_the_currency_s_own_minor_unit(world: World, price: Money, share: Money) -> None:
    seller = await new_seller(world)
    await seller.sell(price)
    assert (await seller.pay_out(price.currency_code)).payout.amount == share


async def test_each_currency_is_paid_by_itself(world: World) -> None:
    seller = await new_seller(world)
    for price in (euro(1_000), yen(400), dinar(8_000)):
        await seller.sell(price)
    assert (await seller.pay_out("JPY")).payout.amount == yen(300)
    assert await seller.payable() == [euro(750), yen(0), dinar(6_000)]
    refusal = await refusal_of(seller.pay_out("JPY"))
    assert refusal.reason == "PAYOUT_BELOW_MINIMUM"


async def test_what_is_sold_after_a_payout_goes_into_the_next(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    first = (await seller.pay_out()).payout
    await seller.sell(euro(400))
    world.clock.move(timedelta(seconds=1))
    second = (await seller.pay_out()).payout
    assert (first.amount, second.amount) == (euro(750), euro(300))
    assert await seller.payouts() == [second, first]


async def test_nothing_payable_is_below_any_minimum(world: World) -> None:
    seller = await new_seller(world)
    refusal = await refusal_of(seller.pay_out())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PAYOUT_BELOW_MINIMUM")
    assert refusal.metadata == {"provider_id": seller.id, "currency": "EUR", "payable": "0", "minimum": "1"}
    assert await seller.payouts() == []


async def test_the_least_payouts_are_the_settings(database_url: str) -> None:
    async with running_broker(database_url, payout_minimums={"EUR": 1_000, "JPY": 300}) as running:
        world = await new_world(running)
        seller = await new_seller(world)
        await seller.sell(euro(1_332))
        await seller.sell(yen(400))
        await seller.sell(dinar(2))
        refusal = await refusal_of(seller.pay_out())
        assert refusal.metadata == {"provider_id": seller.id, "currency": "EUR", "payable": "999", "minimum": "1000"}
        await seller.sell(euro(1))
        assert (await seller.pay_out()).payout.amount == euro(1_000)
        assert (await seller.pay_out("JPY")).payout.amount == yen(300)
        assert (await seller.pay_out("KWD")).payout.amount == dinar(1)


async def test_a_refund_of_what_was_paid_out_turns_the_payable_negative(own_world: World) -> None:
    seller = await new_seller(own_world)
    sale = await seller.sell(euro(1_000))
    await seller.pay_out()
    seller.take_back(sale, share=750, commission=250)
    assert await seller.payable() == [euro(-750)]
    refusal = await refusal_of(seller.pay_out())
    assert (refusal.reason, refusal.metadata["payable"]) == ("PAYOUT_BELOW_MINIMUM", "-750")
    await seller.sell(euro(1_000))
    assert (await refusal_of(seller.pay_out())).metadata["payable"] == "0"
    await seller.sell(euro(4))
    assert (await seller.pay_out()).payout.amount == euro(3)


async def test_a_suspended_provider_is_not_paid_until_it_is_resumed(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    request_id = new_id()
    operator = world.running.operator_key
    await call(world.stubs.admin.SuspendProvider, admin_pb2.SuspendProviderRequest(provider_id=seller.id), operator)
    refusal = await refusal_of(seller.pay_out(request_id=request_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_SUSPENDED")
    assert refusal.metadata == {"provider_id": seller.id}
    await call(world.stubs.admin.ResumeProvider, admin_pb2.ResumeProviderRequest(provider_id=seller.id), operator)
    made = await seller.pay_out(request_id=request_id)
    assert (made.payout.amount, made.replayed) == (euro(750), False)
    await call(world.stubs.admin.SuspendProvider, admin_pb2.SuspendProviderRequest(provider_id=seller.id), operator)
    # A replay comes before the suspension, and a payout under way before it can be resolved.
    assert (await seller.pay_out(request_id=request_id)).replayed
    assert (await mark(world, made.payout.payout_id, paid=True)).payout.state == PAID


async def test_a_payout_that_arrived_stays_paid(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    payout = (await seller.pay_out()).payout
    resolved_at = world.clock.move(timedelta(days=2))
    marked = await mark(world, payout.payout_id, paid=True, reference="SEPA 17")
    assert not marked.replayed
    assert (marked.payout.state, marked.payout.reference) == (PAID, "SEPA 17")
    assert marked.payout.resolve_time == timestamp(resolved_at)
    assert (marked.payout.amount, marked.payout.create_time) == (payout.amount, payout.create_time)
    assert await seller.payable() == [euro(0)]
    assert await seller.payouts() == [marked.payout]


async def test_a_payout_that_failed_is_payable_again(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    payout = (await seller.pay_out()).payout
    await seller.sell(euro(100))
    marked = await mark(world, payout.payout_id, paid=False, reference="account closed")
    assert (marked.payout.state, marked.payout.reference) == (FAILED, "account closed")
    assert await seller.payable() == [euro(825)]
    world.clock.move(timedelta(seconds=1))
    again = (await seller.pay_out()).payout
    assert again.amount == euro(825)
    assert [it.payout_id for it in await seller.payouts()] == [again.payout_id, payout.payout_id]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
async def test_a_payout_is_resolved_once(world: World, first: bool, second: bool) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    payout = (await seller.pay_out()).payout
    request_id = new_id()
    resolved = await mark(world, payout.payout_id, paid=first, reference="one", request_id=request_id)
    # Another request; of the other kind also with the same id, whose scope is the RPC.
    again_id = request_id if first != second else new_id()
    refusal = await refusal_of(mark(world, payout.payout_id, paid=second, reference="one", request_id=again_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PAYOUT_RESOLVED")
    assert refusal.metadata == {"payout_id": payout.payout_id, "state": "PAID" if first else "FAILED"}
    assert await seller.payouts() == [resolved.payout]
    assert await seller.payable() == [euro(0 if first else 750)]


@pytest.mark.parametrize("rpc", ["MarkPayoutPaid", "MarkPayoutFailed"])
async def test_a_mark_with_another_parameter_is_refused(world: World, rpc: str) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    payout_id = (await seller.pay_out()).payout.payout_id
    requests: dict[str, tuple[Any, list[Any]]] = {
        "MarkPayoutPaid": (
            settlement_pb2.MarkPayoutPaidRequest(request_id=new_id(), payout_id=payout_id, reference="one"),
            [put(reference="two"), put(reference="")],
        ),
        "MarkPayoutFailed": (
            settlement_pb2.MarkPayoutFailedRequest(request_id=new_id(), payout_id=payout_id, reason="one"),
            [put(reason="two"), put(reason="")],
        ),
    }
    request, changes = requests[rpc]
    await assert_reused(world, rpc, request, changes, world.running.operator_key)


async def test_a_request_id_serves_one_payout(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    await seller.sell(yen(1_000))
    request = settlement_pb2.CreatePayoutRequest(request_id=new_id(), provider_id=seller.id, currency="EUR")
    changes = [put(currency="JPY"), put(currency="USD")]
    await assert_reused(world, "CreatePayout", request, changes, world.running.operator_key)
    assert await seller.payable() == [euro(0), yen(750)]


async def test_a_request_id_is_the_provider_s(world: World) -> None:
    request_id = new_id()
    sellers = [await new_seller(world) for _ in range(2)]
    for seller in sellers:
        await seller.sell(euro(1_000))
    made = [await seller.pay_out(request_id=request_id) for seller in sellers]
    assert [it.replayed for it in made] == [False, False]
    assert len({it.payout.payout_id for it in made}) == 2


async def test_a_replay_gets_the_payout_as_it_now_stands(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    request_id = new_id()
    payout = (await seller.pay_out(request_id=request_id)).payout
    await seller.sell(euro(400))
    replay = await seller.pay_out(request_id=request_id.upper())
    assert (replay.payout, replay.replayed) == (payout, True)
    mark_id = new_id()
    marked = (await mark(world, payout.payout_id, paid=True, reference="17", request_id=mark_id)).payout
    assert (await seller.pay_out(request_id=request_id)).payout == marked
    assert (await mark(world, payout.payout_id, paid=True, reference="17", request_id=mark_id.upper())).replayed
    assert await seller.payable() == [euro(300)]


async def test_a_clock_that_steps_back_does_not_take_payouts_with_it(own_world: World) -> None:
    world = own_world
    seller = await new_seller(world)
    sale = await seller.sell(euro(1_000))
    world.clock.move(-timedelta(hours=1))
    payout = (await seller.pay_out()).payout
    assert payout.create_time == sale.pay_time
    world.clock.move(-timedelta(hours=1))
    assert (await mark(world, payout.payout_id, paid=False)).payout.resolve_time == sale.pay_time


async def test_a_payout_is_told_of(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    request_id = new_id()
    for _ in range(2):
        payout = (await seller.pay_out(request_id=request_id)).payout
    events = world.running.sql(
        "SELECT provider_id, customer_id, account_id, data, time, position FROM events WHERE type = 'payout.created'"
        " AND provider_id = ?",
        seller.id,
    )
    ((provider_id, customer_id, account_id, data, time, _),) = events
    assert (provider_id, customer_id, account_id) == (seller.id, "", "")
    assert data == f'{{"payout_id":"{payout.payout_id}","currency":"EUR","amount_minor_units":750}}'
    assert time == payout.create_time.ToMicroseconds()


async def test_a_payout_is_booked_in_double_entry(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    await mark(world, (await seller.pay_out()).payout.payout_id, paid=False)
    await mark(world, (await seller.pay_out()).payout.payout_id, paid=True)
    rows = world.running.sql(
        "SELECT kind, money_account, sum(amount_minor_units) FROM journal_postings JOIN journal_entries"
        " USING (journal_entry_id) WHERE provider_id = ? AND kind <> 'SALE' GROUP BY kind, money_account",
        seller.id,
    )
    payable = f"provider_payable:{seller.id}"
    assert {(kind, account): int(amount) for kind, account, amount in rows} == {
        ("PAYOUT", payable): 1_500,
        ("PAYOUT", "payouts_in_transit"): -1_500,
        ("PAYOUT_FAILED", "payouts_in_transit"): 750,
        ("PAYOUT_FAILED", payable): -750,
        ("PAYOUT_PAID", "payouts_in_transit"): 750,
        ("PAYOUT_PAID", "gateway_clearing"): -750,
    }
