"""Giving money back for credits that are left: how much, from whom, and what it leaves behind."""

from datetime import timedelta

import grpc
import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, purchase_pb2

from tests.contract.broker_purchases.till import (
    euro,
    events,
    get_purchase,
    journal,
    money_accounts,
    refund_purchase,
    refund_rows,
    told,
)
from tests.contract.broker_world.operations import charged, refund, suspend_account
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import Account, World, call, new_id

PARTIALLY = purchase_pb2.PURCHASE_STATE_PARTIALLY_REFUNDED
REFUNDED = purchase_pb2.PURCHASE_STATE_REFUNDED


async def bought(
    world: World, *, pack_credits: int = 100, price: Money | None = None, validity: timedelta | None = None
) -> tuple[Account, purchase_pb2.Purchase]:
    """Returns an account that holds nothing but a purchase."""
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service, pack_credits=pack_credits, price=price, validity=validity)
    return account, await world.buy(account, pack.pack_id)


async def refusal(world: World, account: Account, purchase_id: str) -> str:
    found = await refusal_of(refund_purchase(world, account, purchase_id))
    assert found.code is grpc.StatusCode.FAILED_PRECONDITION
    assert found.metadata == {"purchase_id": purchase_id}
    return found.reason


async def test_an_unused_purchase_goes_back_whole(world: World) -> None:
    account, purchase = await bought(world, price=euro(1_001))
    answer = await refund_purchase(world, account, purchase.purchase_id, reason="a mistake")
    assert (answer.refund, answer.replayed) == (euro(1_001), False)
    assert (answer.purchase.state, answer.purchase.refunded_credits) == (REFUNDED, 100)
    assert answer.purchase.refunded == euro(1_001)
    assert await get_purchase(world, account, purchase.purchase_id) == answer.purchase
    assert await world.balance(account) == (0, 0, 0)
    entry = (await world.entries(account))[-1]
    assert (entry.kind, entry.credits, entry.purchase_id, entry.description) == (
        account_pb2.ENTRY_KIND_PURCHASE_REFUND,
        -100,
        purchase.purchase_id,
        "a mistake",
    )
    assert refund_rows(world, purchase.purchase_id) == [("REFUND", "PAID", 100, 1_001, 250)]
    assert journal(world, purchase.purchase_id) == ["REFUND", "REFUND_PAID", "SALE"]
    assert money_accounts(world, purchase.purchase_id) == {}
    assert events(world, account) == ["purchase.paid", "purchase.refunded"]


async def test_before_the_first_refund_nothing_is_refunded(world: World) -> None:
    account, purchase = await bought(world)
    shown = await get_purchase(world, account, purchase.purchase_id)
    assert (shown.refunded_credits, shown.HasField("refunded")) == (0, False)


async def test_what_was_used_is_not_refunded(world: World) -> None:
    account, purchase = await bought(world, price=euro(1_000))
    await charged(world, account, 33)
    answer = await refund_purchase(world, account, purchase.purchase_id)
    assert (answer.refund, answer.purchase.state, answer.purchase.refunded_credits) == (euro(670), PARTIALLY, 67)
    assert await world.balance(account) == (0, 0, 0)
    # Of 250 commission 167 went back, rounded down, and of 750 for the provider the rest of 670.
    assert money_accounts(world, purchase.purchase_id) == {
        "gateway_clearing": 330,
        "commission": -83,
        "provider_payable": -247,
    }


async def test_what_is_reserved_is_refunded_once_it_is_released(world: World) -> None:
    account, purchase = await bought(world, price=euro(1_000))
    reservation_id = await world.reserved(account, 40)
    first = await refund_purchase(world, account, purchase.purchase_id)
    assert (first.refund, await world.balance(account)) == (euro(600), (40, 40, 0))
    assert await refusal(world, account, purchase.purchase_id) == "NOTHING_TO_REFUND"
    await world.capture(reservation_id, 10)
    second = await refund_purchase(world, account, purchase.purchase_id)
    assert (second.refund, second.purchase.state) == (euro(300), PARTIALLY)
    assert (second.purchase.refunded, second.purchase.refunded_credits) == (euro(900), 90)


async def test_parts_come_to_the_whole_to_the_last_minor_unit(world: World) -> None:
    """Credits that the provider gives back can be refunded; in the end all of 7 credits for 10 cents have gone."""
    account, purchase = await bought(world, pack_credits=7, price=euro(10))
    uses = [await charged(world, account, 1) for _ in range(7)]
    given = []
    for reservation_id in uses:
        await refund(world, reservation_id)
        given.append((await refund_purchase(world, account, purchase.purchase_id)).refund)
    assert given == [euro(cents) for cents in (1, 1, 2, 1, 2, 1, 2)]
    shown = await get_purchase(world, account, purchase.purchase_id)
    assert (shown.state, shown.refunded) == (REFUNDED, euro(10))
    assert money_accounts(world, purchase.purchase_id) == {}


async def test_only_the_purchase_s_own_credits_are_refunded(world: World) -> None:
    account, purchase = await bought(world)
    pack = await world.new_pack(account.service, pack_credits=50)
    other = await world.buy(account, pack.pack_id)
    await refund_purchase(world, account, other.purchase_id)
    assert await world.balance(account) == (100, 0, 100)
    assert (await get_purchase(world, account, purchase.purchase_id)).refunded_credits == 0


async def test_a_purchase_that_was_never_paid_is_not_refunded(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    pending = await world.purchase(account, pack.pack_id)
    failed = await world.purchase(account, pack.pack_id)
    await world.pay(failed.purchase_id, succeeds=False)
    for purchase in (pending, failed):
        assert await refusal(world, account, purchase.purchase_id) == "PURCHASE_NOT_PAID"
    assert await world.balance(account) == (100, 0, 100)


async def test_nothing_left_is_nothing_to_refund(world: World) -> None:
    account, purchase = await bought(world, pack_credits=5)
    await charged(world, account, 5)
    assert await refusal(world, account, purchase.purchase_id) == "NOTHING_TO_REFUND"


async def test_what_has_expired_is_nothing_to_refund(world: World) -> None:
    account, purchase = await bought(world, validity=timedelta(hours=1))
    world.clock.move(timedelta(hours=1))
    assert await refusal(world, account, purchase.purchase_id) == "NOTHING_TO_REFUND"


async def test_credits_worth_less_than_a_minor_unit_are_nothing_to_refund(world: World) -> None:
    account, purchase = await bought(world, pack_credits=100, price=euro(1))
    reservation_id = await world.reserved(account, 1)
    assert await refusal(world, account, purchase.purchase_id) == "NOTHING_TO_REFUND"
    assert await world.balance(account) == (100, 1, 99)
    await world.release(reservation_id)
    assert (await refund_purchase(world, account, purchase.purchase_id)).refund == euro(1)


async def test_a_suspended_account_s_purchase_can_be_refunded(world: World) -> None:
    account, purchase = await bought(world)
    await suspend_account(world, account, "fraud")
    assert (await refund_purchase(world, account, purchase.purchase_id)).refund == euro(1_000)


async def test_the_operator_refunds_for_a_customer(world: World) -> None:
    account, purchase = await bought(world)
    request = purchase_pb2.RefundPurchaseRequest(request_id=new_id(), purchase_id=purchase.purchase_id)
    answer = await call(world.stubs.purchases.RefundPurchase, request, world.running.operator_key)
    assert (answer.refund, await world.balance(account)) == (euro(1_000), (0, 0, 0))


async def test_a_replay_gets_the_first_refund_s_amount(world: World) -> None:
    account, purchase = await bought(world, price=euro(1_000))
    reservation_id = await world.reserved(account, 40)
    request_id = new_id()
    first = await refund_purchase(world, account, purchase.purchase_id, request_id=request_id)
    await world.release(reservation_id)
    await refund_purchase(world, account, purchase.purchase_id)
    again = await refund_purchase(world, account, purchase.purchase_id, request_id=request_id.upper())
    assert (again.refund, again.replayed) == (first.refund, True)
    assert again.purchase.state == REFUNDED
    assert len(refund_rows(world, purchase.purchase_id)) == 2


async def test_a_request_id_serves_one_refund(world: World) -> None:
    account, purchase = await bought(world)
    other = await world.buy(account, (await world.new_pack(account.service)).pack_id)
    request = purchase_pb2.RefundPurchaseRequest(
        request_id=new_id(), purchase_id=purchase.purchase_id, reason="a mistake"
    )
    changes = [put(reason="another"), put(reason=""), put(purchase_id=other.purchase_id)]
    await assert_reused(world, "RefundPurchase", request, changes, account.customer.key)
    assert await world.balance(account) == (100, 0, 100)


async def test_the_gateway_s_word_on_a_refund_is_kept(world: World) -> None:
    account, purchase = await bought(world)
    await refund_purchase(world, account, purchase.purchase_id)
    # Both came at the same instant.
    assert sorted(await told(world, purchase.purchase_id)) == [
        ("REFUND_SUCCEEDED", "APPLIED", "the refund is paid", 1),
        ("SUCCEEDED", "APPLIED", "the purchase is paid", 1),
    ]


@pytest.mark.parametrize("rate", [0, 1, 3_333, 10_000])
async def test_a_refund_takes_back_from_broker_and_provider_what_each_got(world: World, rate: int) -> None:
    provider = await world.new_provider(commission_basis_points=rate)
    service = await world.new_service(provider=provider)
    pack = await world.new_pack(service, provider=provider, pack_credits=3, price=euro(100))
    account = await world.new_account(service=service)
    purchase = await world.buy(account, pack.pack_id)
    await charged_by(world, account, provider.key)
    refunded = await refund_purchase(world, account, purchase.purchase_id)
    assert refunded.refund == euro(66)
    left = money_accounts(world, purchase.purchase_id)
    commission = (100 * rate + 5_000) // 10_000
    expected = {
        "gateway_clearing": 34,
        "commission": -(commission - commission * 66 // 100),
        "provider_payable": -(34 - (commission - commission * 66 // 100)),
    }
    assert left == {name: amount for name, amount in expected.items() if amount}


async def charged_by(world: World, account: Account, key: str) -> None:
    await world.capture(await world.reserved(account, 1, key=key), key=key)
