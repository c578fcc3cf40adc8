"""The same request again: the amounts of the first outcome, and the resource as it now stands."""

from datetime import timedelta

import pytest
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, purchase_pb2

from tests.contract.broker_world.world import World, amounts, call, new_id, new_name

ACTIVE = broker_pb2.RESERVATION_STATE_ACTIVE
CAPTURED = broker_pb2.RESERVATION_STATE_CAPTURED
RELEASED = broker_pb2.RESERVATION_STATE_RELEASED
EXPIRED = broker_pb2.RESERVATION_STATE_EXPIRED


async def test_a_first_answer_is_no_replay(world: World) -> None:
    account = await world.new_account()
    reserved = await world.reserve(account, 5)
    assert not reserved.replayed
    assert not (await world.capture(reserved.reservation.reservation_id, 1, keep_open=True)).replayed
    assert not (await world.release(reserved.reservation.reservation_id)).replayed


async def test_reserve_gets_the_reservation_as_it_now_stands(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    first = await world.reserve(account, 5, request_id=request_id)
    again = await world.reserve(account, 5, request_id=request_id)
    assert (again.replayed, again.reservation, again.balance) == (True, first.reservation, first.balance)
    world.clock.move(timedelta(seconds=1))
    captured = await world.capture(first.reservation.reservation_id, 2)
    again = await world.reserve(account, 5, request_id=request_id)
    assert (again.replayed, again.reservation) == (True, captured.reservation)
    assert (again.reservation.state, again.reservation.captured_credits) == (CAPTURED, 2)
    assert amounts(again.balance) == (98, 0, 98)


async def test_reserve_after_expiry_gets_the_expired_reservation(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    ttl = timedelta(seconds=10)
    first = await world.reserve(account, 5, request_id=request_id, ttl=ttl)
    world.clock.move(ttl)
    again = await world.reserve(account, 5, request_id=request_id, ttl=ttl)
    assert (again.replayed, again.reservation.state) == (True, EXPIRED)
    assert again.reservation.reservation_id == first.reservation.reservation_id
    assert again.reservation.resolve_time == first.reservation.expire_time
    assert (again.reservation.released_credits, amounts(again.balance)) == (5, (100, 0, 100))


async def test_reserve_is_answered_again_when_the_credits_are_gone(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    first = await world.reserve(account, 100, request_id=request_id)
    assert (await world.reserve(account, 100, request_id=request_id)).reservation == first.reservation


@pytest.mark.parametrize("keep_open", [False, True])
async def test_capture_gets_the_amounts_of_the_first(world: World, keep_open: bool) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5)
    first = await world.capture(reservation_id, 2, keep_open=keep_open, request_id=request_id)
    assert (first.captured_credits, first.released_credits) == (2, 0 if keep_open else 3)
    if keep_open:
        await world.capture(reservation_id, 1, keep_open=True)
        await world.release(reservation_id)
    await world.capture(await world.reserved(account, 10))
    world.clock.move(timedelta(days=40))
    again = await world.capture(reservation_id, 2, keep_open=keep_open, request_id=request_id)
    assert again.replayed
    assert (again.captured_credits, again.released_credits) == (first.captured_credits, first.released_credits)
    assert again.reservation == await world.reservation(reservation_id)
    assert again.reservation.state == (RELEASED if keep_open else CAPTURED)
    assert amounts(again.balance) == await world.balance(account) == ((87, 0, 87) if keep_open else (88, 0, 88))


async def test_capture_of_a_session_that_has_expired_since_is_answered_again(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5, ttl=timedelta(seconds=10))
    await world.capture(reservation_id, 2, keep_open=True, request_id=request_id)
    world.clock.move(timedelta(seconds=10))
    again = await world.capture(reservation_id, 2, keep_open=True, request_id=request_id)
    assert (again.replayed, again.captured_credits, again.released_credits) == (True, 2, 0)
    assert (again.reservation.state, again.reservation.released_credits) == (EXPIRED, 3)
    assert amounts(again.balance) == (98, 0, 98)


async def test_release_gets_the_reservation_and_balance_as_they_now_stand(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5)
    first = await world.release(reservation_id, reason="busy", request_id=request_id)
    await world.capture(await world.reserved(account, 10))
    again = await world.release(reservation_id, reason="busy", request_id=request_id)
    assert (again.replayed, again.reservation) == (True, first.reservation)
    assert amounts(again.balance) == (90, 0, 90)


async def test_a_suspended_account_still_gets_its_replays(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    pack = await world.new_pack(account.service)
    reserved = await world.reserve(account, 5, request_id=request_id)
    purchase = await world.purchase(account, pack.pack_id, request_id=request_id)
    world.suspend_account(account)
    again = await world.reserve(account, 5, request_id=request_id)
    assert (again.replayed, again.reservation) == (True, reserved.reservation)
    assert await world.purchase(account, pack.pack_id, request_id=request_id) == purchase


async def test_a_suspended_provider_still_gets_its_replays(forgetful_world: World) -> None:
    world = forgetful_world
    provider = await world.new_provider()
    service = await world.new_service(provider=provider, trial_credits=9)
    account, request_id = await world.new_account(service=service), new_id()
    pack = await world.new_pack(service, provider=provider)
    await world.reserve(account, 5, request_id=request_id, key=provider.key)
    purchase = await world.purchase(account, pack.pack_id, request_id=request_id)
    world.suspend_provider(provider)
    assert (await world.reserve(account, 5, request_id=request_id, key=provider.key)).replayed
    assert await world.purchase(account, pack.pack_id, request_id=request_id) == purchase


async def test_open_account_gets_an_empty_token_and_the_balance_as_it_now_stands(world: World) -> None:
    service, customer = await world.new_service(trial_credits=20), await world.new_customer()
    request = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
    method = world.stubs.accounts.OpenAccount
    first = await call(method, request, customer.key)
    assert (bool(first.account_token), first.replayed, amounts(first.balance)) == (True, False, (20, 0, 20))
    reserve = broker_pb2.ReserveRequest(request_id=new_id(), account_token=first.account_token, credits=8)
    await call(world.stubs.broker.Reserve, reserve, world.provider.key)
    await world.retire(service)
    again = await call(method, request, customer.key)
    assert (again.account_token, again.replayed, again.account) == ("", True, first.account)
    assert amounts(again.balance) == (20, 8, 12)
    # The first token is still the account's only one.
    assert (await call(world.stubs.broker.Reserve, reserve, world.provider.key)).replayed


async def test_open_account_again_shows_what_has_expired_since(world: World) -> None:
    service, customer = await world.new_service(trial_credits=20), await world.new_customer()
    request = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
    first = await call(world.stubs.accounts.OpenAccount, request, customer.key)
    reserve = broker_pb2.ReserveRequest(request_id=new_id(), account_token=first.account_token, credits=8)
    await call(world.stubs.broker.Reserve, reserve, world.provider.key)
    world.clock.move(timedelta(minutes=15))
    again = await call(world.stubs.accounts.OpenAccount, request, customer.key)
    assert amounts(again.balance) == (20, 0, 20)


async def test_create_purchase_gets_the_purchase_as_it_now_stands(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    request = purchase_pb2.CreatePurchaseRequest(request_id=new_id(), pack_id=pack.pack_id, account_token=account.token)
    method = world.stubs.purchases.CreatePurchase
    first = await call(method, request)
    assert first.checkout_url == f"sandbox:{first.purchase.purchase_id}"
    by_id = purchase_pb2.CreatePurchaseRequest(
        request_id=request.request_id, pack_id=pack.pack_id, account_id=account.id
    )
    again = await call(method, by_id, account.customer.key)
    assert (again.replayed, again.purchase, again.checkout_url) == (True, first.purchase, first.checkout_url)
    paid = await world.pay(first.purchase.purchase_id)
    await world.archive(pack.pack_id)
    again = await call(method, request)
    assert (again.replayed, again.purchase, again.checkout_url) == (True, paid.purchase, "")


async def test_create_purchase_is_answered_again_when_the_service_is_retired(world: World) -> None:
    service = await world.new_service()
    account, pack, request_id = await world.new_account(service=service), await world.new_pack(service), new_id()
    first = await world.purchase(account, pack.pack_id, request_id=request_id)
    await world.retire(service)
    assert await world.purchase(account, pack.pack_id, request_id=request_id) == first


@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_payment_told_twice_counts_once(world: World, succeeds: bool) -> None:
    account, request_id = await world.new_account(), new_id()
    pack = await world.new_pack(account.service)
    purchase = await world.purchase(account, pack.pack_id)
    first = await world.pay(purchase.purchase_id, succeeds=succeeds, request_id=request_id)
    world.clock.move(timedelta(seconds=1))
    again = await world.pay(purchase.purchase_id, succeeds=succeeds, request_id=request_id)
    assert (first.replayed, again.replayed, again.purchase) == (False, True, first.purchase)
    assert (await world.balance(account))[0] == (200 if succeeds else 100)


async def test_create_service_gets_the_service_as_it_now_stands(world: World) -> None:
    request = catalog_pb2.CreateServiceRequest(request_id=new_id(), service=new_name(), title="Title")
    first = await call(world.stubs.catalog.CreateService, request, world.provider.key)
    await world.retire(request.service)
    again = await call(world.stubs.catalog.CreateService, request, world.provider.key)
    first.service.state = catalog_pb2.SERVICE_STATE_RETIRED
    assert (first.replayed, again.replayed, again.service) == (False, True, first.service)


async def test_create_pack_gets_the_pack_as_it_now_stands(world: World) -> None:
    service = await world.new_service()
    pack = await world.new_pack(service)
    request = catalog_pb2.CreatePackRequest(
        request_id=new_id(), service=service, title="Title", credits=5, price=pack.price
    )
    first = await call(world.stubs.catalog.CreatePack, request, world.provider.key)
    archived = await world.archive(first.pack.pack_id)
    assert archived.state == catalog_pb2.PACK_STATE_ARCHIVED
    assert await world.archive(first.pack.pack_id) == archived, "archiving twice changes nothing"
    again = await call(world.stubs.catalog.CreatePack, request, world.provider.key)
    assert (first.replayed, again.replayed, again.pack) == (False, True, archived)


async def test_registrations_show_their_key_once(world: World) -> None:
    operator = world.running.operator_key
    for_provider = admin_pb2.RegisterProviderRequest(request_id=new_id(), name="Name")
    provider = await call(world.stubs.admin.RegisterProvider, for_provider, operator)
    provider_again = await call(world.stubs.admin.RegisterProvider, for_provider, operator)
    assert (bool(provider.provider_key), provider_again.provider_key) == (True, "")
    assert (provider_again.replayed, provider_again.provider) == (True, provider.provider)
    for_customer = admin_pb2.RegisterCustomerRequest(request_id=new_id(), name="Name")
    customer = await call(world.stubs.admin.RegisterCustomer, for_customer, operator)
    customer_again = await call(world.stubs.admin.RegisterCustomer, for_customer, operator)
    assert (bool(customer.customer_key), customer_again.customer_key) == (True, "")
    assert (customer_again.replayed, customer_again.customer) == (True, customer.customer)
