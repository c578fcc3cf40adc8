"""A lost answer, a cancelled call, and a deadline that passes while the command waits: for every kind of request."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from iap.broker.v1 import broker_pb2

from broker_service.engine.committer import DeadlinePassedError
from tests.chaos.movements import MOVEMENTS, SECRET_RPCS, Movement
from tests.contract.broker_edge_cases.commands import charge_within
from tests.contract.broker_world.batches import held_back, one_commits, queued, until, waiting
from tests.contract.broker_world.world import World, new_id
from tests.databases import write_lock

# A rotation goes on when its caller leaves: a token that has leaked is to be stopped.
GOES_ON = "RotateAccountToken"
HURRY_SECONDS = 1.0


def send(world: World, movement: Movement, *, timeout: float | None = None) -> Any:
    """Sends a request and returns the call, which can be cancelled."""
    metadata = (("authorization", f"Bearer {movement.key}"),) if movement.key else ()
    return world.stubs.method(movement.rpc)(movement.request, metadata=metadata, timeout=timeout)


async def assert_undone(world: World, movement: Movement) -> None:
    """Holds a request to having done nothing, by its first answer, and then to being done once."""
    answer = await movement.send(world)
    assert not answer.replayed
    await movement.assert_done_once(world, answer)


async def code_of(call: Any) -> grpc.StatusCode:
    code: grpc.StatusCode = await call.code()
    return code


@pytest.mark.parametrize("name", MOVEMENTS)
async def test_a_lost_answer_is_found_by_the_retry(world: World, name: str) -> None:
    movement = await MOVEMENTS[name](world)
    with write_lock(world.running.database_url):
        lost = send(world, movement)
        await until(lambda: one_commits(world))
        assert lost.cancel()
        assert await code_of(lost) is grpc.StatusCode.CANCELLED
        await asyncio.sleep(0.05)
    again = await movement.send(world)
    assert again.replayed
    if movement.rpc in SECRET_RPCS:
        assert not again.account_token, "nobody has seen the secret"
    else:
        await movement.assert_done_once(world, again)


async def test_a_call_that_is_cancelled_while_it_waits_does_nothing(world: World) -> None:
    movements = [await make(world) for name, make in MOVEMENTS.items() if name != GOES_ON]
    async with held_back(world, await world.new_account()):
        calls = [send(world, movement) for movement in movements]
        await until(lambda: waiting(world) == len(movements))
        assert all(call.cancel() for call in calls)
        await until(lambda: waiting(world) == 0)
    for movement in movements:
        await assert_undone(world, movement)


async def test_a_call_whose_deadline_passes_while_it_waits_does_nothing(world: World) -> None:
    movements = [await make(world) for make in MOVEMENTS.values()]
    async with held_back(world, await world.new_account()):
        calls = [send(world, movement, timeout=HURRY_SECONDS) for movement in movements]
        await until(lambda: waiting(world) == len(movements))
        assert {await code_of(call) for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        # gRPC ends the calls; the rotation's own deadline ends what is left.
        await until(lambda: waiting(world) <= 1)
        await asyncio.sleep(0.1)
    for movement in movements:
        await assert_undone(world, movement)


async def test_a_deadline_that_passes_unseen_while_the_process_is_busy_is_kept(world: World) -> None:
    account = await world.new_account()
    request = broker_pb2.ReserveRequest(request_id=new_id(), account_token=account.token, credits=1)
    metadata = (("authorization", f"Bearer {world.provider.key}"),)
    async with held_back(world, account):
        call = world.stubs.broker.Reserve(request, metadata=metadata, timeout=HURRY_SECONDS)
        await until(lambda: waiting(world) == 1)
        time.sleep((call.time_remaining() or 0) + 0.1)  # noqa: ASYNC251 - nothing else is to run meanwhile
    assert await code_of(call) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not (await world.call(world.stubs.broker.Reserve, request, world.provider.key)).replayed
    assert await world.balance(account) == (100, 1, 99)


async def test_the_committer_drops_what_is_too_late_and_nothing_else(world: World) -> None:
    account = await world.new_account()
    async with held_back(world, account):
        budgets = (0.05, 60.0, None, 0.0, -1.0)
        calls = await queued(world, [charge_within(world, account, seconds) for seconds in budgets])
        await asyncio.sleep(0.1)
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(end, DeadlinePassedError) for end in ends] == [True, False, False, True, True]
    assert await world.balance(account) == (98, 0, 98)
