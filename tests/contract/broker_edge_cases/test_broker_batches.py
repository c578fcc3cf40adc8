"""What goes into one transaction: one account many times, or nothing at all; and many kinds of takers at once."""

import asyncio
from collections import Counter

import pytest

from broker_service.engine.committer import DeadlinePassedError
from tests.contract.broker_edge_cases.commands import charge_within
from tests.contract.broker_world.batches import answer_or_reason, counts, held_back, in_one_batch, queued
from tests.contract.broker_world.operations import charge, charged, extend, grant_credits, refund
from tests.contract.broker_world.world import World

GROUPS = 10


async def test_one_account_many_times_in_one_batch(world: World) -> None:
    account = await world.new_account(trial_credits=1_000)
    calls = []
    for _ in range(GROUPS):
        captured, released, extended = [await world.reserved(account, 3) for _ in range(3)]
        calls += [
            world.capture(captured, 1),
            world.reserve(account, 1),
            world.release(released),
            charge(world, account, 7),
            extend(world, extended, 2),
            refund(world, await charged(world, account, 2), 1),
            grant_credits(world, account, 9),
        ]
    answers = await in_one_batch(world, calls, account=account)
    assert not any(answer.replayed for answer in answers)
    # Before the batch 20 were charged; in it 10 captured, 70 charged, 10 refunded and 90 granted.
    assert await world.balance(account) == (1_000, 60, 940)
    first = [(it.balance.ledger_credits, it.balance.reserved_credits) for it in answers[:7]]
    assert first == [(979, 87), (979, 88), (979, 85), (972, 85), (972, 87), (973, 87), (982, 87)]
    entries = await world.entries(account)
    assert len(entries) == 1 + 5 * GROUPS
    assert sum(entry.credits for entry in entries) == entries[-1].ledger_credits_after == 1_000


async def test_a_batch_that_is_empty_commits_nothing_and_stops_nothing(world: World) -> None:
    account = await world.new_account()
    commands, commits = counts(world)
    async with held_back(world, account):
        late = await queued(world, [charge_within(world, account, 0.05) for _ in range(5)])
        await asyncio.sleep(0.1)
    for ended in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(ended, DeadlinePassedError)
    assert counts(world) == (commands + 1, commits + 1), "only what held them back"
    await charge(world, account, 1)
    assert await world.balance(account) == (99, 0, 99)


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "as they come"])
async def test_reservers_chargers_and_extenders_never_take_more_than_there_is(world: World, together: bool) -> None:
    account = await world.new_account()
    sessions = [await world.reserved(account, 1) for _ in range(10)]
    takers = [
        call
        for number in range(60)
        for call in (world.reserve(account, 2), charge(world, account, 2), extend(world, sessions[number % 10], 2))
    ]
    if together:
        answers = await in_one_batch(world, takers, account=account)
    else:
        answers = [answer_or_reason(end) for end in await asyncio.gather(*takers, return_exceptions=True)]
    ends = Counter(answer if isinstance(answer, str) else "OK" for answer in answers)
    assert ends == {"OK": 45, "INSUFFICIENT_CREDITS": 135}
    assert (await world.balance(account))[2] == 0
