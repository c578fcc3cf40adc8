from typing import Any

import pytest
from iap.provider.v1 import provider_pb2

from client_stub.structs import from_struct, to_struct
from tests.unit.client_stub.command_line import iap
from tests.unit.client_stub.scripted_server import ScriptedServer, serving

SERVE, QUOTE, SERVICES = (f"ProviderService.{name}" for name in ("ServeRequest", "Quote", "ListServices"))
SERVED = provider_pb2.ServeRequestResponse(
    output=to_struct({"message_id": "msg_1", "segments": 2, "parts": [{"to": "+4930123"}]}),
    reservation_id="rsv_1",
    charged_credits=2,
    balance={"ledger_credits": 98, "available_credits": 98},
)
FIELDS = ("--to", "+4930123", "--text", "Hello, world")
INPUT = {"to": "+4930123", "text": "Hello, world"}


async def test_serve_prints_the_output_and_what_it_cost() -> None:
    async with serving(ScriptedServer({SERVE: SERVED})) as provider:
        outcome = await iap("serve", "sms", *FIELDS, IAP_PROVIDER=provider.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 0
    assert outcome.output.splitlines() == [
        "message_id  msg_1",
        'parts       [{"to": "+4930123"}]',
        "segments    2",
        "",
        "charged 2 credits, 98 credits available (reservation rsv_1)",
    ]
    (request,) = provider.requests(SERVE)
    assert (request.service, request.account_token) == ("sms", "tok_secret")
    assert from_struct(request.input) == INPUT


async def test_shared_options_may_stand_among_the_fields() -> None:
    async with serving(ScriptedServer({SERVE: SERVED})) as provider:
        outcome = await iap(
            "serve",
            "sms",
            "--to",
            "+4930123",
            "--account-token",
            "tok_secret",
            "--json",
            "--text",
            "Hello, world",
            "--provider",
            provider.target,
            "--request-id",
            "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f",
        )
    document = outcome.document
    assert document["output"] == {"message_id": "msg_1", "segments": 2, "parts": [{"to": "+4930123"}]}
    assert document["charged_credits"] == 2
    assert document["replayed"] is False
    (request,) = provider.requests(SERVE)
    assert from_struct(request.input) == INPUT
    assert request.request_id == "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f"


async def test_fields_are_text_and_are_set_on_top_of_the_json_input() -> None:
    async with serving(ScriptedServer({SERVE: SERVED})) as provider:
        outcome = await iap(
            "serve",
            "sms",
            "--input",
            '{"copies": 2, "to": "nobody", "options": {"flash": true}}',
            "--to=+4930123",
            "--sender-name=7",
            "--text",
            "--not-an-option",
            IAP_PROVIDER=provider.target,
            IAP_ACCOUNT_TOKEN="tok_secret",
        )
    assert outcome.exit_code == 0
    assert from_struct(provider.requests(SERVE)[0].input) == {
        "copies": 2,
        "to": "+4930123",
        "options": {"flash": True},
        "sender_name": "7",
        "text": "--not-an-option",
    }


async def test_a_replay_says_that_nothing_was_charged_again() -> None:
    replay = provider_pb2.ServeRequestResponse(reservation_id="rsv_1", charged_credits=1, replayed=True)
    async with serving(ScriptedServer({SERVE: replay})) as provider:
        outcome = await iap("serve", "sms", *FIELDS, IAP_PROVIDER=provider.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.output == (
        "done before, not charged again: charged 1 credit, 0 credits available (reservation rsv_1)\n"
    )


async def test_quote_tells_the_price_and_how_it_comes_about() -> None:
    quoted = provider_pb2.QuoteResponse(credits=2, unit_name="segment", breakdown=to_struct({"segments": 2}))
    async with serving(ScriptedServer({QUOTE: quoted})) as provider:
        outcome = await iap("quote", "sms", *FIELDS, IAP_PROVIDER=provider.target)
    assert outcome.exit_code == 0
    assert outcome.output.splitlines() == ["2 credits, one for each segment", "", "segments  2"]
    (request,) = provider.requests(QUOTE)
    assert (request.service, from_struct(request.input)) == ("sms", INPUT)


async def test_quote_as_json() -> None:
    quoted = provider_pb2.QuoteResponse(credits=2, unit_name="segment", breakdown=to_struct({"segments": 2}))
    async with serving(ScriptedServer({QUOTE: quoted})) as provider:
        outcome = await iap("quote", "sms", *FIELDS, "--json", IAP_PROVIDER=provider.target)
    assert outcome.document == {"credits": 2, "unit_name": "segment", "breakdown": {"segments": 2}}


async def test_services_shows_the_options_of_each_service() -> None:
    schema = {
        "type": "object",
        "properties": {"to": {"type": "string"}, "text": {}, "sender": {}},
        "required": ["to", "text"],
    }
    listed = provider_pb2.ListServicesResponse(
        services=[
            provider_pb2.ServedService(
                service="sms", title="Text messages", unit_name="segment", input_schema=to_struct(schema)
            ),
            provider_pb2.ServedService(service="fax", title="Fax", unit_name="page"),
        ]
    )
    async with serving(ScriptedServer({SERVICES: listed})) as provider:
        table = await iap("services", IAP_PROVIDER=provider.target)
        document = await iap("services", "--json", IAP_PROVIDER=provider.target)
    assert "[--sender …]" in table.output
    assert "--to …" in table.output
    assert "[--to …]" not in table.output
    assert "--input JSON" in table.output
    assert document.document["services"][0]["input_schema"] == schema


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"number": {"type": "integer"}}, """--input '{"number": …}'"""),
        ({"size": {"type": "number", "default": 1}}, """[--input '{"size": …}']"""),
        ({"a": {"type": ["string", "null"]}, "b": {"type": "array"}}, """--a … --input '{"b": …}'"""),
        ({"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Colour"}]}}, "--a …"),
        ({"a": {"$ref": "#/$defs/Line"}, "b": {"type": "boolean"}}, """--input '{"a": …, "b": …}'"""),
        ({"a": {"$ref": "#/$defs/Nowhere"}}, """--input '{"a": …}'"""),
        ({"a": {"$ref": "#/$defs/Circle"}}, """--input '{"a": …}'"""),
        ({"a": True}, "--a …"),
    ],
)
async def test_services_shows_what_takes_no_text_as_json(fields: dict[str, Any], shown: str) -> None:
    schema = {
        "$defs": {
            "Colour": {"type": "string", "enum": ["red"]},
            "Line": {"type": "object"},
            "Circle": {"anyOf": [{"$ref": "#/$defs/Circle"}, {"type": "null"}]},
        },
        "properties": fields,
        "required": [name for name, field in fields.items() if field is True or "default" not in field],
    }
    service = provider_pb2.ServedService(service="any", input_schema=to_struct(schema))
    listed = provider_pb2.ListServicesResponse(services=[service])
    async with serving(ScriptedServer({SERVICES: listed})) as provider:
        table = await iap("services", IAP_PROVIDER=provider.target)
    assert table.output.splitlines()[-1].endswith(f" {shown}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve", "sms", "--to", "x"], "no account: give its token with --account-token or IAP_ACCOUNT_TOKEN"),
        (["quote", "--to", "x", "sms"], "name the service before the fields"),
        (["quote", "sms", "to"], "unexpected argument 'to'"),
        (["quote", "sms", "-t", "x"], "unexpected argument '-t'"),
        (["quote", "sms", "--to"], "--to lacks its value"),
        (["quote", "sms", "--to", "x", "--to=y"], "--to is given twice"),
        (["quote", "sms", "--=y"], "unexpected argument '--=y'"),
        (["quote", "sms", "--input", "{"], "--input is not JSON"),
        (["quote", "sms", "--input", "[1]"], "--input must be a JSON object"),
        (["quote"], "Missing argument 'SERVICE'"),
    ],
)
async def test_wrong_input_is_a_usage_error(arguments: list[str], expected: str) -> None:
    outcome = await iap(*arguments)
    assert outcome.exit_code == 2
    assert outcome.errors.startswith("iap: error: ")
    assert expected in outcome.errors


@pytest.mark.parametrize("number", ["9007199254740993", "NaN"])
async def test_input_that_would_change_on_the_way_is_a_usage_error(number: str) -> None:
    outcome = await iap("quote", "sms", "--input", f'{{"number": {number}}}')
    assert outcome.exit_code == 2
    assert "the input cannot be sent" in outcome.errors
