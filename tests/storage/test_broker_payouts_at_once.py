"""Payouts from two brokers at once, while sales come in: what is owed goes out once."""

import asyncio
from typing import Any

import grpc.aio
from iap.broker.v1 import settlement_pb2

from broker_service.engine import auditing
from broker_service.engine.settlement import Settlement
from broker_service.storage.settlement import payouts_in_transit
from tests.contract.broker_world.money import Seller, euro, mark, new_seller, yen
from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.world import World, new_id
from tests.databases import DatabaseKind, only_on, row_lock

TwinWorlds = tuple[World, World]


def made_of(answers: list[Any]) -> list[Any]:
    """Returns the payouts that were made; all else is refused for want of money."""
    refused = [it for it in answers if isinstance(it, BaseException)]
    for error in refused:
        assert isinstance(error, grpc.aio.AioRpcError), error
        assert parse_error(error).reason == "PAYOUT_BELOW_MINIMUM"
    return [it for it in answers if not isinstance(it, BaseException)]


def settlement_of(world: World) -> Settlement:
    return Settlement(world.running.broker.database, world.clock, payout_minimums={})


async def paid_out(seller: Seller) -> int:
    return sum(int(payout.amount.units) * 100 + payout.amount.nanos // 10_000_000 for payout in await seller.payouts())


async def test_of_many_payouts_at_once_one_pays(twin_worlds: TwinWorlds) -> None:
    seller = await new_seller(twin_worlds[0])
    await seller.sell(euro(1_000))
    answers = await asyncio.gather(
        *(seller.pay_out(world=world) for world in twin_worlds for _ in range(6)), return_exceptions=True
    )
    (made,) = made_of(answers)
    assert made.payout.amount == euro(750)
    assert await seller.payouts() == [made.payout]
    assert await seller.payable() == [euro(0)]


async def test_one_request_at_two_brokers_at_once_pays_once(twin_worlds: TwinWorlds) -> None:
    seller = await new_seller(twin_worlds[0])
    await seller.sell(euro(1_000))
    request_id = new_id()
    answers = await asyncio.gather(
        *(seller.pay_out(world=world, request_id=request_id) for world in twin_worlds for _ in range(4))
    )
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert len({answer.payout.payout_id for answer in answers}) == 1


async def test_a_payout_marked_both_ways_at_once_ends_in_one(twin_worlds: TwinWorlds) -> None:
    first = twin_worlds[0]
    for _ in range(5):
        seller = await new_seller(first)
        await seller.sell(euro(1_000))
        payout_id = (await seller.pay_out()).payout.payout_id
        answers = await asyncio.gather(
            *(mark(first, payout_id, paid=paid, stubs=it.stubs) for paid in (True, False) for it in twin_worlds),
            return_exceptions=True,
        )
        refused = [parse_error(it).reason for it in answers if isinstance(it, grpc.aio.AioRpcError)]
        assert refused == ["PAYOUT_RESOLVED"] * 3
        (payout,) = await seller.payouts()
        paid = payout.state == settlement_pb2.PAYOUT_STATE_PAID
        assert await seller.payable() == [euro(0 if paid else 750)]


async def test_payouts_beside_sales_pay_each_share_once(twin_worlds: TwinWorlds) -> None:
    seller = await new_seller(twin_worlds[0])
    sold = 0
    selling = True

    async def sell() -> None:
        nonlocal sold
        for number in range(12):
            await seller.sell(euro(100 + 4 * number))
            sold += 75 + 3 * number

    async def pay(world: World) -> list[Any]:
        answers: list[Any] = []
        while selling:
            answers += await asyncio.gather(seller.pay_out(world=world), return_exceptions=True)
        return answers

    paying = [asyncio.create_task(pay(world)) for world in (*twin_worlds, *twin_worlds)]
    await asyncio.gather(sell(), sell())
    selling = False
    made = [it for task in paying for it in made_of(await task)]
    assert len(made) > 1
    assert len(made) == len(await seller.payouts())
    (left,) = await seller.payable()
    assert await paid_out(seller) + left.units * 100 + left.nanos // 10_000_000 == sold
    assert (await auditing.audit(twin_worlds[1].running.broker.database)).violations == ()


async def test_two_runs_over_all_that_is_due_pay_each_once(twin_worlds: TwinWorlds) -> None:
    sellers = [await new_seller(twin_worlds[0]) for _ in range(6)]
    for seller in sellers:
        await seller.sell(euro(1_000))
        await seller.sell(yen(400))
    runs = await asyncio.gather(*(settlement_of(world).settle() for world in (*twin_worlds, *twin_worlds)))
    assert sum(len(run.made) for run in runs) == 12
    for seller in sellers:
        assert await seller.payable() == [euro(0), yen(0)]
        assert len(await seller.payouts()) == 2
    in_transit = await twin_worlds[0].running.broker.database.read(payouts_in_transit)
    assert len(in_transit) == 12


@only_on(DatabaseKind.POSTGRESQL, reason="SQLite's writer is alone")
async def test_a_payout_waits_for_whoever_pays_the_same_provider(twin_worlds: TwinWorlds) -> None:
    world = twin_worlds[0]
    seller, other = await new_seller(world), await new_seller(world)
    for it in (seller, other):
        await it.sell(euro(1_000))
    lock = "SELECT 1 FROM providers WHERE provider_id = ? FOR UPDATE"
    with row_lock(world.running.database_url, lock, seller.id):
        waiting = asyncio.create_task(seller.pay_out())
        # Neither another provider's payout nor a sale of this one waits.
        await other.pay_out()
        await seller.sell(euro(400))
        assert not waiting.done()
    assert (await waiting).payout.amount == euro(1_050)
