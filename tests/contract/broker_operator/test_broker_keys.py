"""Keys: issued, listed, revoked."""

from typing import Any

import pytest
from iap.broker.v1 import admin_pb2, catalog_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import World, call, new_id, new_name


async def issue(world: World, **fields: Any) -> admin_pb2.IssueKeyResponse:
    request = admin_pb2.IssueKeyRequest(request_id=new_id(), **fields)
    return await call(world.stubs.admin.IssueKey, request, world.running.operator_key)


async def revoke(world: World, key_id: str) -> admin_pb2.Key:
    request = admin_pb2.RevokeKeyRequest(key_id=key_id)
    return (await call(world.stubs.admin.RevokeKey, request, world.running.operator_key)).key


async def listed(world: World, **fields: Any) -> list[admin_pb2.Key]:
    """Returns all keys, page by page."""
    keys: list[admin_pb2.Key] = []
    page_token = ""
    while True:
        request = admin_pb2.ListKeysRequest(page_token=page_token, **fields)
        page = await call(world.stubs.admin.ListKeys, request, world.running.operator_key)
        keys.extend(page.keys)
        page_token = page.next_page_token
        if not page_token:
            return keys


async def test_an_issued_key_works_for_its_owner_beside_the_first(world: World) -> None:
    provider = await world.new_provider()
    issued = await issue(world, provider_id=provider.id, title="Night shift")
    assert (issued.key.provider_id, issued.key.title, issued.replayed) == (provider.id, "Night shift", False)
    assert not issued.key.HasField("revoke_time")
    for key in (issued.secret, provider.key):
        made = catalog_pb2.CreateServiceRequest(request_id=new_id(), service=new_name(), title="Title")
        assert (await call(world.stubs.catalog.CreateService, made, key)).service.provider_id == provider.id


async def test_a_key_is_issued_for_a_customer_and_for_an_operator(world: World) -> None:
    account = await world.new_account()
    for_customer = await issue(world, customer_id=account.customer.id)
    assert for_customer.key.WhichOneof("owner") == "customer_id"
    for_operator = await issue(world, operator=True)
    assert (for_operator.key.operator, for_operator.key.title) == (True, "")
    request = admin_pb2.SuspendAccountRequest(account_id=account.id)
    refusal = await refusal_of(call(world.stubs.admin.SuspendAccount, request, for_customer.secret))
    assert refusal.reason == "PERMISSION_DENIED"
    await call(world.stubs.admin.SuspendAccount, request, for_operator.secret)


async def test_a_replay_gets_the_key_and_no_secret(world: World) -> None:
    provider = await world.new_provider()
    request = admin_pb2.IssueKeyRequest(request_id=new_id(), provider_id=provider.id, title="one")
    first = await call(world.stubs.admin.IssueKey, request, world.running.operator_key)
    revoked = await revoke(world, first.key.key_id)
    again = await call(world.stubs.admin.IssueKey, request, world.running.operator_key)
    assert (bool(first.secret), again.secret, again.replayed, again.key) == (True, "", True, revoked)


async def test_a_request_id_serves_one_key(world: World) -> None:
    provider, customer = await world.new_provider(), await world.new_customer()
    request = admin_pb2.IssueKeyRequest(request_id=new_id(), provider_id=provider.id, title="one")
    changes = [
        put(title="two"),
        put(title=""),
        put(provider_id=world.rival.id),
        put(customer_id=customer.id),
        put(operator=True),
    ]
    await assert_reused(world, "IssueKey", request, changes, world.running.operator_key)


async def test_a_revoked_key_is_refused_at_once_and_no_other(world: World) -> None:
    provider = await world.new_provider()
    issued = await issue(world, provider_id=provider.id)
    request = catalog_pb2.CreateServiceRequest(request_id=new_id(), service=new_name(), title="Title")
    await call(world.stubs.catalog.CreateService, request, issued.secret)
    now = world.clock.now
    revoked = await revoke(world, issued.key.key_id)
    assert revoked.revoke_time.ToDatetime(tzinfo=now.tzinfo) == now
    refusal = await refusal_of(call(world.stubs.catalog.CreateService, request, issued.secret))
    assert refusal.reason == "CREDENTIALS_INVALID"
    assert (await call(world.stubs.catalog.CreateService, request, provider.key)).replayed


async def test_revoking_twice_changes_nothing(world: World) -> None:
    issued = await issue(world, provider_id=world.rival.id)
    first = await revoke(world, issued.key.key_id)
    world.clock.move(first.revoke_time.ToDatetime() - first.create_time.ToDatetime())
    assert await revoke(world, issued.key.key_id) == first


@pytest.mark.parametrize("page_size", [0, 1, 2, 3, 1_000])
async def test_an_owner_s_keys_are_listed_oldest_first_page_by_page(world: World, page_size: int) -> None:
    provider = await world.new_provider()
    issued = [(await issue(world, provider_id=provider.id, title=str(number))).key for number in range(3)]
    issued[1] = await revoke(world, issued[1].key_id)
    keys = await listed(world, provider_id=provider.id, page_size=page_size)
    assert sorted(keys, key=lambda key: (key.create_time.ToMicroseconds(), key.key_id)) == keys
    assert all(key.provider_id == provider.id for key in keys)
    assert [key for key in keys if key.title] == sorted(issued, key=lambda key: key.key_id)
    assert len(keys) == 4


async def test_keys_of_customers_operators_and_everybody_are_listed(world: World) -> None:
    customer = await world.new_customer()
    (key,) = await listed(world, customer_id=customer.id)
    assert key.customer_id == customer.id
    operators = await listed(world, operator=True)
    assert operators
    assert all(it.operator for it in operators)
    everybody = await listed(world, page_size=1_000)
    assert key in everybody
    assert len({it.key_id for it in everybody}) == len(everybody)


async def test_a_page_token_is_for_one_owner(world: World) -> None:
    await issue(world, provider_id=world.rival.id)
    request = admin_pb2.ListKeysRequest(provider_id=world.rival.id, page_size=1)
    page = await call(world.stubs.admin.ListKeys, request, world.running.operator_key)
    other = admin_pb2.ListKeysRequest(provider_id=world.provider.id, page_size=1, page_token=page.next_page_token)
    refusal = await refusal_of(call(world.stubs.admin.ListKeys, other, world.running.operator_key))
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["page_token"])
