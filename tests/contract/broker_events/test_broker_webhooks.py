"""CreateWebhook, ListWebhooks, DeleteWebhook and the webhooks of low-balance alerts."""

import asyncio

import grpc
import pytest
from aiohttp import web
from iap.broker.v1 import event_pb2

from tests.contract.broker_events.event_calls import (
    create_webhook,
    delete_webhook,
    event_world,
    list_events,
    listen,
    set_alert,
    subscribe,
    webhooks_of,
)
from tests.contract.broker_world.operations import charge
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.webhook_receiver import Delivery, Receiver, receiving
from tests.contract.broker_world.world import World, call, new_id

URL = "https://example.com/hook"


async def test_a_replay_gets_the_webhook_and_its_secret(events_of: World) -> None:
    world, request_id = events_of, new_id()
    key = (await world.new_customer()).key
    first = await create_webhook(world, key, URL, types=("balance.low", "balance.low"), request_id=request_id)
    again = await create_webhook(world, key, URL, types=("balance.low",), request_id=request_id.upper())
    assert (first.replayed, again.replayed) == (False, True)
    assert first.signing_secret.startswith("iap_whs_")
    assert again.signing_secret == first.signing_secret
    assert again.webhook == first.webhook
    assert (first.webhook.url, list(first.webhook.types)) == (URL, ["balance.low"])
    assert await webhooks_of(world, key) == [first.webhook]


@pytest.mark.parametrize(("url", "types"), [(f"{URL}/other", ()), (URL, ("balance.low",))])
async def test_the_same_id_with_other_parameters_is_refused(world: World, url: str, types: tuple[str, ...]) -> None:
    request_id, key = new_id(), (await world.new_customer()).key
    await create_webhook(world, key, URL, request_id=request_id)
    refusal = await refusal_of(create_webhook(world, key, url, types=types, request_id=request_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert refusal.metadata == {"request_id": request_id, "rpc": "CreateWebhook"}


async def test_an_id_is_its_owner_s_own(world: World) -> None:
    request_id = new_id()
    keys = [world.provider.key, (await world.new_customer()).key, world.running.operator_key]
    made = [await create_webhook(world, key, URL, request_id=request_id) for key in keys]
    assert not any(it.replayed for it in made)
    assert len({it.webhook.webhook_id for it in made}) == len({it.signing_secret for it in made}) == 3
    for key, it in zip(keys, made, strict=True):
        assert it.webhook.webhook_id in {webhook.webhook_id for webhook in await webhooks_of(world, key)}
        await delete_webhook(world, key, it.webhook.webhook_id)


async def test_the_webhooks_of_an_owner_are_listed_in_pages(world: World) -> None:
    key = (await world.new_customer()).key
    made = sorted([(await create_webhook(world, key, URL)).webhook.webhook_id for _ in range(5)])
    found, token = [], ""
    while True:
        request = event_pb2.ListWebhooksRequest(page_size=2, page_token=token)
        page = await call(world.stubs.events.ListWebhooks, request, key)
        found += [webhook.webhook_id for webhook in page.webhooks]
        token = page.next_page_token
        if not token:
            break
    assert found == made


async def test_an_owner_has_20_webhooks_at_most_even_at_once(world: World) -> None:
    key = (await world.new_customer()).key
    making = (create_webhook(world, key, URL) for _ in range(25))
    outcomes = await asyncio.gather(*making, return_exceptions=True)
    refused = [it for it in outcomes if isinstance(it, grpc.aio.AioRpcError)]
    assert len(refused) == 5
    refusal = await refusal_of(create_webhook(world, key, URL))
    assert (refusal.code, refusal.reason, refusal.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        ["url"],
    )
    listed = await webhooks_of(world, key)
    assert len(listed) == 20
    await delete_webhook(world, key, listed[0].webhook_id)
    await create_webhook(world, key, URL)


async def test_only_its_owner_can_delete_a_webhook(world: World) -> None:
    key = (await world.new_customer()).key
    webhook_id = (await create_webhook(world, key, URL)).webhook.webhook_id
    strangers = [(await world.new_customer()).key, world.provider.key, world.running.operator_key]
    for stranger in strangers:
        refusal = await refusal_of(delete_webhook(world, stranger, webhook_id))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND")
        assert refusal.resource == ("webhook", webhook_id)
    await delete_webhook(world, key, webhook_id)
    assert (await refusal_of(delete_webhook(world, key, webhook_id))).reason == "WEBHOOK_NOT_FOUND"
    assert await webhooks_of(world, key) == []


async def test_what_a_deleted_webhook_still_had_to_deliver_never_is(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()

    async def refuse(_delivery: Delivery) -> web.StreamResponse:
        return web.Response(status=503)

    receiver.answer = refuse
    webhook = await subscribe(world, account.customer.key, receiver)
    await set_alert(world, account, 100)
    await charge(world, account, 1)
    await receiver.until(1)
    await delete_webhook(world, account.customer.key, webhook.webhook_id)
    assert world.running.sql("SELECT count(*) FROM deliveries") == [(0,)]
    assert len(await list_events(world, account.customer.key)) == 1


@pytest.mark.parametrize("types", [("balance.lower",), ("balance.low", "Balance.Low")])
async def test_a_type_that_there_is_not_is_refused_by_name(world: World, types: tuple[str, ...]) -> None:
    refusal = await refusal_of(create_webhook(world, world.provider.key, URL, types=types))
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", [f"types[{len(types) - 1}]"])
    refusal = await refusal_of(list_events(world, world.provider.key, types=types))
    assert refusal.fields == [f"types[{len(types) - 1}]"]


REFUSED_URLS = [
    "http://example.com/",
    "ftp://example.com/",
    "example.com/hook",
    "https://",
    "https:///hook",
    "https://user:secret@example.com/",
    "https://user@example.com/",
    "https://exa mple.com/",
    "https://example.com\\@10.0.0.1/",
    "https://example.com:99999/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1:8443/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/",
    "https://[ff02::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::a00:1]/",
    "https://[2002:a00:1::]/",
    "https://167772161/",
    "https://0x0a000001/",
    "https://10.1/",
    "https://2130706433/",
]


@pytest.mark.parametrize("url", REFUSED_URLS)
async def test_a_url_that_is_none_or_leads_into_a_private_network_is_refused(world: World, url: str) -> None:
    customer = await world.new_customer()
    refusal = await refusal_of(create_webhook(world, customer.key, url))
    assert (refusal.code, refusal.reason, refusal.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        ["url"],
    )
    assert "secret" not in refusal.message
    assert await webhooks_of(world, customer.key) == []
    account = await world.new_account(customer=customer)
    refusal = await refusal_of(set_alert(world, account, 50, url))
    assert refusal.fields == ["webhook_url"]
    assert world.running.sql("SELECT low_balance_credits FROM accounts WHERE account_id = ?", account.id) == [(0,)]


@pytest.mark.parametrize(
    "url",
    ["https://example.com/", "https://8.8.8.8/", "https://[2606:4700::1111]/", "https://no-such-host.invalid/hook"],
)
async def test_public_addresses_and_names_not_found_yet_are_taken(world: World, url: str) -> None:
    customer = await world.new_customer()
    assert (await create_webhook(world, customer.key, url)).webhook.url == url


async def test_a_broker_that_trusts_its_callers_takes_private_addresses(database_url: str) -> None:
    async with event_world(database_url, allow_private_webhooks=True) as world:
        for url in ("https://10.0.0.1/", "https://[fd00::1]/", "http://127.0.0.1:9/", "https://192.168.0.1/"):
            assert (await create_webhook(world, world.provider.key, url)).webhook.url == url
        assert (await refusal_of(create_webhook(world, world.provider.key, "http://10.0.0.1/"))).fields == ["url"]


async def test_an_alert_keeps_its_secret_as_long_as_its_url(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()
    first = await set_alert(world, account, 10, receiver.url)
    assert (first.account_id, first.threshold_credits, first.webhook_url) == (account.id, 10, receiver.url)
    changed = await set_alert(world, account, 20, receiver.url)
    assert (changed.threshold_credits, changed.signing_secret) == (20, first.signing_secret)
    elsewhere = await set_alert(world, account, 20, f"{receiver.url}/other")
    assert elsewhere.signing_secret not in ("", first.signing_secret)
    off = await set_alert(world, account, 0, f"{receiver.url}/other")
    assert (off.threshold_credits, off.webhook_url, off.signing_secret) == (0, "", "")
    stream_only = await set_alert(world, account, 30)
    assert (stream_only.threshold_credits, stream_only.webhook_url, stream_only.signing_secret) == (30, "", "")
    assert await webhooks_of(world, account.customer.key) == []


async def test_an_alert_that_is_turned_off_tells_nobody(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()
    await set_alert(world, account, 90, receiver.url)
    await set_alert(world, account, 0)
    await charge(world, account, 50)
    alert = await set_alert(world, account, 40, receiver.url)
    listen(world, receiver, alert.signing_secret)
    await charge(world, account, 20)
    (event,) = await receiver.until(1)
    assert event["data"]["ledger_credits"] == 30


async def test_an_alert_s_old_place_gets_nothing_more(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()
    async with receiving() as old:
        listen(world, old, (await set_alert(world, account, 90, old.url)).signing_secret)
        listen(world, receiver, (await set_alert(world, account, 90, receiver.url)).signing_secret)
        await charge(world, account, 50)
        await receiver.until(1)
        assert old.deliveries == []


async def test_only_the_account_s_customer_sets_its_alert(world: World) -> None:
    account, stranger = await world.new_account(), await world.new_customer()
    refusal = await refusal_of(set_alert(world, account, 1, key=stranger.key))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    unknown = type(account)("acc_unknown", "", account.customer, account.service)
    assert (await refusal_of(set_alert(world, unknown, 1))).reason == "ACCOUNT_NOT_FOUND"
    assert (await refusal_of(set_alert(world, account, -1))).fields == ["threshold_credits"]
    assert (await refusal_of(set_alert(world, account, 10**12 + 1))).fields == ["threshold_credits"]
