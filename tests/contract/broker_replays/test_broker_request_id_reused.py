"""The same request_id with any one parameter changed is refused, and changes nothing."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, purchase_pb2

from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import World, call, new_id, new_name


async def test_reserve(world: World) -> None:
    account = await world.new_account()
    request = broker_pb2.ReserveRequest(
        request_id=new_id(),
        account_token=account.token,
        credits=5,
        ttl=Duration(seconds=60),
        description="one",
        metadata={"job": "1"},
    )
    changes = [
        put(credits=6),
        put(credits=101),
        put(ttl=None),
        put(ttl=Duration(seconds=61)),
        put(ttl=Duration(seconds=60, nanos=1_000)),
        put(description="two"),
        put(description=""),
        lambda it: it.metadata.update({"job": "2"}),
        lambda it: it.metadata.update({"task": "1"}),
        lambda it: it.metadata.clear(),
        lambda it: (it.metadata.clear(), it.metadata.update({"1": "job"})),
    ]
    await assert_reused(world, "Reserve", request, changes, world.provider.key)
    assert await world.balance(account) == (100, 5, 95)


async def test_reserve_with_the_default_ttl_spelled_out(world: World) -> None:
    account = await world.new_account(service=await world.new_service(trial_credits=9, default_ttl=timedelta(hours=1)))
    request = broker_pb2.ReserveRequest(request_id=new_id(), account_token=account.token, credits=5)
    await assert_reused(world, "Reserve", request, [put(ttl=Duration(seconds=3_600))], world.provider.key)


async def test_capture(world: World) -> None:
    account = await world.new_account()
    reservation_id, other = await world.reserved(account, 5), await world.reserved(account, 5)
    request = broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=reservation_id, credits=2, keep_open=True)
    changes = [
        put(credits=3),
        put(credits=0),
        put(credits=None),
        put(credits=10**12),
        put(keep_open=False),
        put(reservation_id=other),
    ]
    await assert_reused(world, "Capture", request, changes, world.provider.key)
    assert await world.balance(account) == (98, 8, 90)


async def test_capture_of_all_with_the_amount_spelled_out(world: World) -> None:
    account = await world.new_account()
    request = broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=await world.reserved(account, 5))
    await assert_reused(world, "Capture", request, [put(credits=5), put(credits=0)], world.provider.key)


async def test_release(world: World) -> None:
    account = await world.new_account()
    reservation_id, other = await world.reserved(account, 5), await world.reserved(account, 5)
    request = broker_pb2.ReleaseRequest(request_id=new_id(), reservation_id=reservation_id, reason="no route")
    changes = [put(reason="busy"), put(reason=""), put(reservation_id=other)]
    await assert_reused(world, "Release", request, changes, world.provider.key)
    assert await world.balance(account) == (100, 5, 95)


async def test_open_account(world: World) -> None:
    customer = await world.new_customer()
    request = account_pb2.OpenAccountRequest(request_id=new_id(), service=await world.new_service(trial_credits=5))
    other = await world.new_service(trial_credits=5)
    await assert_reused(world, "OpenAccount", request, [put(service=other)], customer.key)


async def test_create_purchase(world: World) -> None:
    account = await world.new_account()
    packs = [await world.new_pack(account.service) for _ in range(2)]
    request = purchase_pb2.CreatePurchaseRequest(
        request_id=new_id(),
        pack_id=packs[0].pack_id,
        account_token=account.token,
        return_url="https://app.example/back",
    )
    foreign = await world.new_pack(await world.new_service())
    changes = [
        put(pack_id=packs[1].pack_id),
        put(pack_id=foreign.pack_id),
        put(return_url="https://app.example/"),
        put(return_url=""),
    ]
    await assert_reused(world, "CreatePurchase", request, changes)


async def test_complete_sandbox_payment(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    purchases = [await world.purchase(account, pack.pack_id) for _ in range(2)]
    request = purchase_pb2.CompleteSandboxPaymentRequest(
        request_id=new_id(), purchase_id=purchases[0].purchase_id, outcome=purchase_pb2.SANDBOX_OUTCOME_SUCCEEDED
    )
    changes = [put(outcome=purchase_pb2.SANDBOX_OUTCOME_FAILED), put(purchase_id=purchases[1].purchase_id)]
    await assert_reused(world, "CompleteSandboxPayment", request, changes)
    assert await world.balance(account) == (200, 0, 200)


async def test_create_service(world: World) -> None:
    request = catalog_pb2.CreateServiceRequest(
        request_id=new_id(),
        service=new_name(),
        title="Title",
        description="Description",
        unit_name="page",
        trial_credits=5,
        default_ttl=Duration(seconds=60),
        max_ttl=Duration(seconds=600),
    )
    changes = [
        put(service=new_name()),
        put(service=await world.new_service()),
        put(title="Other"),
        put(description=""),
        put(unit_name="sheet"),
        put(trial_credits=0),
        put(default_ttl=None),
        put(default_ttl=Duration(seconds=61)),
        put(max_ttl=None),
        put(max_ttl=Duration(seconds=601)),
    ]
    await assert_reused(world, "CreateService", request, changes, world.provider.key)


async def test_create_pack(world: World) -> None:
    service, other = [await world.new_service() for _ in range(2)]
    request = catalog_pb2.CreatePackRequest(
        request_id=new_id(),
        service=service,
        title="Title",
        credits=5,
        price=Money(currency_code="EUR", units=5),
        validity=Duration(seconds=60),
    )
    changes = [
        put(service=other),
        put(title="Other"),
        put(credits=6),
        put(price=Money(currency_code="EUR", units=5, nanos=10_000_000)),
        put(price=Money(currency_code="USD", units=5)),
        put(price=Money(currency_code="JPY", units=500)),
        put(validity=None),
        put(validity=Duration(seconds=61)),
    ]
    await assert_reused(world, "CreatePack", request, changes, world.provider.key)


async def test_register_provider(world: World) -> None:
    request = admin_pb2.RegisterProviderRequest(request_id=new_id(), name="Name", commission_basis_points=2_500)
    changes = [put(name="Other"), put(commission_basis_points=None), put(commission_basis_points=0)]
    await assert_reused(world, "RegisterProvider", request, changes, world.running.operator_key)


async def test_register_customer(world: World) -> None:
    request = admin_pb2.RegisterCustomerRequest(request_id=new_id(), name="Name", email="a@example.com")
    changes = [put(name="Other"), put(email="b@example.com"), put(email="")]
    await assert_reused(world, "RegisterCustomer", request, changes, world.running.operator_key)


@pytest.mark.parametrize("rpc", ["Release", "Reserve"])
async def test_another_rpc_may_use_the_same_request_id(world: World, rpc: str) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5)
    await world.capture(reservation_id, 1, keep_open=True, request_id=request_id)
    if rpc == "Release":
        assert not (await world.release(reservation_id, request_id=request_id)).replayed
    else:
        assert not (await world.reserve(account, 5, request_id=request_id)).replayed


async def test_another_account_may_use_the_same_request_id(world: World) -> None:
    request_id = new_id()
    accounts = [await world.new_account() for _ in range(2)]
    reservations = [await world.reserve(account, 5, request_id=request_id) for account in accounts]
    assert [it.replayed for it in reservations] == [False, False]
    captures = [await world.capture(it.reservation.reservation_id, request_id=request_id) for it in reservations]
    assert [it.replayed for it in captures] == [False, False]
    assert [await world.balance(account) for account in accounts] == [(95, 0, 95)] * 2


async def test_another_customer_or_provider_may_use_the_same_request_id(world: World) -> None:
    request_id, service = new_id(), await world.new_service(trial_credits=5)
    opened = account_pb2.OpenAccountRequest(request_id=request_id, service=service)
    answers = [await call(world.stubs.accounts.OpenAccount, opened, (await world.new_customer()).key) for _ in range(2)]
    assert [it.replayed for it in answers] == [False, False]
    assert all(it.account_token and it.balance.ledger_credits == 5 for it in answers)
    for provider in (world.provider, world.rival):
        made = catalog_pb2.CreateServiceRequest(request_id=request_id, service=new_name(), title="Title")
        assert not (await call(world.stubs.catalog.CreateService, made, provider.key)).replayed
