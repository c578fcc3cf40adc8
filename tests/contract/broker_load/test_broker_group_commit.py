"""Many calls at once: few commits, and never more credits than there are."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

from tests.contract.broker_world.batches import held_back, one_commits, queued, until, waiting
from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, new_id, new_world
from tests.databases import DatabaseKind, write_lock

ARRIVE_SECONDS = 0.05


async def reasons(calls: Sequence[Any]) -> Counter[str]:
    """Awaits calls together, and counts how they ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    ends: Counter[str] = Counter()
    for answer in answers:
        if isinstance(answer, grpc.aio.AioRpcError):
            ends[parse_error(answer).reason] += 1
        elif isinstance(answer, BaseException):
            raise answer
        else:
            ends["OK"] += 1
    return ends


def commits(world: World) -> tuple[int, int]:
    counts = world.running.broker.committer.counts
    return counts.commands, counts.commits


async def test_64_reserves_at_once_share_commits(world: World) -> None:
    accounts = [await world.new_account() for _ in range(4)]
    commands_before, commits_before = commits(world)
    with write_lock(world.running.database_url):
        calls = [asyncio.create_task(world.reserve(accounts[number % 4], 1)) for number in range(64)]
        await until_all_wait(world)
    assert await reasons(calls) == {"OK": 64}
    commands_after, commits_after = commits(world)
    assert commands_after - commands_before == 64
    # Those that found the lane free, on PostgreSQL those beside them, and the others.
    assert commits_after - commits_before <= 3
    assert [await world.balance(account) for account in accounts] == [(100, 16, 84)] * 4


async def test_1000_reserves_at_once_never_take_more_than_there_is(world: World) -> None:
    account = await world.new_account(trial_credits=400)
    ends = await reasons([world.reserve(account, 1) for _ in range(1_000)])
    assert ends == {"OK": 400, "INSUFFICIENT_CREDITS": 600}
    assert await world.balance(account) == (400, 400, 0)


async def test_captures_and_releases_at_once_add_up(world: World) -> None:
    account = await world.new_account()
    reservations = [await world.reserved(account, 1) for _ in range(90)]
    calls = [world.capture(it) if number % 3 else world.release(it) for number, it in enumerate(reservations)]
    assert await reasons(calls) == {"OK": 90}
    assert await world.balance(account) == (40, 0, 40)


async def test_capture_and_release_racing_for_one_reservation_have_one_winner(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10)
    calls = [world.capture(reservation_id) if number % 2 else world.release(reservation_id) for number in range(20)]
    ends = await reasons(calls)
    assert ends["OK"] == 1
    assert sum(ends.values()) == 20
    assert len(ends) == 2
    assert await world.balance(account) in {(90, 0, 90), (100, 0, 100)}


async def test_the_same_request_20_times_at_once_reserves_once(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    answers = await asyncio.gather(*(world.reserve(account, 30, request_id=request_id) for _ in range(20)))
    assert sum(not answer.replayed for answer in answers) == 1
    assert len({answer.reservation.reservation_id for answer in answers}) == 1
    assert await world.balance(account) == (100, 30, 70)


async def test_the_same_capture_20_times_at_once_takes_once(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 30)
    calls = [world.capture(reservation_id, 4, keep_open=True, request_id=request_id) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert sum(not answer.replayed for answer in answers) == 1
    assert {answer.captured_credits for answer in answers} == {4}
    assert await world.balance(account) == (96, 26, 70)


async def test_one_request_id_with_two_sets_of_parameters_at_once_is_taken_by_one(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    ends = await reasons([world.reserve(account, 1 + number % 2, request_id=request_id) for number in range(20)])
    assert ends == {"OK": 10, "REQUEST_ID_REUSED": 10}


async def test_a_large_reserve_refused_does_not_stop_smaller_ones_behind_it(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    _, commits_before = commits(world)
    async with held_back(world, account):
        behind = await queued(world, [world.reserve(account, amount) for amount in (11, 4, 7, 6, 1)])
    answers = await asyncio.gather(*behind, return_exceptions=True)
    assert [isinstance(answer, grpc.aio.AioRpcError) for answer in answers] == [True, False, True, False, True]
    assert await world.balance(account) == (10, 10, 0)
    assert commits(world)[1] - commits_before == 2, "what waited was committed in one batch"


async def test_commands_of_one_batch_see_each_other_in_order(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    reservation_id = await world.reserved(account, 10)
    async with held_back(world, account):
        release, reserve, late = await queued(
            world, [world.release(reservation_id), world.reserve(account, 10), world.capture(reservation_id)]
        )
    await asyncio.gather(release, reserve)
    assert await reasons([late]) == {"RESERVATION_RELEASED": 1}
    assert await world.balance(account) == (10, 10, 0)


@pytest.mark.parametrize(("batch_commands", "most_commits", "fewest_commits"), [(2_000, 2, 2), (100, 12, 11)])
async def test_a_thousand_commands_fit_in_one_batch_and_a_limit_is_kept(
    database_url: str, batch_commands: int, most_commits: int, fewest_commits: int
) -> None:
    if DatabaseKind.of(database_url) is DatabaseKind.POSTGRESQL:
        # Two batches go side by side, and share what waits.
        most_commits += 2
    async with running_broker(database_url, batch_commands=batch_commands) as running:
        world = await new_world(running)
        accounts = [await world.new_account() for _ in range(20)]
        _, commits_before = commits(world)
        with write_lock(running.database_url):
            first = asyncio.create_task(world.reserve(accounts[0], 1))
            await until(lambda: one_commits(world))
            calls = [asyncio.create_task(world.reserve(accounts[n % 20], 1)) for n in range(1_000)]
            await until_all_wait(world)
        await first
        assert await reasons(calls) == {"OK": 1_000}
        assert fewest_commits <= commits(world)[1] - commits_before <= most_commits
        assert await world.balance(accounts[7]) == (100, 50, 50)


async def until_all_wait(world: World) -> None:
    """Returns when no more commands come to wait, while nothing can be committed."""
    now, times_unchanged = -1, 0
    while times_unchanged < 10:
        await asyncio.sleep(ARRIVE_SECONDS)
        before, now = now, waiting(world)
        times_unchanged = times_unchanged + 1 if now == before else 0


async def test_several_shards_keep_every_account_right(new_database: Callable[[], str]) -> None:
    async with running_broker(new_database(), shards=4) as running:
        world = await new_world(running)
        accounts = [await world.new_account() for _ in range(12)]
        assert len(running.sql("SELECT DISTINCT shard_id FROM accounts")) > 1
        calls = [world.reserve(accounts[number % 12], 30) for number in range(60)]
        assert await reasons(calls) == {"OK": 36, "INSUFFICIENT_CREDITS": 24}
        assert [await world.balance(account) for account in accounts] == [(100, 90, 10)] * 12


async def test_trial_credits_come_once_across_shards(new_database: Callable[[], str]) -> None:
    async with running_broker(new_database(), shards=4) as running:
        world = await new_world(running)
        service, customer = await world.new_service(trial_credits=10), await world.new_customer()
        opening = (world.new_account(service=service, customer=customer) for _ in range(16))
        accounts = await asyncio.gather(*opening)
        assert sorted([(await world.balance(account))[0] for account in accounts]) == [0] * 15 + [10]
