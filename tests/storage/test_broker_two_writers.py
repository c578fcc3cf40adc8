"""Two brokers write to one database at the same time, and the books stay right."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc
from iap.broker.v1 import account_pb2

from broker_service.domain.records import PaymentNoticeKind, PaymentNoticeOutcome
from broker_service.storage.audit import audit
from tests.contract.broker_purchases.till import money_accounts, refund_purchase, tell, told
from tests.contract.broker_world.operations import resume_account
from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.world import World, call, new_id

Twins = tuple[World, World]


async def reasons(calls: Sequence[Any]) -> Counter[str]:
    """Awaits calls together, and counts how they ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, grpc.aio.AioRpcError):
            raise answer
    return Counter(parse_error(it).reason if isinstance(it, grpc.aio.AioRpcError) else "OK" for it in answers)


async def assert_books_agree(world: World) -> None:
    assert (await world.running.broker.database.read(audit)).violations == ()


async def test_reserves_through_both_never_take_more_than_there_is(twin_worlds: Twins) -> None:
    account = await twin_worlds[0].new_account(trial_credits=120)
    ends = await reasons([twin_worlds[number % 2].reserve(account, 1) for number in range(300)])
    assert ends == {"OK": 120, "INSUFFICIENT_CREDITS": 180}
    for world in twin_worlds:
        assert await world.balance(account) == (120, 120, 0)
    await assert_books_agree(twin_worlds[1])


async def work(world: World, account: Any, number: int) -> int:
    """Reserves 3 credits, captures some and gives the rest back; returns how many were taken."""
    reservation_id = await world.reserved(account, 3)
    taken = number % 4
    if taken == 3:
        await world.release(reservation_id)
        return 0
    return (await world.capture(reservation_id, taken)).captured_credits


async def test_both_reserve_capture_and_release_on_one_account(twin_worlds: Twins) -> None:
    account = await twin_worlds[0].new_account(trial_credits=500)
    taken = await asyncio.gather(*(work(twin_worlds[number % 2], account, number) for number in range(120)))
    left = 500 - sum(taken)
    for world in twin_worlds:
        assert await world.balance(account) == (left, 0, left)
    assert (await twin_worlds[0].entries(account))[-1].ledger_credits_after == left
    await assert_books_agree(twin_worlds[0])


async def test_what_one_reserves_the_other_captures(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    account = await first.new_account()
    for _ in range(10):
        await second.capture(await first.reserved(account, 2))
        await first.capture(await second.reserved(account, 3))
    assert await first.balance(account) == await second.balance(account) == (50, 0, 50)


async def test_one_request_through_both_reserves_once(twin_worlds: Twins) -> None:
    account, request_id = await twin_worlds[0].new_account(), new_id()
    calls = [twin_worlds[number % 2].reserve(account, 30, request_id=request_id) for number in range(20)]
    answers = await asyncio.gather(*calls)
    assert sum(not answer.replayed for answer in answers) == 1
    assert await twin_worlds[1].balance(account) == (100, 30, 70)


async def test_one_request_with_other_parameters_is_refused_by_the_other(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    account, request_id = await first.new_account(), new_id()
    await first.reserve(account, 30, request_id=request_id)
    assert await reasons([second.reserve(account, 31, request_id=request_id)]) == {"REQUEST_ID_REUSED": 1}


async def test_capture_through_one_and_release_through_the_other_have_one_winner(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    account = await first.new_account()
    for _ in range(10):
        reservation_id = await first.reserved(account, 1)
        ends = await reasons([first.capture(reservation_id), second.release(reservation_id)])
        assert (ends["OK"], sum(ends.values()), len(ends)) == (1, 2, 2)
    await assert_books_agree(first)


async def test_a_purchase_paid_through_both_is_paid_once(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    account = await first.new_account()
    purchase = await first.purchase(account, (await first.new_pack(account.service)).pack_id)
    ends = await reasons([world.pay(purchase.purchase_id) for world in (first, second) * 5])
    assert ends == {"OK": 1, "PURCHASE_PAID": 9}
    assert await second.balance(account) == (200, 0, 200)
    await assert_books_agree(second)


async def test_a_notice_taken_by_both_at_once_pays_once(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    account = await first.new_account()
    purchase_id = (await first.purchase(account, (await first.new_pack(account.service)).pack_id)).purchase_id
    kind = PaymentNoticeKind.SUCCEEDED
    outcomes = await asyncio.gather(
        *(tell(world, kind, purchase_id, event_id="evt-both") for world in (first, second) * 8)
    )
    assert set(outcomes) == {PaymentNoticeOutcome.APPLIED}
    assert await second.balance(account) == (200, 0, 200)
    assert await told(first, purchase_id) == [("SUCCEEDED", "APPLIED", "the purchase is paid", 16)]
    await assert_books_agree(first)


async def test_a_notice_of_no_purchase_taken_by_both_at_once_is_kept_once(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    kind = PaymentNoticeKind.SUCCEEDED
    outcomes = await asyncio.gather(
        *(tell(world, kind, "pur_nowhere", event_id="evt-none") for world in (first, second) * 4)
    )
    assert set(outcomes) == {PaymentNoticeOutcome.UNKNOWN_PURCHASE}
    assert [times for *_, times in await told(first, "pur_nowhere")] == [8]


async def test_different_notices_of_one_payment_through_both_pay_once(twin_worlds: Twins) -> None:
    account = await twin_worlds[0].new_account()
    pack = await twin_worlds[0].new_pack(account.service)
    purchase_id = (await twin_worlds[0].purchase(account, pack.pack_id)).purchase_id
    outcomes = await asyncio.gather(
        *(tell(twin_worlds[number % 2], PaymentNoticeKind.SUCCEEDED, purchase_id) for number in range(10))
    )
    assert Counter(outcomes) == {PaymentNoticeOutcome.APPLIED: 1, PaymentNoticeOutcome.IGNORED: 9}
    assert await twin_worlds[1].balance(account) == (200, 0, 200)


async def test_refunds_and_a_chargeback_through_both_give_the_price_back_once(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    account = await first.new_account(trial_credits=0)
    pack = await first.new_pack(account.service)
    for _ in range(5):
        purchase_id = (await first.buy(account, pack.pack_id)).purchase_id
        chargeback = tell(second, PaymentNoticeKind.CHARGED_BACK, purchase_id)
        refunds = [refund_purchase(world, account, purchase_id) for world in (first, second) * 2]
        await asyncio.gather(chargeback, *refunds, return_exceptions=True)
        assert money_accounts(first, purchase_id) == {}
        await resume_account(first, account)
    assert await second.balance(account) == (0, 0, 0)
    await assert_books_agree(second)


async def test_accounts_opened_through_both_get_trial_credits_once(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    service, customer = await first.new_service(trial_credits=10), await first.new_customer()
    requests = [account_pb2.OpenAccountRequest(request_id=new_id(), service=service) for _ in range(10)]
    calls = [
        call(world.stubs.accounts.OpenAccount, request, customer.key)
        for request, world in zip(requests, (first, second) * 5, strict=True)
    ]
    opened = await asyncio.gather(*calls)
    assert sorted(answer.balance.ledger_credits for answer in opened) == [0] * 9 + [10]


async def test_one_account_opened_through_both_shows_one_token(twin_worlds: Twins) -> None:
    first, second = twin_worlds
    service, customer = await first.new_service(trial_credits=10), await first.new_customer()
    request = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
    worlds = (first, second) * 5
    opened = await asyncio.gather(*(call(it.stubs.accounts.OpenAccount, request, customer.key) for it in worlds))
    assert len({answer.account.account_id for answer in opened}) == 1
    assert len([answer for answer in opened if answer.account_token]) == 1
    assert {answer.balance.ledger_credits for answer in opened} == {10}
