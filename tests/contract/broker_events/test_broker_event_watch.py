"""ListEvents and WatchEvents: in order, without loss or repetition, whoever stops meanwhile."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from iap.broker.v1 import admin_pb2, event_pb2

from broker_service.engine import directory
from client_stub.errors import InvalidArgumentError, UnavailableError
from client_stub.events import EventClient
from tests.contract.broker_events.event_calls import EVENT_SECONDS, event_world, list_events, set_alert
from tests.contract.broker_world.operations import charge, grant_credits
from tests.contract.broker_world.refusals import parse_error, refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, call

PATIENCE_SECONDS = 20.0


async def alerted_account(world: World, **fields: object) -> Account:
    account = await world.new_account(**fields)  # type: ignore[arg-type]
    await set_alert(world, account, 100)
    return account


async def cross(world: World, account: Account, *, times: int = 1) -> None:
    for _ in range(times):
        await charge(world, account, 1)
        await grant_credits(world, account, 1)


class Watching:
    """Watches events in the background, and keeps their places."""

    def __init__(self, world: World, key: str, **fields: object) -> None:
        metadata = (("authorization", f"Bearer {key}"),)
        self.answers: Any = world.stubs.events.WatchEvents(event_pb2.WatchEventsRequest(**fields), metadata=metadata)  # type: ignore[arg-type]

    async def take(self, count: int) -> list[event_pb2.Event]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answers = [await self.answers.read() for _ in range(count)]
        return [answer.event for answer in answers]

    async def error(self) -> grpc.aio.AioRpcError:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(grpc.aio.AioRpcError) as raised:  # noqa: PT012 - whatever comes before it
                while True:
                    await self.answers.read()
        return raised.value


def positions(events: list[event_pb2.Event]) -> list[int]:
    return [event.position for event in events]


async def test_events_are_listed_in_pages_behind_a_position(events_of: World) -> None:
    world = events_of
    mine, other = await alerted_account(world), await alerted_account(world)
    for _ in range(5):
        await cross(world, mine)
        await cross(world, other)
    await world.running.broker.events.placing.place()
    everything = await list_events(world, world.provider.key)
    assert positions(everything) == list(range(1, 11))
    key, token = mine.customer.key, ""
    found: list[event_pb2.Event] = []
    while True:
        request = event_pb2.ListEventsRequest(page_size=2, page_token=token)
        page = await call(world.stubs.events.ListEvents, request, key)
        found += page.events
        token = page.next_page_token
        if not token:
            break
    assert found == [event for event in everything if event.account_id == mine.id]
    assert await list_events(world, key, after_position=found[2].position) == found[3:]
    assert await list_events(world, key, after_position=2**63 - 1) == []
    assert await list_events(world, key, types=["reservation.expired"]) == []
    token = (await call(world.stubs.events.ListEvents, event_pb2.ListEventsRequest(page_size=1), key)).next_page_token
    for changed in ({"after_position": 1}, {"types": ["balance.low"]}):
        request = event_pb2.ListEventsRequest(page_size=1, page_token=token, **changed)
        assert (await refusal_of(call(world.stubs.events.ListEvents, request, key))).fields == ["page_token"]
    request = event_pb2.ListEventsRequest(page_size=1, page_token=token)
    refusal = await refusal_of(call(world.stubs.events.ListEvents, request, other.customer.key))
    assert refusal.fields == ["page_token"], "another's token"


async def test_old_events_come_first_and_new_ones_as_they_happen(events_of: World) -> None:
    world = events_of
    account = await alerted_account(world)
    await cross(world, account, times=150)
    watching = Watching(world, account.customer.key, after_position=0)
    assert positions(await watching.take(150)) == list(range(1, 151))
    began = time.monotonic()
    await cross(world, account)
    assert positions(await watching.take(1)) == [151]
    assert time.monotonic() - began < 5
    await cross(world, account, times=3)
    assert positions(await watching.take(3)) == [152, 153, 154]
    watching.answers.cancel()


async def test_without_a_position_it_begins_with_what_is_new(events_of: World) -> None:
    world = events_of
    account = await alerted_account(world)
    await cross(world, account, times=3)
    await world.running.broker.events.placing.place()
    watching = Watching(world, account.customer.key)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not len(world.running.broker.events.watch):  # noqa: ASYNC110 - a call that is on its way
            await asyncio.sleep(0.01)
    await asyncio.sleep(EVENT_SECONDS * 4)
    await cross(world, account)
    assert positions(await watching.take(1)) == [4]
    watching.answers.cancel()


async def test_watchers_hear_what_concerns_them_and_their_types(events_of: World) -> None:
    world = events_of
    mine, other = await alerted_account(world), await alerted_account(world)
    of_customer = Watching(world, mine.customer.key, after_position=0)
    of_provider = Watching(world, world.provider.key, after_position=0)
    of_others = Watching(world, world.rival.key, after_position=0)
    of_type = Watching(world, world.running.operator_key, after_position=0, types=["reservation.expired"])
    for _ in range(3):
        await cross(world, other)
        await cross(world, mine)
    assert {event.account_id for event in await of_customer.take(3)} == {mine.id}
    assert positions(await of_provider.take(6)) == [1, 2, 3, 4, 5, 6]
    for silent in (of_others, of_type):
        reading = asyncio.ensure_future(silent.answers.read())
        done, _ = await asyncio.wait([reading], timeout=EVENT_SECONDS * 6)
        assert not done
        reading.cancel()
    for watching in (of_customer, of_provider, of_others, of_type):
        watching.answers.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(world.running.broker.events.watch):  # noqa: ASYNC110 - calls that are ending
            await asyncio.sleep(0.01)


async def test_a_slow_watcher_misses_nothing_and_holds_nobody_up(events_of: World) -> None:
    world = events_of
    account = await alerted_account(world)
    slow = Watching(world, account.customer.key, after_position=0)
    quick = Watching(world, account.customer.key, after_position=0)
    await cross(world, account, times=120)
    assert positions(await quick.take(120)) == list(range(1, 121))
    assert positions(await slow.take(120)) == list(range(1, 121))
    slow.answers.cancel()
    quick.answers.cancel()


async def test_what_another_broker_commits_is_heard(events_of: World) -> None:
    world = events_of
    account = await alerted_account(world)
    watching = Watching(world, account.customer.key, after_position=0)
    async with running_broker(world.running.database_url, world.clock, event_seconds=EVENT_SECONDS) as running:
        other = World(replace(running, operator_key=world.running.operator_key), world.provider, world.rival)
        await cross(other, account, times=3)
        assert positions(await watching.take(3)) == [1, 2, 3]
    watching.answers.cancel()


async def test_a_broker_that_stops_ends_the_stream_and_says_so(database_url: str) -> None:
    async with event_world(database_url) as world:
        watching = Watching(world, world.provider.key)
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(world.running.broker.node.stop())
        refusal = parse_error(await watching.error())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        await stopping


async def test_a_key_that_is_revoked_hears_nothing_more(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_AGE_SECONDS", 0.0)
    async with event_world(database_url) as world:
        account = await alerted_account(world)
        watching = Watching(world, account.customer.key, after_position=0)
        await cross(world, account)
        await watching.take(1)
        ((key_id,),) = world.running.sql("SELECT key_id FROM keys WHERE owner_id = ?", account.customer.id)
        revoked = admin_pb2.RevokeKeyRequest(key_id=key_id)
        await call(world.stubs.admin.RevokeKey, revoked, world.running.operator_key)
        assert parse_error(await watching.error()).reason == "CREDENTIALS_INVALID"


async def test_the_client_goes_on_behind_the_last_event_when_its_broker_is_replaced(database_url: str) -> None:
    async with event_world(database_url) as world:
        account, clock = await alerted_account(world), world.clock
        address = world.running.address
        client = EventClient.connect(str(address), key=account.customer.key)
        seen: list[int] = []

        async def watch() -> None:
            async with aclosing(client.watch_events(after_position=0, patience_seconds=30)) as events:
                async for event in events:
                    seen.append(event.position)  # noqa: PERF401 - what has come so far counts

        watching = asyncio.create_task(watch())
        await cross(world, account, times=4)
        await until(seen, 4)
        people = (world.provider, world.rival)
    for lives in range(1, 3):
        async with running_broker(database_url, clock, event_seconds=EVENT_SECONDS, listen=address) as running:
            # The operator's key is the first broker's, made with the database.
            other = World(replace(running, operator_key=world.running.operator_key), *people)
            await cross(other, account, times=4)
            await until(seen, 4 + 4 * lives)
    watching.cancel()
    await client.close()
    assert seen == list(range(1, 13))


async def until(seen: list[int], count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(seen) < count:  # noqa: ASYNC110 - filled by a task
            await asyncio.sleep(0.01)


async def test_the_client_lists_watches_and_keeps_webhooks(events_of: World) -> None:
    world = events_of
    account = await alerted_account(world)
    await cross(world, account, times=3)
    await world.running.broker.events.placing.place()
    async with EventClient.connect(str(world.running.address), key=account.customer.key) as client:
        assert [event.position async for event in client.list_events(page_size=2)] == [1, 2, 3]
        assert [event.position async for event in client.list_events(after_position=2)] == [3]
        made = await client.create_webhook(url="https://example.com/hook", types=["balance.low"])
        assert [it async for it in client.list_webhooks()] == [made.webhook]
        await client.delete_webhook(webhook_id=made.webhook.webhook_id)
        assert [it async for it in client.list_webhooks()] == []
        with pytest.raises(InvalidArgumentError):
            await client.create_webhook(url="https://10.0.0.1/")
    async with EventClient.connect("127.0.0.1:1", key="key") as client:
        with pytest.raises(UnavailableError):
            await anext(client.watch_events(patience_seconds=0.3))
