"""`iap serve … --stream`, as a person runs it."""

import json

from client_stub.structs import Json
from provider_service.services.charge import StreamCharge
from tests.contract.provider_streams.metered_service import Chunks, MeteredService, Script
from tests.contract.provider_streams.streaming import Streaming
from tests.unit.client_stub.command_line import Outcome, iap


def telling(*chunks: dict[str, Json]) -> Script:
    async def script(charge: StreamCharge) -> Chunks:
        for chunk in chunks:
            await charge.meter(2)
            yield chunk

    return script


async def serve(streaming: Streaming, credits_held: int, *arguments: str) -> Outcome:
    account = await streaming.account(credits_held)
    return await iap(
        "serve",
        streaming.service.name,
        "--stream",
        *arguments,
        IAP_PROVIDER=streaming.provider.address,
        IAP_ACCOUNT_TOKEN=account.token,
    )


async def test_texts_run_on_and_what_they_cost_stands_below(streaming: Streaming, service: MeteredService) -> None:
    service.script = telling({"text": "Hel"}, {"text": "lo,\nyou\x1b["}, {}, {"text": ""}, {"a": 1, "b": "x"})
    outcome = await serve(streaming, 50)
    lines = outcome.output.splitlines()
    assert lines[0] == "Hello,"
    assert lines[1].startswith("you")
    assert "\x1b" not in outcome.output
    assert json.loads(lines[2]) == {"a": 1, "b": "x"}
    assert lines[3].startswith("charged 10 credits, 40 credits available (reservation rsv_")
    assert (outcome.exit_code, len(lines), outcome.errors) == (0, 4, "")


async def test_credits_that_run_out_are_told_with_what_was_paid(streaming: Streaming, service: MeteredService) -> None:
    service.script = telling({"text": "one "}, {"text": "two "}, {"text": "three"})
    outcome = await serve(streaming, 4)
    assert (outcome.exit_code, outcome.output) == (1, "one two \n")
    assert "not enough credits: 2 required, 0 available, 2 missing" in outcome.errors
    assert "what came before cost 4 credits" in outcome.errors
    assert "Buy credits with" in outcome.errors


async def test_json_is_a_document_a_line(streaming: Streaming, service: MeteredService) -> None:
    service.script = telling({"text": "one"})
    outcome = await serve(streaming, 4, "--json")
    chunk, last = (json.loads(line) for line in outcome.output.splitlines())
    assert (chunk["chunk"], chunk["charged_credits"]) == ({"text": "one"}, 2)
    assert ("chunk" in last, last["charged_credits"], last["balance"]["available_credits"]) == (False, 2, 2)
