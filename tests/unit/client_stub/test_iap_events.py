"""`iap events` and `iap webhook`."""

import json
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from iap.broker.v1 import event_pb2

from tests.unit.client_stub.command_line import iap
from tests.unit.client_stub.scripted_server import ScriptedServer, refusal, serving

LIST, WATCH = "EventService.ListEvents", "EventService.WatchEvents"
CREATE, WEBHOOKS, DELETE = (f"EventService.{name}" for name in ("CreateWebhook", "ListWebhooks", "DeleteWebhook"))
REQUEST_ID = "0b6f0000-0000-4000-8000-000000000000"


def event(position: int) -> event_pb2.Event:
    data = Struct()
    data.update({"service": "sms", "ledger_credits": 4})
    made = event_pb2.Event(
        event_id=f"evt_{position}", position=position, type="balance.low", account_id="acc_1", data=data
    )
    made.time.FromJsonString("2026-01-31T12:00:00Z")
    return made


def webhook() -> event_pb2.Webhook:
    made = event_pb2.Webhook(
        webhook_id="whk_1", url="https://example.com/", pending_events=3, failed_events=1, last_error="it\nfailed"
    )
    made.create_time.FromJsonString("2026-01-31T12:00:00Z")
    return made


async def test_events_are_listed_page_by_page() -> None:
    pages = [
        event_pb2.ListEventsResponse(events=[event(1)], next_page_token="next"),
        event_pb2.ListEventsResponse(events=[event(2)]),
    ]
    async with serving(ScriptedServer({LIST: pages})) as broker:
        outcome = await iap(
            *("events", "list", "--after", "7", "--type", "balance.low"),
            IAP_BROKER=broker.target,
            IAP_PROVIDER_KEY="key_1",
        )
    assert outcome.exit_code == 0, outcome.errors
    lines = outcome.output.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "2"]
    assert "2026-01-31 12:00:00  balance.low  acc_1" in lines[2]
    assert "ledger_credits 4, service sms" in lines[2]
    first, second = broker.calls
    assert (first.request.after_position, list(first.request.types)) == (7, ["balance.low"])
    assert second.request.page_token == "next"
    assert first.metadata["authorization"] == "Bearer key_1"


async def test_as_json_whole_numbers_are_whole() -> None:
    page = event_pb2.ListEventsResponse(events=[event(1)])
    async with serving(ScriptedServer({LIST: [page]})) as broker:
        outcome = await iap("events", "list", "--json", IAP_BROKER=broker.target, IAP_CUSTOMER_KEY="key_1")
    (shown,) = outcome.document["events"]
    assert shown["position"] == 1
    assert json.dumps(shown["data"]["ledger_credits"]) == "4"


async def test_events_are_shown_as_they_happen_until_the_broker_refuses() -> None:
    gone = refusal(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", "the key is not valid")
    stopping = refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "the broker is stopping")
    answers = [event_pb2.WatchEventsResponse(event=event(number)) for number in (5, 9)]
    async with serving(ScriptedServer({WATCH: [answers[0], stopping, answers[1], gone]})) as broker:
        outcome = await iap("events", "watch", IAP_BROKER=broker.target, IAP_OPERATOR_KEY="key_1")
    assert (outcome.exit_code, "key is not valid" in outcome.errors) == (1, True)
    data = "ledger_credits 4, service sms"
    assert outcome.output.splitlines() == [
        f"5  2026-01-31 12:00:00  balance.low  acc_1  {data}",
        f"9  2026-01-31 12:00:00  balance.low  acc_1  {data}",
    ]
    first, second = broker.calls
    assert not first.request.HasField("after_position")
    assert second.request.after_position == 5


async def test_a_webhook_is_made_listed_and_ended() -> None:
    made = event_pb2.CreateWebhookResponse(webhook=webhook(), signing_secret="iap_whs_1")
    script: dict[str, Any] = {
        CREATE: [made],
        WEBHOOKS: [event_pb2.ListWebhooksResponse(webhooks=[webhook()])],
        DELETE: [event_pb2.DeleteWebhookResponse()],
    }
    async with serving(ScriptedServer(script)) as broker:
        environment = {"IAP_BROKER": broker.target, "IAP_CUSTOMER_KEY": "key_1"}
        create = await iap("webhook", "create", "https://example.com/", "--request-id", REQUEST_ID, **environment)
        listed = await iap("webhook", "list", **environment)
        deleted = await iap("webhook", "delete", "whk_1", **environment)
    assert "iap_whs_1" in create.output
    assert "whk_1" in create.output
    row = listed.output.splitlines()[2]
    assert row.split() == [
        *("whk_1", "https://example.com/", "all", "2026-01-31", "12:00:00", "3", "1", "it", "failed"),
    ]
    assert deleted.output == "whk_1 is gone\n"
    assert broker.calls[0].request == event_pb2.CreateWebhookRequest(request_id=REQUEST_ID, url="https://example.com/")
    assert broker.calls[2].request == event_pb2.DeleteWebhookRequest(webhook_id="whk_1")


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ((), {}, "this takes a key"),
        (("--as", "operator"), {"IAP_CUSTOMER_KEY": "key"}, "the operator's key"),
        ((), {"IAP_CUSTOMER_KEY": "key", "IAP_PROVIDER_KEY": "key"}, "--as"),
    ],
)
async def test_it_must_be_clear_whose_key_is_meant(
    arguments: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    outcome = await iap("webhook", "list", *arguments, **environment)
    assert (outcome.exit_code, words in outcome.errors) == (2, True)


async def test_with_several_keys_the_one_that_is_said_is_used() -> None:
    page = event_pb2.ListWebhooksResponse()
    async with serving(ScriptedServer({WEBHOOKS: [page]})) as broker:
        outcome = await iap(
            *("webhook", "list", "--as", "provider"),
            IAP_BROKER=broker.target,
            IAP_CUSTOMER_KEY="key_customer",
            IAP_PROVIDER_KEY="key_provider",
        )
    assert outcome.exit_code == 0
    assert broker.calls[0].metadata["authorization"] == "Bearer key_provider"
