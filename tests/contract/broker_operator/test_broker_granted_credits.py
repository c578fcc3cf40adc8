"""Credits that the operator gives."""

from datetime import timedelta

import pytest
from iap.broker.v1 import account_pb2, admin_pb2

from tests.contract.broker_world.operations import charge, grant_credits, suspend_account, timestamp
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.reuse import assert_reused, put
from tests.contract.broker_world.world import World, amounts, new_id

TRIAL = account_pb2.GRANT_KIND_TRIAL
PROMOTIONAL = account_pb2.GRANT_KIND_PROMOTIONAL
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("asked", "kind", "entry_kind"),
    [
        (account_pb2.GRANT_KIND_UNSPECIFIED, PROMOTIONAL, account_pb2.ENTRY_KIND_PROMOTIONAL),
        (PROMOTIONAL, PROMOTIONAL, account_pb2.ENTRY_KIND_PROMOTIONAL),
        (TRIAL, TRIAL, account_pb2.ENTRY_KIND_TRIAL),
    ],
)
async def test_granted_credits_are_there_at_once(
    world: World,
    asked: "account_pb2.GrantKind",
    kind: "account_pb2.GrantKind",
    entry_kind: "account_pb2.EntryKind",
) -> None:
    account = await world.new_account(trial_credits=0)
    answer = await grant_credits(world, account, 5, kind=asked, reason="Sorry")
    grant = answer.grant
    assert (grant.kind, grant.credits, grant.remaining_credits, grant.priority) == (kind, 5, 5, 100)
    assert (grant.purchase_id, grant.HasField("expire_time")) == ("", False)
    assert (amounts(answer.balance), answer.replayed) == ((5, 0, 5), False)
    assert list((await world.holdings(account)).grants) == [grant]
    (entry,) = await world.entries(account)
    assert (entry.kind, entry.credits, entry.description) == (entry_kind, 5, "Sorry")


async def test_granted_credits_are_used_by_their_priority(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    last = (await grant_credits(world, account, 5, priority=1_000)).grant
    first = (await grant_credits(world, account, 5, priority=0)).grant
    assert [grant.grant_id for grant in (await world.holdings(account)).grants][::2] == [first.grant_id, last.grant_id]
    await charge(world, account, 16)
    assert [(it.grant_id, it.remaining_credits) for it in (await world.holdings(account)).grants] == [
        (last.grant_id, 4)
    ]


async def test_granted_credits_go_at_their_instant(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    expire_time = world.clock.now + HOUR
    grant = (await grant_credits(world, account, 5, expire_time=expire_time)).grant
    assert grant.expire_time == timestamp(expire_time)
    world.clock.move(HOUR - TICK)
    assert await world.balance(account) == (5, 0, 5)
    world.clock.move(TICK)
    assert await world.balance(account) == (0, 0, 0)


@pytest.mark.parametrize("ago", [timedelta(0), TICK, timedelta(days=9_000)])
async def test_credits_that_have_expired_already_are_not_granted(world: World, ago: timedelta) -> None:
    account = await world.new_account()
    refusal = await refusal_of(grant_credits(world, account, 5, expire_time=world.clock.now - ago))
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["expire_time"])
    assert await world.balance(account) == (100, 0, 100)


async def test_a_suspended_account_is_granted_credits(world: World) -> None:
    account = await world.new_account()
    await suspend_account(world, account)
    assert amounts((await grant_credits(world, account, 10**12)).balance) == (10**12 + 100, 0, 10**12 + 100)


async def test_a_replay_gets_the_grant_as_it_now_stands_even_spent_or_expired(world: World) -> None:
    account, request_id, expire_time = await world.new_account(trial_credits=0), new_id(), world.clock.now + HOUR
    first = await grant_credits(world, account, 5, expire_time=expire_time, request_id=request_id)
    await world.reserve(account, 3)
    again = await grant_credits(world, account, 5, expire_time=expire_time, request_id=request_id)
    first.grant.reserved_credits = 3
    assert (again.replayed, again.grant, amounts(again.balance)) == (True, first.grant, (5, 3, 2))
    world.clock.move(HOUR)
    again = await grant_credits(world, account, 5, expire_time=expire_time, request_id=request_id)
    assert (again.replayed, again.grant.remaining_credits, amounts(again.balance)) == (True, 0, (0, 0, 0))


async def test_a_request_id_serves_one_grant(world: World) -> None:
    account, now = await world.new_account(), world.clock.now
    request = admin_pb2.GrantCreditsRequest(
        request_id=new_id(),
        account_id=account.id,
        credits=5,
        kind=PROMOTIONAL,
        priority=7,
        expire_time=timestamp(now + HOUR),
        reason="one",
    )
    changes = [
        put(credits=6),
        put(kind=TRIAL),
        put(priority=8),
        put(priority=None),
        put(expire_time=None),
        put(expire_time=timestamp(now + HOUR + TICK)),
        put(expire_time=timestamp(now)),
        put(reason="two"),
    ]
    await assert_reused(world, "GrantCredits", request, changes, world.running.operator_key)
    assert await world.balance(account) == (105, 0, 105)


async def test_another_account_may_have_the_same_request_id(world: World) -> None:
    request_id = new_id()
    for account in (await world.new_account(), await world.new_account()):
        assert not (await grant_credits(world, account, 5, request_id=request_id)).replayed
        assert await world.balance(account) == (105, 0, 105)


async def test_a_grant_does_not_lift_a_balance_out_of_64_bits(own_world: World) -> None:
    world = own_world
    account = await world.new_account(trial_credits=5)
    nearly = 2**63 - 2
    for statement in (
        "UPDATE accounts SET ledger_credits = ?1 WHERE account_id = ?2",
        "UPDATE grants SET credits = ?1, remaining_credits = ?1 WHERE account_id = ?2",
        "UPDATE entries SET credits = ?1, ledger_credits_after = ?1 WHERE account_id = ?2",
    ):
        world.running.sql(statement, nearly, account.id)
    refusal = await refusal_of(grant_credits(world, account, 2))
    assert (refusal.reason, refusal.metadata) == ("BALANCE_OVERFLOW", {"account_id": account.id})
    assert (await grant_credits(world, account, 1)).balance.ledger_credits == 2**63 - 1
