"""Several brokers place and deliver at once; brokers die between a cause and its delivery."""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from broker_service.engine.writing import write_with_retries
from broker_service.storage.database import open_database
from broker_service.storage.events import place_events
from client_stub.broker import BrokerClient
from client_stub.events import EventClient
from deploy.node_process import NodeCommand, NodeProcess, run_command
from deploy.seeding import seed
from tests.contract.broker_events.event_calls import EVENT_SECONDS, event_world, list_events, set_alert, subscribe
from tests.contract.broker_world.operations import charge, grant_credits
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.webhook_receiver import Delivery, Receiver
from tests.contract.broker_world.world import Account, World
from tests.databases import run_sql

PATIENCE_SECONDS = 30.0
BROKERS = 3
ACCOUNTS = 6
CROSSINGS = 8
KILLS = 4
BROKER = "broker_service"


async def test_several_brokers_place_and_deliver_each_event_once_and_in_order(
    database_url: str, receiver: Receiver
) -> None:
    chance = random.Random(20260131)
    busy: Counter[str] = Counter()

    async def take_time(delivery: Delivery) -> web.StreamResponse:
        account_id = delivery.event["account_id"]
        busy[account_id] += 1
        assert busy[account_id] == 1, "one at a time for each account"
        await asyncio.sleep(chance.uniform(0, 0.02))
        busy[account_id] -= 1
        return web.Response(status=204 if chance.random() < 0.9 else 500)

    receiver.answer = take_time
    async with event_world(database_url) as world:
        accounts = [await world.new_account() for _ in range(ACCOUNTS)]
        for account in accounts:
            await set_alert(world, account, 100)
        await subscribe(world, world.running.operator_key, receiver)
        await across_brokers(world, accounts)
        placed = await placed_events(world, ACCOUNTS * CROSSINGS)
        await until_delivered(world)
    assert [event.position for event in placed] == list(range(1, ACCOUNTS * CROSSINGS + 1))
    first_arrivals: dict[str, dict[str, int]] = defaultdict(dict)
    for event in receiver.events:
        first_arrivals[event["account_id"]].setdefault(event["event_id"], event["position"])
    arrived = {event_id for ids in first_arrivals.values() for event_id in ids}
    assert arrived == {event.event_id for event in placed}
    for ids in first_arrivals.values():
        assert list(ids.values()) == sorted(ids.values())
    assert not receiver.unverified


async def across_brokers(world: World, accounts: list[Account]) -> None:
    """Takes each account below its threshold again and again, through several brokers on the database."""
    url, clock, key = world.running.database_url, world.clock, world.running.operator_key

    async def work(account: Account, running: Any) -> None:
        here = World(replace(running, operator_key=key), world.provider, world.rival)
        for _ in range(CROSSINGS):
            await charge(here, account, 1)
            await grant_credits(here, account, 1)

    async with (
        running_broker(url, clock, event_seconds=EVENT_SECONDS) as second,
        running_broker(url, clock, event_seconds=EVENT_SECONDS) as third,
    ):
        brokers = [world.running, second, third]
        await asyncio.gather(*(work(account, brokers[number % BROKERS]) for number, account in enumerate(accounts)))
        await placed_events(world, ACCOUNTS * CROSSINGS)


async def placed_events(world: World, count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := await list_events(world, world.running.operator_key)) < count:  # noqa: ASYNC110
            await asyncio.sleep(EVENT_SECONDS)
    return found


async def until_delivered(world: World) -> None:
    """Moves the time on, by far less than a lease at once, until nothing is left to deliver."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while world.running.sql("SELECT count(*) FROM deliveries") != [(0,)]:
            world.clock.move(timedelta(seconds=3))
            await asyncio.sleep(EVENT_SECONDS * 2)


async def test_placing_at_once_gives_no_place_twice(database_url: str) -> None:
    async with event_world(database_url) as world:
        await world.running.broker.events.placing.stop()
        account = await world.new_account()
        await set_alert(world, account, 100)
        for _ in range(40):
            await charge(world, account, 1)
            await grant_credits(world, account, 1)
        others = [open_database(database_url) for _ in range(BROKERS)]
        try:
            await asyncio.gather(
                *(write_with_retries(other, partial(place_events, now=world.clock())) for other in others)
            )
        finally:
            for other in others:
                await other.close()
        found = await list_events(world, account.customer.key)
        assert [event.position for event in found] == list(range(1, 41))


async def test_a_broker_that_is_killed_between_cause_and_delivery_tells_afterwards(
    new_database: Callable[[], str], tmp_path: Path, receiver: Receiver
) -> None:
    chance, database_url = random.Random(20260131), new_database()
    made = json.loads(await run_command(BROKER, "init", "--database", database_url, "--json"))
    often = ("--event-seconds", "0.1", "--sweep-seconds", "0.1")
    node = NodeProcess(
        NodeCommand(module=BROKER, arguments=("--database", database_url, *often)), log_path=tmp_path / "broker.log"
    )
    try:
        await node.start()
        found = await seed(node.address, operator_key=made["operator_key"])
        async with (
            BrokerClient.connect(node.address, key=found.provider_key, timeout_seconds=30) as broker,
            EventClient.connect(node.address, key=found.provider_key, timeout_seconds=30) as events,
        ):
            webhook = await events.create_webhook(url=receiver.url, types=["reservation.expired"])
            receiver.secret, receiver.now_seconds = webhook.signing_secret, time.time
            expected = set()
            for _ in range(KILLS):
                reserved = await broker.reserve(account_token=found.account_token, credits=1, ttl=timedelta(seconds=1))
                expected.add(reserved.reservation.reservation_id)
                # Around its end, it is written down, placed, claimed, sent, and crossed off; somewhere there it dies.
                await asyncio.sleep(chance.uniform(1.0, 1.5))
                await node.kill()
                await node.start()
            await node.kill()
            # The leases of those that died are over by then; so nobody has to wait for that.
            run_sql(database_url, "UPDATE deliveries SET next_attempt_time = 0")
            await node.start()
            await until_told(receiver, expected)
            listed = [event async for event in events.list_events()]
        assert await node.stop() == 0
    finally:
        node.kill_now()
    assert [event.position for event in listed] == list(range(1, KILLS + 1))
    assert {event.data["reservation_id"] for event in listed} == expected
    arrived = [event["position"] for event in receiver.events]
    firsts = list(dict.fromkeys(arrived))
    assert firsts == sorted(firsts), "in order, though some may have come twice"
    assert not receiver.unverified


async def until_told(receiver: Receiver, reservation_ids: set[str]) -> None:
    """Waits until all are told of."""
    async with asyncio.timeout(90):
        while {event["data"]["reservation_id"] for event in receiver.events} != reservation_ids:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
