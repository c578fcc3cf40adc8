"""What the operator stops, and lets go on again: accounts, providers; and what providers pay."""

import pytest
from iap.broker.v1 import account_pb2, admin_pb2

from tests.contract.broker_world.operations import charge, charged, extend, refund, resume_account, suspend_account
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import Party, World, call

ACTIVE = account_pb2.ACCOUNT_STATE_ACTIVE
SUSPENDED = account_pb2.ACCOUNT_STATE_SUSPENDED


async def test_a_suspended_account_takes_nothing_new_and_ends_what_is_open(world: World) -> None:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    first, second = [await world.reserved(account, 5) for _ in range(2)]
    done = await charged(world, account, 5)
    pending = await world.purchase(account, pack.pack_id)
    shown = await suspend_account(world, account, "Fraud")
    assert (shown.account_id, shown.state) == (account.id, SUSPENDED)
    for refused in (
        world.reserve(account, 1),
        charge(world, account, 1),
        extend(world, first, 1),
        world.purchase(account, pack.pack_id),
    ):
        assert (await refusal_of(refused)).reason == "ACCOUNT_SUSPENDED"
    await world.capture(first, 2)
    await world.release(second)
    await refund(world, done)
    await world.pay(pending.purchase_id)
    assert await world.balance(account) == (198, 0, 198)
    assert (await world.holdings(account)).account == shown


async def test_suspending_twice_changes_nothing_and_keeps_the_first_reason(world: World) -> None:
    account = await world.new_account()
    first = await suspend_account(world, account, "Fraud")
    assert await suspend_account(world, account, "Another") == first
    stored = world.running.sql("SELECT state, state_reason FROM accounts WHERE account_id = ?", account.id)
    assert stored == [("SUSPENDED", "Fraud")]


async def test_a_resumed_account_can_be_used_again(world: World) -> None:
    account = await world.new_account()
    await suspend_account(world, account)
    for _ in range(2):
        assert (await resume_account(world, account)).state == ACTIVE
    await charge(world, account, 100)
    assert await world.balance(account) == (0, 0, 0)


async def provider_call(world: World, rpc: str, provider: Party, **fields: int) -> admin_pb2.Provider:
    """Calls an RPC that changes a provider; returns the provider as it then stands."""
    request = getattr(admin_pb2, f"{rpc}Request")(provider_id=provider.id, **fields)
    answer = await call(world.stubs.method(rpc), request, world.running.operator_key)
    provider_shown: admin_pb2.Provider = answer.provider
    return provider_shown


async def test_a_suspended_provider_takes_nothing_new_at_once_and_goes_on_when_resumed(world: World) -> None:
    provider = await world.new_provider()
    service = await world.new_service(provider=provider, trial_credits=50)
    account = await world.new_account(service=service)
    pack = await world.new_pack(service, provider=provider)
    first = await world.reserved(account, 5, key=provider.key)
    for _ in range(2):
        shown = await provider_call(world, "SuspendProvider", provider)
        assert (shown.provider_id, shown.state) == (provider.id, admin_pb2.PROVIDER_STATE_SUSPENDED)
    for refused in (
        world.reserve(account, 1, key=provider.key),
        charge(world, account, 1, key=provider.key),
        extend(world, first, 1, key=provider.key),
        world.purchase(account, pack.pack_id),
    ):
        refusal = await refusal_of(refused)
        assert (refusal.reason, refusal.metadata) == ("PROVIDER_SUSPENDED", {"provider_id": provider.id})
    await world.capture(first, key=provider.key)
    await refund(world, first, 1, key=provider.key)
    for _ in range(2):
        assert (await provider_call(world, "ResumeProvider", provider)).state == admin_pb2.PROVIDER_STATE_ACTIVE
    await charge(world, account, 1, key=provider.key)
    assert await world.balance(account) == (45, 0, 45)


@pytest.mark.parametrize("rate", [0, 1_000, 10_000])
async def test_a_commission_counts_for_purchases_to_come(world: World, rate: int) -> None:
    provider = await world.new_provider()
    service = await world.new_service(provider=provider)
    account = await world.new_account(service=service)
    pack = await world.new_pack(service, provider=provider)
    before = await world.purchase(account, pack.pack_id)
    shown = await provider_call(world, "SetCommission", provider, commission_basis_points=rate)
    assert (shown.HasField("commission_basis_points"), shown.commission_basis_points) == (True, rate)
    after = await world.purchase(account, pack.pack_id)
    assert (before.commission.units, before.commission.nanos) == (2, 500_000_000)
    assert (after.commission.units, after.provider_share.units) == (rate // 1_000, 10 - rate // 1_000)
    assert (await world.pay(before.purchase_id)).purchase.commission == before.commission
    assert not (await provider_call(world, "SetCommission", provider)).HasField("commission_basis_points")
    assert (await world.purchase(account, pack.pack_id)).commission == before.commission
