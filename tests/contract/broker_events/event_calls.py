"""Short ways to ask for events, webhooks and alerts, and a broker that is quick to tell."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from iap.broker.v1 import account_pb2, event_pb2

from tests.contract.broker_world.running_broker import MovableClock, running_broker
from tests.contract.broker_world.webhook_receiver import Receiver
from tests.contract.broker_world.world import Account, World, call, new_id, new_world

EVENT_SECONDS = 0.05


@asynccontextmanager
async def event_world(database_url: str, clock: MovableClock | None = None, **settings: Any) -> AsyncIterator[World]:
    """A broker that looks for events often, with people of its own."""
    async with running_broker(database_url, clock, event_seconds=EVENT_SECONDS, **settings) as running:
        yield await new_world(running)


async def list_events(world: World, key: str, **fields: Any) -> list[event_pb2.Event]:
    response = await call(world.stubs.events.ListEvents, event_pb2.ListEventsRequest(**fields), key)
    return list(response.events)


async def create_webhook(
    world: World, key: str, url: str, *, types: tuple[str, ...] = (), request_id: str | None = None
) -> event_pb2.CreateWebhookResponse:
    request = event_pb2.CreateWebhookRequest(request_id=request_id or new_id(), url=url, types=types)
    return await call(world.stubs.events.CreateWebhook, request, key)


async def subscribe(world: World, key: str, receiver: Receiver, **fields: Any) -> event_pb2.Webhook:
    """Has events sent to a receiver, which verifies them."""
    made = await create_webhook(world, key, receiver.url, **fields)
    listen(world, receiver, made.signing_secret)
    return made.webhook


def listen(world: World, receiver: Receiver, secret: str) -> None:
    receiver.secret = secret
    receiver.now_seconds = lambda: world.clock.now.timestamp()  # noqa: PLW0108 - the clock moves


async def webhooks_of(world: World, key: str) -> list[event_pb2.Webhook]:
    response = await call(world.stubs.events.ListWebhooks, event_pb2.ListWebhooksRequest(), key)
    return list(response.webhooks)


async def delete_webhook(world: World, key: str, webhook_id: str) -> event_pb2.DeleteWebhookResponse:
    request = event_pb2.DeleteWebhookRequest(webhook_id=webhook_id)
    return await call(world.stubs.events.DeleteWebhook, request, key)


async def set_alert(
    world: World, account: Account, threshold: int, url: str = "", *, key: str | None = None
) -> account_pb2.LowBalanceAlert:
    request = account_pb2.SetLowBalanceAlertRequest(account_id=account.id, threshold_credits=threshold, webhook_url=url)
    answer = await call(world.stubs.accounts.SetLowBalanceAlert, request, account.customer.key if key is None else key)
    return answer.alert
