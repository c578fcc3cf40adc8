"""What a gateway tells of payments: once, again, late, wrong, and of what does not exist."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from iap.broker.v1 import admin_pb2, purchase_pb2

from broker_service.domain.errors import BalanceOverflow
from broker_service.domain.records import MAX_BALANCE, PaymentNoticeKind, PaymentNoticeOutcome
from broker_service.payments.gateway import PaymentMethod
from tests.contract.broker_purchases.till import (
    events,
    get_purchase,
    journal,
    notices,
    refund_id_of,
    refund_purchase,
    refund_rows,
    tell,
    told,
    unanswered_refunds,
)
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import Account, World, call, new_id

SUCCEEDED, FAILED = PaymentNoticeKind.SUCCEEDED, PaymentNoticeKind.FAILED
APPLIED, IGNORED = PaymentNoticeOutcome.APPLIED, PaymentNoticeOutcome.IGNORED
UNKNOWN, WRONG = PaymentNoticeOutcome.UNKNOWN_PURCHASE, PaymentNoticeOutcome.WRONG_AMOUNT


async def started(world: World) -> tuple[Account, str]:
    """Returns an account without credits and the purchase it has to pay 10 euro for."""
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    return account, (await world.purchase(account, pack.pack_id)).purchase_id


async def state(world: World, account: Account, purchase_id: str) -> str:
    shown = (await get_purchase(world, account, purchase_id)).state
    return purchase_pb2.PurchaseState.Name(shown).removeprefix("PURCHASE_STATE_")


async def test_a_success_pays(world: World) -> None:
    account, purchase_id = await started(world)
    assert await tell(world, SUCCEEDED, purchase_id, currency="EUR", amount_minor_units=1_000) is APPLIED
    assert (await state(world, account, purchase_id), await world.balance(account)) == ("PAID", (100, 0, 100))
    assert journal(world, purchase_id) == ["SALE"]
    assert events(world, account) == ["purchase.paid"]


async def test_a_failure_fails(world: World) -> None:
    account, purchase_id = await started(world)
    assert await tell(world, FAILED, purchase_id, detail="card declined") is APPLIED
    assert (await state(world, account, purchase_id), await world.balance(account)) == ("FAILED", (0, 0, 0))
    assert await told(world, purchase_id) == [("FAILED", "APPLIED", "the payment failed: card declined", 1)]
    assert events(world, account) == []


@pytest.mark.parametrize("kind", [SUCCEEDED, FAILED])
async def test_the_same_notice_again_is_counted_and_changes_nothing(world: World, kind: PaymentNoticeKind) -> None:
    account, purchase_id = await started(world)
    event_id = new_id()
    for _ in range(3):
        assert await tell(world, kind, purchase_id, event_id=event_id) is APPLIED
    assert [times for *_, times in await told(world, purchase_id)] == [3]
    assert len(await world.entries(account)) == (kind is SUCCEEDED)


async def test_a_success_after_a_failure_pays(world: World) -> None:
    account, purchase_id = await started(world)
    await tell(world, FAILED, purchase_id)
    assert await tell(world, SUCCEEDED, purchase_id) is APPLIED
    assert (await state(world, account, purchase_id), await world.balance(account)) == ("PAID", (100, 0, 100))


async def test_a_success_after_the_checkout_has_expired_pays(world: World) -> None:
    account, purchase_id = await started(world)
    world.clock.move(timedelta(hours=24))
    assert await state(world, account, purchase_id) == "FAILED"
    assert await tell(world, SUCCEEDED, purchase_id) is APPLIED
    assert (await state(world, account, purchase_id), await world.balance(account)) == ("PAID", (100, 0, 100))
    assert await told(world, purchase_id) == [("SUCCEEDED", "APPLIED", "the purchase is paid, after it had failed", 1)]


async def test_a_failure_after_a_success_is_ignored(world: World) -> None:
    account, purchase_id = await started(world)
    await tell(world, SUCCEEDED, purchase_id)
    assert await tell(world, FAILED, purchase_id) is IGNORED
    assert (await state(world, account, purchase_id), await world.balance(account)) == ("PAID", (100, 0, 100))


async def test_a_second_failure_is_ignored(world: World) -> None:
    account, purchase_id = await started(world)
    await tell(world, FAILED, purchase_id)
    assert await tell(world, FAILED, purchase_id) is IGNORED
    assert await state(world, account, purchase_id) == "FAILED"


async def test_a_second_payment_is_ignored_and_says_so(world: World) -> None:
    account, purchase_id = await started(world)
    await tell(world, SUCCEEDED, purchase_id, gateway_reference="pay-1")
    assert await tell(world, SUCCEEDED, purchase_id, event_id="z1", gateway_reference="pay-2") is IGNORED
    assert await world.balance(account) == (100, 0, 100)
    (second,) = [it for it in await notices(world, purchase_id) if it.gateway_event_id == "z1"]
    assert second.detail == "the purchase was paid before: the customer has paid twice"


async def test_another_notice_of_the_same_payment_is_no_second_payment(world: World) -> None:
    _, purchase_id = await started(world)
    await tell(world, SUCCEEDED, purchase_id, gateway_reference="pay-1")
    assert await tell(world, SUCCEEDED, purchase_id, event_id="z2", gateway_reference="pay-1") is IGNORED
    (second,) = [it for it in await notices(world, purchase_id) if it.gateway_event_id == "z2"]
    assert second.detail == "that payment is known already"


@pytest.mark.parametrize("amount", [999, 1_001, 0, -1_000, 100_000, 2**63, -(2**70)])
async def test_another_amount_changes_nothing(world: World, amount: int) -> None:
    account, purchase_id = await started(world)
    told_of = tell(world, SUCCEEDED, purchase_id, currency="EUR", amount_minor_units=amount)
    assert await told_of is WRONG
    assert (await state(world, account, purchase_id), await world.balance(account)) == ("PENDING", (0, 0, 0))
    assert journal(world, purchase_id) == []
    ((_, _, detail, _),) = await told(world, purchase_id)
    assert detail == "1000 minor units of EUR were due"


@pytest.mark.parametrize("currency", ["USD", "eur", "", "EURO", "€", "A\0B"])
async def test_another_currency_changes_nothing(world: World, currency: str) -> None:
    account, purchase_id = await started(world)
    assert await tell(world, SUCCEEDED, purchase_id, currency=currency, amount_minor_units=1_000) is WRONG
    assert await state(world, account, purchase_id) == "PENDING"
    assert await tell(world, FAILED, purchase_id, currency=currency) is WRONG
    assert await state(world, account, purchase_id) == "PENDING"


async def test_the_right_amount_pays_after_a_wrong_one(world: World) -> None:
    account, purchase_id = await started(world)
    await tell(world, SUCCEEDED, purchase_id, currency="EUR", amount_minor_units=1)
    assert await tell(world, SUCCEEDED, purchase_id, currency="EUR", amount_minor_units=1_000) is APPLIED
    assert await world.balance(account) == (100, 0, 100)


async def test_another_gateway_s_word_changes_nothing(world: World) -> None:
    account, purchase_id = await started(world)
    assert await tell(world, SUCCEEDED, purchase_id, gateway="stripe") is IGNORED
    assert await state(world, account, purchase_id) == "PENDING"
    assert await told(world, purchase_id) == [("SUCCEEDED", "IGNORED", "the purchase is paid through sandbox", 1)]


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "unknown",
        lambda _: "",
        lambda _: "\0",
        lambda _: "😀\ud800" * 400,
        lambda it: it[:-1] + ("0" if it[-1] != "0" else "1"),
        lambda it: f"pur_{'a' * 24}_{it.split('_')[2]}",
    ],
)
async def test_a_notice_of_no_purchase_is_kept_and_counted(world: World, change: Callable[[str], str]) -> None:
    account, purchase_id = await started(world)
    event_id, unknown = new_id(), change(purchase_id)
    for _ in range(2):
        assert await tell(world, SUCCEEDED, unknown, event_id=event_id) is UNKNOWN
    request = admin_pb2.ListPaymentNoticesRequest(outcome=admin_pb2.PAYMENT_NOTICE_OUTCOME_UNKNOWN_PURCHASE)
    found = await call(world.stubs.admin.ListPaymentNotices, request, world.running.operator_key)
    (kept,) = [it for it in found.notices if it.gateway_event_id == event_id]
    assert (kept.times_received, kept.detail) == (2, "no such purchase")
    assert await state(world, account, purchase_id) == "PENDING"


@pytest.mark.parametrize("kind", [PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED])
async def test_the_end_of_another_account_s_refund_is_ignored(world: World, kind: PaymentNoticeKind) -> None:
    (one, first), (other, second) = [await started(world) for _ in range(2)]
    for account, purchase_id in ((one, first), (other, second)):
        await tell(world, SUCCEEDED, purchase_id)
        with unanswered_refunds(world):
            await refund_purchase(world, account, purchase_id)
    assert await tell(world, kind, first, refund_id=refund_id_of(world, second)) is IGNORED
    assert "no such refund was asked for" in [detail for _, _, detail, _ in await told(world, first)]
    assert [refund_rows(world, it)[0][1] for it in (first, second)] == ["REQUESTED"] * 2


async def test_one_event_that_tells_of_two_purchases_pays_both(world: World) -> None:
    (one, first), (other, second) = [await started(world) for _ in range(2)]
    for purchase_id in (first, second):
        assert await tell(world, SUCCEEDED, purchase_id, event_id="evt-of-two") is APPLIED
    assert [await world.balance(it) for it in (one, other)] == [(100, 0, 100)] * 2


async def test_what_a_gateway_says_is_kept_as_a_database_can(world: World) -> None:
    _, purchase_id = await started(world)
    words = "a\0b" + "ü\ud800" * 1_000
    assert await tell(world, FAILED, purchase_id, event_id=words, gateway_reference=words, detail=words) is APPLIED
    (kept,) = await notices(world, purchase_id)
    assert kept.detail.startswith("the payment failed: abü?")
    assert len(kept.gateway_event_id) < 501


async def test_a_payment_that_the_account_cannot_hold_is_left_for_the_gateway_to_repeat(own_world: World) -> None:
    world = own_world
    account, purchase_id = await started(world)
    fill = (
        "UPDATE accounts SET ledger_credits = ? WHERE account_id = ?",
        "INSERT INTO grants (shard_id, account_id, grant_id, kind, priority, credits, remaining_credits,"
        " reserved_credits, create_time, spent, revoked)"
        " VALUES (0, ?, 'grt_x', 'PROMOTIONAL', 1, ?, ?, 0, 0, false, false)",
    )
    world.running.sql(fill[0], MAX_BALANCE - 99, account.id)
    world.running.sql(fill[1], account.id, MAX_BALANCE - 99, MAX_BALANCE - 99)
    with pytest.raises(BalanceOverflow):
        await tell(world, SUCCEEDED, purchase_id, event_id="evt-full")
    assert await notices(world, purchase_id) == []
    await world.capture(await world.reserved(account, 1))
    assert await tell(world, SUCCEEDED, purchase_id, event_id="evt-full") is APPLIED
    assert (await world.balance(account))[0] == MAX_BALANCE


async def test_a_payment_method_is_kept_and_the_latest_stays(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    first, second, third, fourth = [
        (await world.purchase(account, pack.pack_id, saves_method=saves)).purchase_id
        for saves in (True, True, True, False)
    ]
    await tell(world, SUCCEEDED, first, method=PaymentMethod("cus-1", "card-1"))
    await tell(world, SUCCEEDED, second)
    statement = "SELECT gateway, customer_reference, method_reference FROM payment_methods WHERE account_id = ?"
    assert world.running.sql(statement, account.id) == [("sandbox", "cus-1", "card-1")]
    await tell(world, SUCCEEDED, third, method=PaymentMethod("cus-1", "card-2"))
    # Nobody has asked for this one to be kept.
    await tell(world, SUCCEEDED, fourth, method=PaymentMethod("cus-2", "card-3"))
    assert world.running.sql(statement, account.id) == [("sandbox", "cus-1", "card-2")]


async def test_a_sandbox_payment_is_a_notice_too(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    purchase_id = (await world.purchase(account, pack.pack_id, saves_method=True)).purchase_id
    await world.pay(purchase_id)
    assert await told(world, purchase_id) == [("SUCCEEDED", "APPLIED", "the purchase is paid", 1)]
    kept = world.running.sql("SELECT gateway FROM payment_methods WHERE account_id = ?", account.id)
    assert kept == [("sandbox",)]


async def test_the_same_notice_many_times_at_once_pays_once(world: World) -> None:
    account, purchase_id = await started(world)
    outcomes = await asyncio.gather(*(tell(world, SUCCEEDED, purchase_id, event_id="evt-many") for _ in range(20)))
    assert set(outcomes) == {APPLIED}
    assert await world.balance(account) == (100, 0, 100)
    assert [times for *_, times in await told(world, purchase_id)] == [20]


async def test_notices_are_listed_newest_first_by_outcome_and_purchase(world: World) -> None:
    _, purchase_id = await started(world)
    events = [("evt-1", FAILED), ("evt-2", SUCCEEDED), ("evt-3", SUCCEEDED), ("evt-4", FAILED)]
    for event_id, kind in events:
        await tell(world, kind, purchase_id, event_id=event_id, currency="EUR", amount_minor_units=1_000)
        world.clock.move(timedelta(seconds=1))
    found = await notices(world, purchase_id)
    assert [it.gateway_event_id for it in found] == ["evt-4", "evt-3", "evt-2", "evt-1"]
    assert {(it.gateway, it.amount.units, it.amount.currency_code) for it in found} == {("sandbox", 10, "EUR")}
    assert found[0].receive_time.ToDatetime() > found[1].receive_time.ToDatetime()
    request = admin_pb2.ListPaymentNoticesRequest(
        purchase_id=purchase_id, outcome=admin_pb2.PAYMENT_NOTICE_OUTCOME_IGNORED, page_size=1
    )
    pages = []
    while True:
        page = await call(world.stubs.admin.ListPaymentNotices, request, world.running.operator_key)
        pages.append([it.gateway_event_id for it in page.notices])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert pages == [["evt-4"], ["evt-3"]]
    request.outcome = admin_pb2.PAYMENT_NOTICE_OUTCOME_APPLIED
    refusal = await refusal_of(call(world.stubs.admin.ListPaymentNotices, request, world.running.operator_key))
    assert refusal.fields == ["page_token"]


async def test_a_purchase_refunded_since_is_not_paid_again(world: World) -> None:
    account, purchase_id = await started(world)
    await tell(world, SUCCEEDED, purchase_id)
    await refund_purchase(world, account, purchase_id)
    for kind in (SUCCEEDED, FAILED):
        assert await tell(world, kind, purchase_id) is IGNORED
    assert (await state(world, account, purchase_id), await world.balance(account)) == ("REFUNDED", (0, 0, 0))
