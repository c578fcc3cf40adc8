"""Deliveries to receivers that are down, slow, or wrong, and back again; in order, and for three days."""

import asyncio
import time
from collections import defaultdict
from datetime import timedelta

import pytest
from aiohttp import ClientTimeout, web

from broker_service.background import webhook_sender
from broker_service.background.event_delivery import LEASE
from client_stub.webhooks import SignatureError, verify
from tests.contract.broker_events.event_calls import (
    EVENT_SECONDS,
    create_webhook,
    event_world,
    list_events,
    listen,
    set_alert,
    subscribe,
    webhooks_of,
)
from tests.contract.broker_world.operations import charge, grant_credits
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.webhook_receiver import Delivery, Receiver, receiving
from tests.contract.broker_world.world import Account, World

PATIENCE_SECONDS = 20.0
# Longer than any pause between two tries.
LATER = timedelta(hours=2)


def answering(*statuses: int) -> "Script":
    return Script(list(statuses))


class Script:
    """Answers with these statuses, one after the other, then accepts."""

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses

    async def __call__(self, _delivery: Delivery) -> web.StreamResponse:
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204, text="said much " * 10_000)


async def cross(world: World, account: Account, *, times: int = 1) -> None:
    """Takes an account below its threshold of 100, and up again."""
    for _ in range(times):
        await charge(world, account, 1)
        await grant_credits(world, account, 1)


async def failing(world: World, key: str, error: str) -> None:
    """Waits until the one webhook has failed for a reason."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while error not in (await webhooks_of(world, key))[0].last_error:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.02)


async def alerted_account(world: World) -> Account:
    account = await world.new_account()
    await set_alert(world, account, 100)
    return account


@pytest.mark.parametrize("status", [500, 503, 404, 301, 302, 307, 400, 429])
async def test_what_is_not_accepted_comes_again_and_is_the_same(
    events_of: World, receiver: Receiver, status: int
) -> None:
    world = events_of
    account = await alerted_account(world)
    receiver.answer = answering(status)
    await subscribe(world, account.customer.key, receiver)
    await cross(world, account)
    await receiver.until(1)
    await failing(world, account.customer.key, f"HTTP status {status}")
    (webhook,) = await webhooks_of(world, account.customer.key)
    assert (webhook.pending_events, webhook.failed_events) == (1, 0)
    world.clock.move(LATER)
    await receiver.until(2)
    first, second = receiver.deliveries
    assert first.body == second.body
    assert first.headers["iap-event-id"] == second.headers["iap-event-id"]
    assert first.headers["iap-signature"] != second.headers["iap-signature"]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await webhooks_of(world, account.customer.key))[0].pending_events:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    assert (await webhooks_of(world, account.customer.key))[0].last_error == ""


async def test_redirects_are_not_followed(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await alerted_account(world)
    async with receiving() as elsewhere:

        async def redirect(_delivery: Delivery) -> web.StreamResponse:
            return web.Response(status=307, headers={"location": elsewhere.url})

        receiver.answer = redirect
        await subscribe(world, account.customer.key, receiver)
        await cross(world, account)
        await failing(world, account.customer.key, "HTTP status 307")
        assert not elsewhere.deliveries
        assert not elsewhere.unverified


async def test_a_receiver_that_is_down_gets_all_when_it_is_back(events_of: World) -> None:
    world = events_of
    account = await alerted_account(world)
    async with receiving() as first:
        port = int(first.url.rpartition(":")[2].partition("/")[0])
        made = await create_webhook(world, account.customer.key, first.url)
    await cross(world, account, times=5)
    await world.running.broker.events.placing.place()
    await failing(world, account.customer.key, "connection failed")
    assert (await webhooks_of(world, account.customer.key))[0].pending_events == 5
    async with receiving(port=port) as back:
        listen(world, back, made.signing_secret)
        world.clock.move(LATER)
        events = await back.until(5)
    positions = [event["position"] for event in events]
    assert positions == sorted(positions)


async def test_a_receiver_that_is_slow_is_given_up_on_for_now(
    events_of: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = events_of
    account = await alerted_account(world)
    answered = asyncio.Event()

    async def hang(_delivery: Delivery) -> web.StreamResponse:
        await answered.wait()
        return web.Response(status=204)

    receiver.answer = hang
    sender = world.running.broker.events.delivery._sender
    assert isinstance(sender, webhook_sender.WebhookSender)
    monkeypatch.setattr(sender, "_timeout", ClientTimeout(total=0.3))
    monkeypatch.setattr(sender._open_session(), "_timeout", sender._timeout)
    await subscribe(world, account.customer.key, receiver)
    await cross(world, account)
    await failing(world, account.customer.key, "no answer within 0.3 seconds")
    answered.set()
    world.clock.move(LATER)
    await receiver.until(2)


async def test_one_account_that_fails_holds_back_itself_alone(events_of: World, receiver: Receiver) -> None:
    world = events_of
    bad, *good = [await alerted_account(world) for _ in range(4)]
    refused = 0

    async def refuse_one(delivery: Delivery) -> web.StreamResponse:
        nonlocal refused
        if delivery.event["account_id"] == bad.id:
            refused += 1
            return web.Response(status=500)
        return web.Response(status=200)

    receiver.answer = refuse_one
    await subscribe(world, world.provider.key, receiver)
    await cross(world, bad, times=3)
    for account in good:
        await cross(world, account, times=3)
    await receiver.until(1 + 9)
    assert refused == 1, "the ones behind it wait"
    order = defaultdict(list)
    for event in receiver.events:
        order[event["account_id"]].append(event["position"])
    assert all(positions == sorted(positions) for positions in order.values())
    receiver.answer = answering()
    world.clock.move(LATER)
    events = await receiver.until(10 + 3)
    assert [event["account_id"] for event in events[10:]] == [bad.id] * 3
    positions = [event["position"] for event in events[10:]]
    assert positions == sorted(positions)


async def test_after_three_days_it_is_given_up_and_the_next_goes_on(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await alerted_account(world)
    statuses = Script([500] * 1_000)
    receiver.answer = statuses
    await subscribe(world, account.customer.key, receiver)
    await cross(world, account)
    await receiver.until(1)
    first_id = receiver.events[0]["event_id"]
    await failing(world, account.customer.key, "HTTP status 500")
    world.clock.move(timedelta(days=3) - timedelta(seconds=60))
    await receiver.until(2)
    await cross(world, account)
    world.clock.move(timedelta(seconds=60))
    await receiver.until(4)
    second_id = receiver.events[3]["event_id"]
    assert [event["event_id"] for event in receiver.events] == [first_id] * 3 + [second_id]
    await failing(world, account.customer.key, "HTTP status 500")
    (webhook,) = await webhooks_of(world, account.customer.key)
    assert (webhook.pending_events, webhook.failed_events) == (1, 1)
    statuses.statuses.clear()
    world.clock.move(LATER)
    await receiver.until(5)
    assert receiver.events[4]["event_id"] == second_id
    assert [event.event_id for event in await list_events(world, account.customer.key)] == [first_id, second_id]


async def test_the_pauses_grow_to_an_hour(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await alerted_account(world)
    receiver.answer = Script([500] * 1_000)
    await subscribe(world, account.customer.key, receiver)
    await cross(world, account)
    pauses = []
    for count in range(1, 15):
        await receiver.until(count)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = world.running.sql("SELECT attempts, next_attempt_time FROM deliveries WHERE last_error <> ''")
                due = (found[0][1] if found else 0) - int(world.clock.now.timestamp() * 1_000_000)
                # A claim has put it off by the time of a lease, as long as it is on its way.
                if found and found[0][0] == count and due != LEASE // timedelta(microseconds=1):
                    break
                await asyncio.sleep(0.01)
        pauses.append(due / 1_000_000)
        world.clock.move(timedelta(microseconds=due))
    for count, pause in enumerate(pauses):
        expected = min(5 * 2**count, 3_600)
        assert 0.75 * expected <= pause <= 1.25 * expected


async def test_the_signature_is_of_this_body_this_secret_and_this_time(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await alerted_account(world)
    made = await create_webhook(world, account.customer.key, receiver.url)
    listen(world, receiver, made.signing_secret)
    await cross(world, account)
    await receiver.until(1)
    (delivery,) = receiver.deliveries
    now = world.clock.now.timestamp()
    assert verify(made.signing_secret, delivery.headers, delivery.body, now_seconds=now) == delivery.event
    tampered = delivery.body.replace(b'"ledger_credits":99', b'"ledger_credits":98')
    assert tampered != delivery.body
    with pytest.raises(SignatureError):
        verify(made.signing_secret, delivery.headers, tampered, now_seconds=now)
    with pytest.raises(SignatureError):
        verify(f"{made.signing_secret}x", delivery.headers, delivery.body, now_seconds=now)
    with pytest.raises(SignatureError, match="too long ago"):
        verify(made.signing_secret, delivery.headers, delivery.body, now_seconds=now + 301)


async def test_a_name_that_comes_to_lead_into_a_private_network_is_not_called(
    database_url: str, receiver: Receiver
) -> None:
    async with event_world(database_url) as world:
        account = await alerted_account(world)
        await subscribe(world, account.customer.key, receiver)
        # What a name server that changes its mind would do: each of these resolves to this machine.
        port = receiver.url.rpartition(":")[2]
        for host in ("2130706433", "0x7f000001", "127.1", "[::ffff:10.0.0.1]", "169.254.169.254"):
            world.running.sql("UPDATE webhooks SET url = ?", f"http://{host}:{port}")
            await cross(world, account)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not world.running.sql("SELECT 1 FROM deliveries WHERE last_error <> ''"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            world.running.sql("DELETE FROM deliveries")
        assert not receiver.deliveries
        assert not receiver.unverified


async def test_a_broker_that_stops_waits_for_what_is_on_its_way(database_url: str, receiver: Receiver) -> None:
    async with event_world(database_url) as world:
        account = await alerted_account(world)
        on_its_way = asyncio.Event()

        async def take_long(_delivery: Delivery) -> web.StreamResponse:
            on_its_way.set()
            await asyncio.sleep(0.5)
            return web.Response(status=204)

        receiver.answer = take_long
        await subscribe(world, account.customer.key, receiver)
        await cross(world, account, times=2)
        await on_its_way.wait()
        began = time.monotonic()
        clock = world.clock
    assert time.monotonic() - began < 8
    assert len(receiver.deliveries) == 1
    async with running_broker(database_url, clock, event_seconds=EVENT_SECONDS):
        events = await receiver.until(2)
    assert events[0]["event_id"] != events[1]["event_id"]
