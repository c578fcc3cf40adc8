"""Money that goes back to customers after their provider has been paid: the next sales make up for it."""

from iap.broker.v1 import purchase_pb2, settlement_pb2

from broker_service.engine import auditing
from tests.contract.broker_world.money import euro, mark, new_seller
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import World, call, new_id


async def refund(world: World, purchase_id: str) -> None:
    request = purchase_pb2.RefundPurchaseRequest(request_id=new_id(), purchase_id=purchase_id)
    await call(world.stubs.purchases.RefundPurchase, request, world.running.operator_key)


async def test_a_purchase_refunded_after_its_payout_turns_the_payable_negative(own_world: World) -> None:
    world = own_world
    seller = await new_seller(world)
    sale = await seller.sell(euro(1_000))
    payout = (await seller.pay_out()).payout
    await mark(world, payout.payout_id, paid=True)
    await refund(world, sale.purchase_id)
    assert await seller.payable() == [euro(-750)]
    assert (await refusal_of(seller.pay_out())).metadata["payable"] == "-750"
    await seller.sell(euro(1_400))
    assert (await seller.pay_out()).payout.amount == euro(300)
    lines = (await seller.statement()).lines
    # All in one instant: in what order is nobody's business.
    assert sorted((line.kind, line.net.units) for line in lines) == [
        (settlement_pb2.STATEMENT_LINE_KIND_SALE, 7),
        (settlement_pb2.STATEMENT_LINE_KIND_SALE, 10),
        (settlement_pb2.STATEMENT_LINE_KIND_REFUND, -7),
        (settlement_pb2.STATEMENT_LINE_KIND_PAYOUT, -7),
        (settlement_pb2.STATEMENT_LINE_KIND_PAYOUT, -3),
    ]
    found = await seller.balance()
    assert (list(found.sales), list(found.commission)) == ([euro(1_400)], [euro(350)])
    assert (await auditing.audit(world.running.broker.database)).violations == ()


async def test_a_refund_before_the_payout_is_not_paid_out(own_world: World) -> None:
    world = own_world
    seller = await new_seller(world)
    sale = await seller.sell(euro(1_000))
    await seller.sell(euro(400))
    await refund(world, sale.purchase_id)
    assert (await seller.pay_out()).payout.amount == euro(300)
    assert await seller.payable() == [euro(0)]
    assert (await auditing.audit(world.running.broker.database)).violations == ()
