import asyncio
import re

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from google.type.money_pb2 import Money
from iap.broker.v1 import catalog_pb2
from iap.broker.v1.broker_pb2 import Offer
from iap.broker.v1.catalog_pb2 import Pack

from tests.unit.client_stub.command_line import Outcome, iap
from tests.unit.client_stub.scripted_server import Answer, ScriptedServer, refusal, serving

CODE = grpc.StatusCode
BALANCE, SERVE, CREATE = "AccountService.GetBalance", "ProviderService.ServeRequest", "PurchaseService.CreatePurchase"
SMALL = Pack(pack_id="pck_small", title="Small", credits=10, price=Money(currency_code="EUR", units=1))
LARGE = Pack(pack_id="pck_large", title="Large", credits=100, price=Money(currency_code="EUR", units=5))


def insufficient(offer: Offer) -> status_pb2.Status:
    return refusal(
        CODE.FAILED_PRECONDITION,
        "INSUFFICIENT_CREDITS",
        "words",
        offer,
        available="3",
        required="5",
        missing=str(offer.missing_credits),
    )


async def serve(answer: Answer, *arguments: str) -> Outcome:
    async with serving(ScriptedServer({SERVE: answer})) as provider:
        return await iap(
            "serve",
            "sms",
            "--to",
            "x",
            *arguments,
            IAP_PROVIDER=provider.target,
            IAP_ACCOUNT_TOKEN="tok_secret",
        )


async def test_a_refusal_is_one_line_and_exit_code_1() -> None:
    answer = refusal(CODE.NOT_FOUND, "ACCOUNT_NOT_FOUND", "the account token is unknown")
    outcome = await serve(answer)
    assert outcome == Outcome(1, "", "iap: error: the account token is unknown\n")


async def test_a_refusal_without_words_gives_its_reason() -> None:
    outcome = await serve(refusal(CODE.NOT_FOUND, "SERVICE_NOT_FOUND"))
    assert outcome == Outcome(1, "", "iap: error: SERVICE_NOT_FOUND\n")


async def test_a_wrong_field_is_named() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation
    detail = error_details_pb2.BadRequest(
        field_violations=[
            violation(field="input.to", description="must be a number like +4930123"),
            violation(field="input.text", description="must be given"),
        ]
    )
    outcome = await serve(refusal(CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", "words", detail))
    assert outcome.exit_code == 1
    assert outcome.errors == ("iap: error: input.to: must be a number like +4930123; input.text: must be given\n")


async def test_missing_credits_come_with_an_offer_and_the_line_to_paste() -> None:
    offer = Offer(service="sms", missing_credits=2, packs=[SMALL, LARGE], purchase_url="https://shop.example/sms")
    outcome = await serve(insufficient(offer))
    assert outcome.exit_code == 1
    assert outcome.output == ""
    assert outcome.errors.splitlines() == [
        "iap: error: not enough credits: 5 required, 3 available, 2 missing",
        "",
        "pack       title      credits     price",
        "---------  -------  ---------  --------",
        "pck_small  Small           10  EUR 1.00",
        "pck_large  Large          100  EUR 5.00",
        "",
        "Buy credits with",
        "  iap buy pck_small",
        "",
        "Buy credits at https://shop.example/sms",
    ]


@pytest.mark.parametrize(("missing", "expected"), [(11, "pck_large"), (101, "pck_large")])
async def test_the_pack_to_buy_is_enough_if_any_is(missing: int, expected: str) -> None:
    outcome = await serve(insufficient(Offer(missing_credits=missing, packs=[LARGE, SMALL])))
    assert f"  iap buy {expected}\n" in outcome.errors


async def test_an_offer_of_nothing_offers_nothing() -> None:
    outcome = await serve(insufficient(Offer(missing_credits=2)))
    assert outcome.errors == "iap: error: not enough credits: 5 required, 3 available, 2 missing\n"


async def test_with_json_the_error_is_the_document() -> None:
    outcome = await serve(insufficient(Offer(service="sms", missing_credits=2, packs=[SMALL])), "--json")
    assert outcome.exit_code == 1
    assert outcome.errors == "iap: error: not enough credits: 5 required, 3 available, 2 missing\n"
    error = outcome.document["error"]
    assert (error["code"], error["reason"], error["domain"]) == (
        "FAILED_PRECONDITION",
        "INSUFFICIENT_CREDITS",
        "iap.broker",
    )
    assert error["metadata"] == {"available": "3", "required": "5", "missing": "2"}
    assert error["offer"]["packs"][0]["credits"] == 10


async def test_with_json_wrong_fields_are_listed() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="input.to", description="must be a number")
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    outcome = await serve(refusal(CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", "words", detail), "--json")
    assert outcome.document["error"]["violations"] == [{"field": "input.to", "description": "must be a number"}]


@pytest.mark.parametrize(
    "answer",
    [
        refusal(CODE.UNAVAILABLE, "UNAVAILABLE", "draining"),
        refusal(CODE.RESOURCE_EXHAUSTED, "OVERLOADED", "too much at once"),
        refusal(CODE.ABORTED, "STORAGE_CONFLICT", "conflict"),
    ],
    ids=["unavailable", "overloaded", "conflict"],
)
async def test_what_may_succeed_later_is_exit_code_3_and_can_be_repeated(answer: Answer) -> None:
    outcome = await serve(answer)
    assert outcome.exit_code == 3
    assert re.fullmatch(
        r"iap: error: [^;]+; repeat it with --request-id [0-9a-f-]{36}, and nothing is charged twice; "
        r"the server is 127\.0\.0\.1:\d+\n",
        outcome.errors,
    )


async def test_a_purchase_that_got_no_answer_can_be_repeated() -> None:
    async with serving(ScriptedServer({CREATE: CODE.ABORTED})) as broker:
        outcome = await iap("buy", "pck_1", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 3
    assert broker.requests(CREATE)[0].request_id in outcome.errors
    assert "nothing is bought twice" in outcome.errors


async def test_a_server_that_is_not_there_is_exit_code_3() -> None:
    outcome = await iap("catalog", "--broker", "127.0.0.1:1", "--timeout", "0.3")
    assert outcome == Outcome(
        3, "", "iap: error: no connection to the server within 0.3 s; the server is 127.0.0.1:1\n"
    )


async def test_a_server_that_is_too_slow_is_exit_code_3() -> None:
    async def hang(_request: Message) -> Answer:
        await asyncio.sleep(30)
        return CODE.INTERNAL

    async with serving(ScriptedServer({BALANCE: hang})) as broker:
        outcome = await iap("balance", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret", IAP_TIMEOUT="0.4")
    assert outcome.exit_code == 3
    assert "no answer within 0.4 s" in outcome.errors


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--broker", "broker.example:50051", "catalog"], "cannot connect to broker.example:50051 without TLS"),
        (["catalog", "--broker", "nowhere"], "invalid target 'nowhere'"),
        (["catalog", "--tls-ca", "/nowhere.pem"], "cannot read CA certificate /nowhere.pem"),
        (["catalog", "--tls", "--insecure"], "not both"),
        (["catalog", "--timeout", "0"], "'--timeout'"),
        (["open", "sms", "--customer-key", "two words"], "the key must be visible ASCII characters"),
        (["balance", "--account-token", "\udcff"], "not valid Unicode"),
        (["catalogue"], "No such command 'catalogue'"),
        (["catalog", "--nonsense"], "No such option"),
    ],
)
async def test_wrong_settings_are_one_line_and_exit_code_2(arguments: list[str], expected: str) -> None:
    outcome = await iap(*arguments)
    assert (outcome.exit_code, outcome.output) == (2, "")
    assert outcome.errors.startswith("iap: error: ")
    assert outcome.errors.count("\n") == 1
    assert expected in outcome.errors
    assert "two words" not in outcome.errors


async def test_the_command_line_overrules_the_environment_wherever_it_stands() -> None:
    wrong = {"IAP_BROKER": "127.0.0.1:1", "IAP_TIMEOUT": "20"}
    before = await iap("--broker", "127.0.0.1:2", "--timeout", "0.2", "catalog", **wrong)
    after = await iap("catalog", "--broker", "127.0.0.1:2", "--timeout", "0.2", **wrong)
    both = await iap("--broker", "127.0.0.1:3", "catalog", "--broker", "127.0.0.1:2", "--timeout", "0.2", **wrong)
    assert before == after == both
    assert "within 0.2 s; the server is 127.0.0.1:2" in before.errors


async def test_without_a_command_it_explains_itself() -> None:
    outcome = await iap()
    assert outcome.exit_code == 2
    assert "Commands:" in outcome.errors


async def test_help_documents_the_exit_codes_and_the_environment() -> None:
    outcome = await iap("--help")
    assert outcome.exit_code == 0
    for expected in ("Exit codes:\n    0  done\n", "IAP_BROKER", "IAP_ACCOUNT_TOKEN", "IAP_CUSTOMER_KEY"):
        assert expected in outcome.output


async def test_a_terminal_that_cannot_show_every_character_is_no_error() -> None:
    services = catalog_pb2.ListServicesResponse(services=[catalog_pb2.Service(service="sms", unit_name="€")])
    script = ScriptedServer(
        {"CatalogService.ListServices": services, "CatalogService.ListPacks": catalog_pb2.ListPacksResponse()}
    )
    async with serving(script) as broker:
        outcome = await iap("catalog", IAP_BROKER=broker.target, PYTHONIOENCODING="latin-1")
    assert outcome.exit_code == 0
    assert "sms        ?" in outcome.output
