"""Refunds that no gateway pays: customers are owed them until the operator has paid them otherwise, once."""

import asyncio

import grpc
import pytest
from iap.broker.v1 import admin_pb2

from broker_service.domain.records import PaymentNoticeKind, PaymentNoticeOutcome
from tests.contract.broker_purchases.till import (
    euro,
    journal,
    money_accounts,
    refund_id_of,
    refund_purchase,
    refund_rows,
    tell,
    told,
    unanswered_refunds,
)
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import Account, World, call, new_id

SUCCEEDED, FAILED = PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED
CHARGED_BACK = PaymentNoticeKind.CHARGED_BACK
APPLIED, IGNORED = PaymentNoticeOutcome.APPLIED, PaymentNoticeOutcome.IGNORED
STATE_PAID, STATE_FAILED = admin_pb2.PURCHASE_REFUND_STATE_PAID, admin_pb2.PURCHASE_REFUND_STATE_FAILED


async def requested(world: World) -> tuple[Account, str, str]:
    """Returns an account, its purchase of 100 credits for 10 euro, and a refund that the gateway does not answer."""
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    purchase_id = (await world.buy(account, pack.pack_id)).purchase_id
    with unanswered_refunds(world):
        await refund_purchase(world, account, purchase_id, reason="sorry")
    return account, purchase_id, refund_id_of(world, purchase_id)


async def refused(world: World) -> tuple[Account, str, str]:
    """Returns the same, once the gateway has refused it."""
    account, purchase_id, refund_id = await requested(world)
    assert await tell(world, FAILED, purchase_id, refund_id=refund_id) is APPLIED
    return account, purchase_id, refund_id


async def mark_paid(
    world: World, refund_id: str, *, request_id: str | None = None, reference: str = "SEPA 17"
) -> admin_pb2.MarkRefundPaidResponse:
    request = admin_pb2.MarkRefundPaidRequest(
        request_id=request_id or new_id(), refund_id=refund_id, reference=reference
    )
    return await call(world.stubs.admin.MarkRefundPaid, request, world.running.operator_key)


async def owed(world: World, **fields: object) -> admin_pb2.ListOwedRefundsResponse:
    request = admin_pb2.ListOwedRefundsRequest(**fields)  # type: ignore[arg-type]  # whatever the test gives
    return await call(world.stubs.admin.ListOwedRefunds, request, world.running.operator_key)


async def test_what_the_gateway_has_refused_is_owed_until_the_operator_has_paid_it(world: World) -> None:
    _, purchase_id, refund_id = await refused(world)
    (listed,) = [it for it in (await owed(world)).refunds if it.refund_id == refund_id]
    assert (listed.purchase_id, listed.state, listed.reason) == (purchase_id, STATE_FAILED, "sorry")
    assert (listed.amount, listed.credits) == (euro(1_000), 100)
    assert money_accounts(world, purchase_id) == {"gateway_clearing": 1_000, "refunds_in_transit": -1_000}
    request_id = new_id()
    for replayed in (False, True):
        answer = await mark_paid(world, refund_id, request_id=request_id)
        assert (answer.refund.state, answer.refund.gateway_reference, answer.replayed) == (
            STATE_PAID,
            "operator",
            replayed,
        )
    assert money_accounts(world, purchase_id) == {}
    assert journal(world, purchase_id) == ["REFUND", "REFUND_PAID", "SALE"]
    assert refund_id not in [it.refund_id for it in (await owed(world)).refunds]
    assert ("REFUND_SUCCEEDED", "APPLIED", "the operator has paid the refund: SEPA 17", 1) in await told(
        world, purchase_id
    )


async def test_it_is_paid_once(world: World) -> None:
    _, purchase_id, refund_id = await refused(world)
    answers = await asyncio.gather(*(mark_paid(world, refund_id) for _ in range(4)), return_exceptions=True)
    assert len([it for it in answers if not isinstance(it, BaseException)]) == 1
    assert journal(world, purchase_id) == ["REFUND", "REFUND_PAID", "SALE"]
    refusal = await refusal_of(mark_paid(world, refund_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REFUND_NOT_OWED")
    assert refusal.metadata == {"refund_id": refund_id, "state": "PAID"}


async def test_the_same_request_with_another_reference_or_refund_is_refused(world: World) -> None:
    account, _, refund_id = await refused(world)
    request_id = new_id()
    await mark_paid(world, refund_id, request_id=request_id)
    assert (await refusal_of(mark_paid(world, refund_id, request_id=request_id, reference="another"))).reason == (
        "REQUEST_ID_REUSED"
    )
    pack = await world.new_pack(account.service)
    other_id = (await world.buy(account, pack.pack_id)).purchase_id
    with unanswered_refunds(world):
        await refund_purchase(world, account, other_id)
    other = refund_id_of(world, other_id)
    await tell(world, FAILED, other_id, refund_id=other)
    assert (await refusal_of(mark_paid(world, other, request_id=request_id))).reason == "REQUEST_ID_REUSED"
    assert refund_rows(world, other_id) == [("REFUND", "FAILED", 100, 1_000, 250)]


async def test_what_the_gateway_may_still_pay_is_not_to_be_paid_twice(world: World) -> None:
    _, purchase_id, refund_id = await requested(world)
    assert refund_id not in [it.refund_id for it in (await owed(world)).refunds]
    refusal = await refusal_of(mark_paid(world, refund_id))
    assert (refusal.reason, refusal.metadata["state"]) == ("REFUND_NOT_OWED", "REQUESTED")
    assert await tell(world, SUCCEEDED, purchase_id, refund_id=refund_id) is APPLIED
    assert (await refusal_of(mark_paid(world, refund_id))).metadata["state"] == "PAID"


@pytest.mark.parametrize("kind", [SUCCEEDED, FAILED])
async def test_what_the_gateway_says_afterwards_moves_nothing(world: World, kind: PaymentNoticeKind) -> None:
    _, purchase_id, refund_id = await refused(world)
    await mark_paid(world, refund_id)
    assert await tell(world, kind, purchase_id, refund_id=refund_id) is IGNORED
    twice = "the refund was paid by the operator: the customer has the money twice"
    over = "the refund was paid by the operator, and is not owed any more"
    assert (twice if kind is SUCCEEDED else over) in [detail for _, _, detail, _ in await told(world, purchase_id)]
    assert money_accounts(world, purchase_id) == {}
    assert refund_rows(world, purchase_id) == [("REFUND", "PAID", 100, 1_000, 250)]


async def test_what_had_been_paid_and_came_back_can_be_paid_otherwise(world: World) -> None:
    _, purchase_id, refund_id = await requested(world)
    await tell(world, SUCCEEDED, purchase_id, refund_id=refund_id)
    await tell(world, FAILED, purchase_id, refund_id=refund_id)
    await mark_paid(world, refund_id)
    assert money_accounts(world, purchase_id) == {}
    assert journal(world, purchase_id) == ["REFUND", "REFUND_PAID", "REFUND_PAID", "REFUND_RETURNED", "SALE"]
    assert await tell(world, CHARGED_BACK, purchase_id) is IGNORED
    assert money_accounts(world, purchase_id) == {}


async def test_a_chargeback_is_no_refund_that_anybody_owes(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    purchase_id = (await world.buy(account, pack.pack_id)).purchase_id
    await tell(world, CHARGED_BACK, purchase_id)
    assert (await refusal_of(mark_paid(world, refund_id_of(world, purchase_id)))).reason == "REFUND_NOT_FOUND"


async def test_owed_refunds_come_oldest_first_page_by_page(world: World) -> None:
    made = [(await refused(world))[2] for _ in range(3)]
    listed: list[str] = []
    token = ""
    while True:
        page = await owed(world, page_size=2, page_token=token)
        assert len(page.refunds) <= 2
        listed += [it.refund_id for it in page.refunds]
        token = page.next_page_token
        if not token:
            break
    times = [it.create_time.ToNanoseconds() for it in (await owed(world, page_size=1_000)).refunds]
    assert times == sorted(times)
    assert len(set(listed)) == len(listed)
    assert set(made) <= set(listed)
    for refund_id in made:
        await mark_paid(world, refund_id)
