"""One request sent to two brokers at the same instant takes effect once; the other answers are its replays."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker_service.storage.audit import audit
from tests.chaos.movements import MOVEMENTS, SECRET_RPCS
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, new_world
from tests.databases import DatabaseKind, DatabaseMaker, write_lock

COPIES_PER_BROKER = 3
# Long enough for all copies to arrive and to wait for the lock, which both brokers then race for.
ARRIVE_SECONDS = 0.1

Twins = tuple[World, World]


@pytest.fixture(scope="module")
async def twins(session_databases: DatabaseMaker, database_kind: DatabaseKind) -> AsyncIterator[Twins]:
    """Two brokers on one database, with the same people; in the end the books must agree."""
    url = session_databases.make(database_kind)
    async with running_broker(url) as first:
        world = await new_world(first)
        async with running_broker(url, first.clock) as second:
            yield world, World(second, world.provider, world.rival)
            assert (await first.broker.database.read(audit)).violations == ()


@pytest.mark.parametrize("name", MOVEMENTS)
async def test_one_request_sent_to_both_at_once_is_done_once(twins: Twins, name: str) -> None:
    first, second = twins
    movement = await MOVEMENTS[name](first)
    with write_lock(first.running.database_url):
        sent = [asyncio.create_task(movement.send(world)) for world in twins * COPIES_PER_BROKER]
        await asyncio.sleep(ARRIVE_SECONDS)
    answers = await asyncio.gather(*sent)
    (done,) = (answer for answer in answers if not answer.replayed)
    assert {movement.effect(answer) for answer in answers} == {movement.effect(done)}
    if movement.rpc in SECRET_RPCS:
        assert [answer.account_token for answer in answers if answer.account_token] == [done.account_token]
    for world in (first, second):
        await movement.assert_done_once(world, done)
