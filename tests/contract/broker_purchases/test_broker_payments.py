"""A purchase from its start to its end, and the credits it puts on the account."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from iap.broker.v1 import account_pb2, catalog_pb2, purchase_pb2

from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.world import World, amounts, call, new_id

PENDING = purchase_pb2.PURCHASE_STATE_PENDING
PAID = purchase_pb2.PURCHASE_STATE_PAID
FAILED = purchase_pb2.PURCHASE_STATE_FAILED


async def test_a_purchase_freezes_the_pack_s_terms(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service, pack_credits=70, validity=timedelta(days=365), title="Seventy")
    purchase = await world.purchase(account, pack.pack_id)
    assert (purchase.state, purchase.account_id, purchase.credits) == (PENDING, account.id, 70)
    assert (purchase.pack, purchase.price) == (pack, pack.price)
    assert not purchase.HasField("pay_time")
    assert await world.balance(account) == (100, 0, 100)
    await world.archive(pack.pack_id)
    world.clock.move(timedelta(hours=1))
    paid = (await world.pay(purchase.purchase_id)).purchase
    assert (paid.state, paid.pack, paid.price) == (PAID, pack, pack.price)
    assert paid.pay_time.ToMicroseconds() - paid.create_time.ToMicroseconds() == 3_600_000_000
    entry = (await world.entries(account))[-1]
    assert (entry.kind, entry.credits, entry.purchase_id) == (
        account_pb2.ENTRY_KIND_PURCHASE,
        70,
        purchase.purchase_id,
    )
    assert (entry.description, entry.ledger_credits_after) == ("Seventy", 170)


async def test_the_validity_counts_from_the_payment(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service, validity=timedelta(days=1))
    purchase = await world.purchase(account, pack.pack_id)
    world.clock.move(timedelta(hours=23))
    await world.pay(purchase.purchase_id)
    world.clock.move(timedelta(days=1, microseconds=-1))
    assert await world.balance(account) == (100, 0, 100)
    world.clock.move(timedelta(microseconds=1))
    assert await world.balance(account) == (0, 0, 0)


async def test_a_failed_payment_grants_nothing(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    purchase = await world.purchase(account, pack.pack_id)
    failed = (await world.pay(purchase.purchase_id, succeeds=False)).purchase
    assert (failed.state, failed.HasField("pay_time")) == (FAILED, False)
    assert await world.balance(account) == (100, 0, 100)
    assert len(await world.entries(account)) == 1
    await world.buy(account, pack.pack_id)
    assert await world.balance(account) == (200, 0, 200)


async def test_twenty_payers_at_once_pay_once(world: World) -> None:
    account = await world.new_account()
    purchase = await world.purchase(account, (await world.new_pack(account.service)).pack_id)
    answers = await asyncio.gather(*(world.pay(purchase.purchase_id) for _ in range(20)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {parse_error(error).reason for error in refused} == {"PURCHASE_PAID"}
    assert len(refused) == 19
    assert await world.balance(account) == (200, 0, 200)


async def test_credits_bought_can_be_used_at_once(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    await world.buy(account, pack.pack_id)
    assert amounts((await world.reserve(account, 100)).balance) == (100, 100, 0)


async def test_a_customer_buys_by_account_id_too(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    request = purchase_pb2.CreatePurchaseRequest(
        request_id=new_id(), pack_id=pack.pack_id, account_id=account.id, return_url="https://app.example/back?a=b#c"
    )
    started = await call(world.stubs.purchases.CreatePurchase, request, account.customer.key)
    assert started.purchase.account_id == account.id
    assert started.checkout_url == f"sandbox:{started.purchase.purchase_id}"


@pytest.mark.parametrize("times", [2, 5])
async def test_trial_credits_come_once_per_customer_and_service(world: World, times: int) -> None:
    service, customer = await world.new_service(trial_credits=10), await world.new_customer()
    accounts = [await world.new_account(service=service, customer=customer) for _ in range(times)]
    assert len({account.id for account in accounts}) == times
    assert [await world.balance(account) for account in accounts] == [(10, 0, 10)] + [(0, 0, 0)] * (times - 1)
    assert await world.balance(await world.new_account(service=service)) == (10, 0, 10)
    other = await world.new_service(trial_credits=7)
    assert await world.balance(await world.new_account(service=other, customer=customer)) == (7, 0, 7)


async def test_trial_credits_come_once_when_accounts_are_opened_at_once(world: World) -> None:
    service, customer = await world.new_service(trial_credits=10), await world.new_customer()
    requests = [account_pb2.OpenAccountRequest(request_id=new_id(), service=service) for _ in range(12)]
    opened = await asyncio.gather(
        *(call(world.stubs.accounts.OpenAccount, request, customer.key) for request in requests)
    )
    assert sorted(answer.balance.ledger_credits for answer in opened) == [0] * 11 + [10]


async def test_one_account_is_opened_however_often_the_request_comes_at_once(world: World) -> None:
    service, customer = await world.new_service(trial_credits=10), await world.new_customer()
    request = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
    opened = await asyncio.gather(*(call(world.stubs.accounts.OpenAccount, request, customer.key) for _ in range(12)))
    assert len({answer.account.account_id for answer in opened}) == 1
    assert sorted(answer.replayed for answer in opened) == [False] + [True] * 11
    tokens = [answer.account_token for answer in opened if answer.account_token]
    assert len(tokens) == 1, "only the first answer shows the token"
    found = await call(world.stubs.accounts.GetBalance, account_pb2.GetBalanceRequest(account_token=tokens[0]))
    assert amounts(found.balance) == (10, 0, 10)


async def test_trial_credits_changed_later_are_those_of_later_accounts(world: World) -> None:
    service, customer = await world.new_service(trial_credits=10), await world.new_customer()
    request = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
    first = await call(world.stubs.accounts.OpenAccount, request, customer.key)
    update = catalog_pb2.UpdateServiceRequest(service=catalog_pb2.Service(service=service, trial_credits=50))
    update.update_mask.paths.append("trial_credits")
    await call(world.stubs.catalog.UpdateService, update, world.provider.key)
    again = await call(world.stubs.accounts.OpenAccount, request, customer.key)
    assert (again.replayed, again.balance) == (True, first.balance)
    assert await world.balance(await world.new_account(service=service)) == (50, 0, 50)
