"""One request that comes twice: in one batch, at two processes, and after a crash that lost its answer."""

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from broker_service.storage.audit import audit
from tests.chaos.movements import MOVEMENTS, SECRET_RPCS
from tests.contract.broker_edge_cases.dying_broker import COMMANDS_VARIABLE
from tests.contract.broker_edge_cases.processes import broker_processes
from tests.contract.broker_world.batches import in_one_batch
from tests.contract.broker_world.running_broker import MovableClock, running_broker
from tests.contract.broker_world.world import World, new_world
from tests.databases import write_lock

DYING_BROKER = "tests.contract.broker_edge_cases.dying_broker"
# Time for calls to arrive at another process; what comes later is only in a batch of its own.
ARRIVE_SECONDS = 0.5

# One parameter of each kind of request that moves credits.
CHANGES: dict[str, dict[str, Any]] = {
    "Reserve": {"credits": 11},
    "Capture": {"keep_open": True},
    "Capture, kept open": {"credits": 5},
    "Release": {"reason": "busy"},
    "Extend": {"additional_credits": 6},
    "Charge": {"description": "two"},
    "Refund": {"credits": 5},
    "Refund of the rest": {"reason": "late"},
    "GrantCredits": {"priority": 7},
    "RefundPurchase": {"reason": "another"},
}


@pytest.mark.parametrize("name", MOVEMENTS)
async def test_the_same_id_twice_in_one_batch_is_done_once(world: World, name: str) -> None:
    movement = await MOVEMENTS[name](world)
    first, *again = await in_one_batch(world, [movement.send(world) for _ in range(3)])
    assert [answer.replayed for answer in (first, *again)] == [False, True, True]
    assert {movement.effect(answer) for answer in again} == {movement.effect(first)}
    await movement.assert_done_once(world, first)


@pytest.mark.parametrize("name", CHANGES)
async def test_the_same_id_twice_in_one_batch_with_another_parameter_is_refused(world: World, name: str) -> None:
    movement = await MOVEMENTS[name](world)
    changed = type(movement.request)()
    changed.CopyFrom(movement.request)
    for field, value in CHANGES[name].items():
        setattr(changed, field, value)
    other = world.call(world.stubs.method(movement.rpc), changed, movement.key)
    first, refused, again = await in_one_batch(world, [movement.send(world), other, movement.send(world)])
    assert (first.replayed, refused, again.replayed) == (False, "REQUEST_ID_REUSED", True)
    await movement.assert_done_once(world, first)


async def test_the_same_id_at_two_processes_at_once_is_done_once(database_url: str, tmp_path: Path) -> None:
    async with running_broker(database_url, MovableClock(datetime.now(UTC))) as running:
        world = await new_world(running)
        movements = [await make(world) for make in MOVEMENTS.values()]
        async with broker_processes(world, tmp_path, count=2) as both:
            with write_lock(database_url):
                sent = [[asyncio.create_task(it.send(one.world)) for one in both] for it in movements]
                await asyncio.sleep(ARRIVE_SECONDS)
            answered = [await asyncio.gather(*calls) for calls in sent]
            world.clock.now = datetime.now(UTC)
            for movement, answers in zip(movements, answered, strict=True):
                (done,) = (answer for answer in answers if not answer.replayed)
                assert {movement.effect(answer) for answer in answers} == {movement.effect(done)}
                await movement.assert_done_once(world, done)
        assert (await running.broker.database.read(audit)).violations == ()


async def test_a_crash_between_commit_and_answer_is_settled_by_the_retry(database_url: str, tmp_path: Path) -> None:
    async with running_broker(database_url, MovableClock(datetime.now(UTC))) as running:
        world = await new_world(running)
        movements = [await make(world) for make in MOVEMENTS.values()]
        first = await world.new_account()
        environment = {COMMANDS_VARIABLE: str(1 + len(movements))}
        async with broker_processes(world, tmp_path, module=DYING_BROKER, environment=environment) as (dying,):
            with write_lock(database_url):
                # It waits for the lock, and all the others behind it, as the next batch.
                leader = asyncio.create_task(dying.world.reserve(first, 1))
                await asyncio.sleep(ARRIVE_SECONDS / 2)
                sent = [asyncio.create_task(it.send(dying.world)) for it in movements]
                await asyncio.sleep(ARRIVE_SECONDS)
            assert not (await leader).replayed
            ends = await asyncio.gather(*sent, return_exceptions=True)
            assert await dying.process.wait() == -signal.SIGKILL
        world.clock.now = datetime.now(UTC)
        assert any(isinstance(end, grpc.aio.AioRpcError) for end in ends), "an answer was lost"
        for movement, end in zip(movements, ends, strict=True):
            again = await movement.send(world)
            assert again.replayed, "what was committed was done"
            if movement.rpc not in SECRET_RPCS:
                await movement.assert_done_once(world, again)
            elif not isinstance(end, grpc.aio.AioRpcError):
                await movement.assert_done_once(world, end)
            else:
                assert not again.account_token, "nobody has seen the secret"
        assert (await running.broker.database.read(audit)).violations == ()
