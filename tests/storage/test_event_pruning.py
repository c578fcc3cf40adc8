"""Pruning removes old events that have all been delivered, and no place is ever given twice."""

from datetime import timedelta

from aiohttp import web

from broker_service.engine.pruning import Pruned, prune
from tests.contract.broker_events.event_calls import create_webhook, event_world, list_events, listen, set_alert
from tests.contract.broker_world.operations import charge, grant_credits
from tests.contract.broker_world.webhook_receiver import Delivery, receiving
from tests.contract.broker_world.world import Account, World

DAY = timedelta(days=1)


async def cross(world: World, account: Account, times: int) -> None:
    for _ in range(times):
        await charge(world, account, 1)
        await grant_credits(world, account, 1)
    await world.running.broker.events.placing.place()


async def pruned_events(world: World, *, dry_run: bool = False) -> int:
    before = world.clock.now - 30 * DAY
    found: Pruned = await prune(world.running.broker.database, shards=1, before=before, dry_run=dry_run)
    return found.events


async def test_old_events_go_and_the_newest_stays(books_url: str) -> None:
    async with event_world(books_url) as world:
        account = await world.new_account()
        await set_alert(world, account, 100)
        await cross(world, account, 4)
        world.clock.move(20 * DAY)
        await cross(world, account, 2)
        assert await pruned_events(world) == 0
        world.clock.move(20 * DAY)
        assert await pruned_events(world, dry_run=True) == 4
        assert await pruned_events(world) == 4
        assert await pruned_events(world) == 0
        left = await list_events(world, account.customer.key)
        assert [event.position for event in left] == [5, 6]
        world.clock.move(40 * DAY)
        assert await pruned_events(world) == 1
        await cross(world, account, 1)
        assert [event.position for event in await list_events(world, account.customer.key)] == [6, 7]


async def test_what_waits_to_be_delivered_stays_and_what_was_given_up_goes(books_url: str) -> None:
    async def refuse(_delivery: Delivery) -> web.StreamResponse:
        return web.Response(status=500)

    async with event_world(books_url) as world, receiving() as receiver:
        account = await world.new_account()
        await set_alert(world, account, 100)
        made = await create_webhook(world, account.customer.key, receiver.url)
        listen(world, receiver, made.signing_secret)
        receiver.answer = refuse
        await cross(world, account, 1)
        await receiver.until(1)
        # It is not delivered any more: nobody tries, and nobody has given it up.
        await world.running.broker.events.delivery.stop()
        await cross(world, account, 2)
        world.clock.move(40 * DAY)
        assert await pruned_events(world) == 0
        world.running.sql("UPDATE deliveries SET state = 'FAILED' WHERE position < 3")
        assert await pruned_events(world) == 2
        assert world.running.sql("SELECT position FROM deliveries") == [(3,)]
        assert [event.position for event in await list_events(world, account.customer.key)] == [3]


async def test_an_event_without_a_place_is_never_removed(books_url: str) -> None:
    async with event_world(books_url) as world:
        account = await world.new_account()
        await set_alert(world, account, 100)
        await cross(world, account, 1)
        await world.running.broker.events.placing.stop()
        await charge(world, account, 1)
        world.clock.move(40 * DAY)
        assert await pruned_events(world) == 0
        assert world.running.sql("SELECT count(*) FROM events") == [(2,)]
