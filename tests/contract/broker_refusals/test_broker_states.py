"""Calls that come too late, for too much, or while the operator has stopped something."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import grpc
import pytest
from iap.broker.v1 import account_pb2, broker_pb2, catalog_pb2, purchase_pb2

from tests.contract.broker_world.refusals import Refusal, refusal_of
from tests.contract.broker_world.world import World, new_id

Resolve = Callable[[World, str], Awaitable[object]]


async def expire(world: World, _: str) -> None:
    world.clock.move(timedelta(seconds=60))


RESOLVED: list[tuple[Resolve, str]] = [
    (lambda world, it: world.capture(it), "RESERVATION_CAPTURED"),
    (lambda world, it: world.capture(it, 0), "RESERVATION_CAPTURED"),
    (lambda world, it: world.capture(it, 2), "RESERVATION_CAPTURED"),
    (lambda world, it: world.release(it), "RESERVATION_RELEASED"),
    (expire, "RESERVATION_EXPIRED"),
]
LATE: list[Resolve] = [
    lambda world, it: world.capture(it),
    lambda world, it: world.capture(it, 0),
    lambda world, it: world.capture(it, 10**12),
    lambda world, it: world.capture(it, 1, keep_open=True),
    lambda world, it: world.release(it),
]


def assert_precondition(refusal: Refusal, reason: str, **metadata: str) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
    assert refusal.metadata == metadata


@pytest.mark.parametrize(("resolve", "reason"), RESOLVED)
@pytest.mark.parametrize("late", LATE)
async def test_a_resolved_reservation_stays_as_it_is(
    world: World, resolve: Resolve, reason: str, late: Resolve
) -> None:
    account = await world.new_account()
    reservation = (await world.reserve(account, 5, ttl=timedelta(seconds=60))).reservation
    await resolve(world, reservation.reservation_id)
    before = await world.holdings(account), await world.reservation(reservation.reservation_id)
    refusal = await refusal_of(late(world, reservation.reservation_id))
    expected = {"reservation_id": reservation.reservation_id}
    if reason == "RESERVATION_EXPIRED":
        expected["expire_time"] = reservation.expire_time.ToJsonString()
    assert_precondition(refusal, reason, **expected)
    assert (await world.holdings(account), await world.reservation(reservation.reservation_id)) == before


@pytest.mark.parametrize("keep_open", [True, False])
async def test_no_more_is_captured_than_is_reserved(world: World, keep_open: bool) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    refusal = await refusal_of(world.capture(reservation_id, 6, keep_open=keep_open))
    assert_precondition(
        refusal, "CAPTURE_EXCEEDS_RESERVATION", reservation_id=reservation_id, reserved="5", required="6"
    )
    assert await world.balance(account) == (100, 5, 95)


async def test_the_sum_of_several_captures_is_at_most_what_is_reserved(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    await world.capture(reservation_id, 2, keep_open=True)
    await world.capture(reservation_id, 2, keep_open=True)
    refusal = await refusal_of(world.capture(reservation_id, 2, keep_open=True))
    assert_precondition(
        refusal, "CAPTURE_EXCEEDS_RESERVATION", reservation_id=reservation_id, reserved="1", required="2"
    )
    assert (await world.capture(reservation_id, 1)).captured_credits == 1
    assert await world.balance(account) == (95, 0, 95)


async def test_a_suspended_account_takes_no_reservations_and_purchases(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    open_reservations = [await world.reserved(account, 5) for _ in range(2)]
    pending = await world.purchase(account, pack.pack_id)
    world.suspend_account(account)
    for refused in (world.reserve(account, 1), world.purchase(account, pack.pack_id)):
        assert_precondition(await refusal_of(refused), "ACCOUNT_SUSPENDED", account_id=account.id)
    # What is under way can be brought to its end.
    await world.capture(open_reservations[0])
    await world.release(open_reservations[1])
    await world.pay(pending.purchase_id)
    holdings = await world.holdings(account)
    assert holdings.account.state == account_pb2.ACCOUNT_STATE_SUSPENDED
    assert holdings.balance.available_credits == 195


async def test_a_suspended_provider_takes_no_reservations_and_purchases(forgetful_world: World) -> None:
    world = forgetful_world
    provider = await world.new_provider()
    service = await world.new_service(provider=provider, trial_credits=10)
    pack = await world.new_pack(service, provider=provider)
    account = await world.new_account(service=service)
    reservation_id = await world.reserved(account, 5, key=provider.key)
    pending = await world.purchase(account, pack.pack_id)
    world.suspend_provider(provider)
    for refused in (world.reserve(account, 1, key=provider.key), world.purchase(account, pack.pack_id)):
        assert_precondition(await refusal_of(refused), "PROVIDER_SUSPENDED", provider_id=provider.id)
    await world.capture(reservation_id, 1, key=provider.key)
    await world.pay(pending.purchase_id)
    assert await world.balance(account) == (109, 0, 109)


async def test_a_retired_service_takes_no_accounts_and_purchases(world: World) -> None:
    service = await world.new_service(trial_credits=10)
    pack = await world.new_pack(service)
    account = await world.new_account(service=service)
    await world.retire(service)
    stranger = await world.new_customer()
    open_account = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
    for refused in (
        world.purchase(account, pack.pack_id),
        world.call(world.stubs.accounts.OpenAccount, open_account, stranger.key),
    ):
        assert_precondition(await refusal_of(refused), "SERVICE_RETIRED", service=service)
    await world.capture(await world.reserved(account, 10))
    assert await world.balance(account) == (0, 0, 0)


async def test_an_archived_pack_cannot_be_bought(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    bought_before = await world.purchase(account, pack.pack_id)
    await world.archive(pack.pack_id)
    refusal = await refusal_of(world.purchase(account, pack.pack_id))
    assert_precondition(refusal, "PACK_ARCHIVED", pack_id=pack.pack_id)
    await world.pay(bought_before.purchase_id)
    assert await world.balance(account) == (200, 0, 200)


async def test_a_pack_of_another_service_cannot_be_bought(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(await world.new_service())
    refusal = await refusal_of(world.purchase(account, pack.pack_id))
    assert_precondition(
        refusal,
        "PACK_OF_OTHER_SERVICE",
        pack_id=pack.pack_id,
        pack_service=pack.service,
        account_service=account.service,
    )


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize(("paid", "reason"), [(True, "PURCHASE_PAID"), (False, "PURCHASE_FAILED")])
async def test_a_payment_ends_once(world: World, paid: bool, reason: str, again: bool) -> None:
    account = await world.new_account()
    purchase = await world.purchase(account, (await world.new_pack(account.service)).pack_id)
    ended = await world.pay(purchase.purchase_id, succeeds=paid)
    balance = await world.balance(account)
    refusal = await refusal_of(world.pay(purchase.purchase_id, succeeds=again))
    assert_precondition(refusal, reason, purchase_id=purchase.purchase_id)
    assert await world.balance(account) == balance == ((200, 0, 200) if paid else (100, 0, 100))
    assert ended.purchase.state == (purchase_pb2.PURCHASE_STATE_PAID if paid else purchase_pb2.PURCHASE_STATE_FAILED)
    assert ended.purchase.HasField("pay_time") is paid


@pytest.mark.parametrize("same_provider", [True, False])
async def test_a_name_of_a_service_is_taken_once(world: World, same_provider: bool) -> None:
    service = await world.new_service()
    provider = world.provider if same_provider else world.rival
    request = catalog_pb2.CreateServiceRequest(request_id=new_id(), service=service, title="Another")
    refusal = await refusal_of(world.call(world.stubs.catalog.CreateService, request, provider.key))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SERVICE_EXISTS")
    assert refusal.metadata == {"service": service}


async def test_a_balance_does_not_leave_64_bits(own_world: World) -> None:
    world = own_world
    account = await world.new_account(trial_credits=5)
    pack = await world.new_pack(account.service, pack_credits=100)
    purchase = await world.purchase(account, pack.pack_id)
    nearly = 2**63 - 100
    for statement in (
        "UPDATE accounts SET ledger_credits = ?1 WHERE account_id = ?2",
        "UPDATE grants SET credits = ?1, remaining_credits = ?1 WHERE account_id = ?2",
        "UPDATE entries SET credits = ?1, ledger_credits_after = ?1 WHERE account_id = ?2",
    ):
        world.running.sql(statement, nearly, account.id)
    refusal = await refusal_of(world.pay(purchase.purchase_id))
    assert_precondition(refusal, "BALANCE_OVERFLOW", account_id=account.id)
    assert await world.balance(account) == (nearly, 0, nearly)
    reserved = await world.reserve(account, 10**12)
    assert reserved.reservation.state == broker_pb2.RESERVATION_STATE_ACTIVE
    one_less = await world.new_pack(account.service, pack_credits=99)
    await world.buy(account, one_less.pack_id)
    assert (await world.holdings(account)).balance.ledger_credits == 2**63 - 1
