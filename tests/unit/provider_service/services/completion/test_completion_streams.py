"""Streamed answers: metered by what is certain as they come, settled by the figures in the end."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from provider_service.gateways.completions import Answer, CompletionRequest, Usage
from provider_service.gateways.gateway_error import GatewayError
from provider_service.services.charge import InsufficientCredits
from provider_service.services.completion import CompletionService, create_service
from provider_service.services.completion.offer import Offer
from provider_service.services.completion.prices import TokenPrice
from provider_service.services.service import InvalidInput, Json, ServiceFailure
from tests.unit.provider_service.services.completion.scripted_gateway import ScriptedGateway
from tests.unit.provider_service.services.completion.stream_charge import FakeStreamCharge

# A credit for each token.
OFFER = Offer(
    prices={"small": TokenPrice(1_000_000, 1_000_000)},
    default_max_tokens=100,
    max_tokens_limit=1_000,
    prompt_overhead_tokens=10,
)
HI = {"prompt": "Hi there"}
# Of the prompt: two words and a token for the message; about six tokens; at most 34.
PROMPT_LEAST = 3
PROMPT_ESTIMATE = 6
QUOTE = 34 + 100


def words(count: int) -> list[Answer]:
    """Of each word one token is certain; about two it is with its space."""
    return [Answer(text=" nothing") for _ in range(count)]


def end(prompt_tokens: int, completion_tokens: int) -> Answer:
    return Answer(finish_reason="stop", usage=Usage(prompt_tokens, completion_tokens), model="small-2026")


def serving(*pieces: Answer, failure: GatewayError | None = None) -> tuple[CompletionService, ScriptedGateway]:
    gateway = ScriptedGateway(pieces, failure)
    return CompletionService(offer=OFFER, gateway=gateway), gateway


async def stream(
    service: CompletionService, charge: FakeStreamCharge, chunks: list[Mapping[str, Json]] | None = None
) -> list[Mapping[str, Json]]:
    """Reads all chunks, into the given list if there is one."""
    chunks = [] if chunks is None else chunks
    async for chunk in service.stream(HI, charge):
        chunks.append(chunk)
    return chunks


async def test_text_is_metered_as_it_comes_and_settled_by_the_figures_in_the_end() -> None:
    service, gateway = serving(*words(4), end(9, 7))
    charge = FakeStreamCharge()
    chunks = await stream(service, charge)
    assert chunks == [
        *[{"text": " nothing"}] * 4,
        {
            "text": "",
            "finish_reason": "stop",
            "model": "small-2026",
            "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16, "estimated": False},
        },
    ]
    assert charge.meters == [PROMPT_LEAST, 1, 1, 1, 1, 0, 16 - PROMPT_LEAST - 4]
    assert gateway.requests[0].request_id == charge.request_id


async def test_the_prompt_is_metered_before_the_model_is_asked() -> None:
    service, gateway = serving(*words(1), end(9, 2))
    charge = FakeStreamCharge(available=PROMPT_ESTIMATE - 1)
    with pytest.raises(InsufficientCredits):
        await stream(service, charge)
    assert (gateway.requests, charge.meters) == ([], [])


async def test_what_is_likely_owed_is_set_aside_before_it_is_delivered() -> None:
    service, gateway = serving(*words(50), end(9, 100))
    charge = FakeStreamCharge(available=PROMPT_ESTIMATE + 20)
    chunks: list[Mapping[str, Json]] = []
    with pytest.raises(InsufficientCredits):
        await stream(service, charge, chunks)
    # Two tokens each by the estimate, though one is metered.
    assert len(chunks) == 10
    assert charge.metered_credits == PROMPT_LEAST + 10
    assert (gateway.streamed, gateway.has_ended) == (11, True)


async def test_what_was_said_once_counts_to_the_end() -> None:
    service, _ = serving(end(9, 7), *words(1), Answer())
    charge = FakeStreamCharge()
    chunks = await stream(service, charge)
    assert (chunks[-1]["finish_reason"], chunks[-1]["model"]) == ("stop", "small-2026")
    assert charge.metered_credits == 16


async def test_reasoning_is_not_passed_on_but_has_its_price() -> None:
    service, _ = serving(Answer(reasoning="Let me think"), *words(1), Answer(finish_reason="stop"))
    charge = FakeStreamCharge()
    chunks = await stream(service, charge)
    assert [chunk["text"] for chunk in chunks] == [" nothing", ""]
    assert charge.meters == [PROMPT_LEAST, 3, 1, 0, PROMPT_ESTIMATE + 3 + 2 - PROMPT_LEAST - 4]


async def test_the_worst_case_may_be_set_aside_from_the_start() -> None:
    gateway = ScriptedGateway([*words(4), end(9, 7)])
    service = CompletionService(offer=replace(OFFER, reserves_streams_whole=True), gateway=gateway)
    with pytest.raises(InsufficientCredits):
        await stream(service, FakeStreamCharge(available=QUOTE - 1))
    assert gateway.requests == []
    charge = FakeStreamCharge(available=QUOTE)
    await stream(service, charge)
    assert (charge.credits, charge.metered_credits) == (QUOTE, 16)


async def test_without_figures_the_estimate_settles() -> None:
    service, _ = serving(*words(4), Answer(finish_reason="stop"))
    charge = FakeStreamCharge()
    chunks = await stream(service, charge)
    assert chunks[-1]["usage"] == {
        "prompt_tokens": PROMPT_ESTIMATE,
        "completion_tokens": 8,
        "total_tokens": PROMPT_ESTIMATE + 8,
        "estimated": True,
    }
    assert charge.metered_credits == PROMPT_ESTIMATE + 8


async def test_no_more_than_the_quote_is_metered() -> None:
    service, _ = serving(*words(4), end(1_000, 1_000))
    charge = FakeStreamCharge()
    assert service.quote(HI).credits == QUOTE
    await stream(service, charge)
    assert charge.metered_credits == QUOTE


async def test_figures_below_what_is_certain_take_nothing_back() -> None:
    service, _ = serving(*words(4), end(1, 1))
    charge = FakeStreamCharge()
    await stream(service, charge)
    assert charge.meters == [PROMPT_LEAST, 1, 1, 1, 1, 0]


async def test_what_the_end_adds_is_paid_as_far_as_it_is_set_aside() -> None:
    service, _ = serving(*words(4), end(20, 40))
    charge = FakeStreamCharge(available=30)
    charge.credits = 30
    with capture_logs() as logs:
        chunks = await stream(service, charge)
    assert chunks[-1]["finish_reason"] == "stop"
    assert charge.metered_credits == 30
    assert [(log["event"], log["unpaid"]) for log in logs] == [("completion.short_of_credits", 30)]


async def test_a_failure_on_the_way_is_told_after_what_was_delivered() -> None:
    service, _ = serving(*words(4), failure=GatewayError("the language model broke off", retryable=True))
    charge = FakeStreamCharge()
    chunks: list[Mapping[str, Json]] = []
    with pytest.raises(ServiceFailure) as caught:
        await stream(service, charge, chunks)
    assert caught.value.message == "the text was not completed: the language model broke off"
    assert caught.value.retryable
    assert (len(chunks), charge.metered_credits) == (4, PROMPT_LEAST + 4)


async def test_a_model_that_keeps_to_no_limit_is_stopped() -> None:
    service, gateway = serving(*words(500), end(9, 500))
    charge = FakeStreamCharge()
    chunks = await stream(service, charge)
    assert len(chunks) == 102
    assert (chunks[-1]["finish_reason"], gateway.has_ended) == ("length", True)
    assert charge.metered_credits == PROMPT_ESTIMATE + 100


async def test_a_reader_that_leaves_ends_the_request() -> None:
    service, gateway = serving(*words(4), end(9, 8))
    async with aclosing(service.stream(HI, FakeStreamCharge())) as chunks:
        assert await anext(chunks) == {"text": " nothing"}
        assert not gateway.has_ended
    assert (gateway.streamed, gateway.has_ended) == (1, True)


async def test_cancelling_it_while_it_waits_ends_the_request() -> None:
    class Silent(ScriptedGateway):
        async def stream(self, request: CompletionRequest) -> AsyncGenerator[Answer, None]:
            try:
                self.requests.append(request)
                await asyncio.sleep(60)
                yield Answer()
            finally:
                self.has_ended = True

    gateway = Silent()
    reading = asyncio.create_task(stream(CompletionService(offer=OFFER, gateway=gateway), FakeStreamCharge()))
    while not gateway.requests:  # noqa: ASYNC110 - until the task has got there
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert gateway.has_ended


async def test_an_invalid_input_is_not_sent() -> None:
    service, gateway = serving(*words(1))
    with pytest.raises(InvalidInput):
        await anext(service.stream({"prompt": ""}, FakeStreamCharge()))
    assert gateway.requests == []


def test_a_slice_is_about_ten_seconds_of_the_dearest_model() -> None:
    assert serving()[0].slice_credits == 1_000
    assert create_service({}).slice_credits == 10


async def test_the_sandbox_streams_what_it_answers_in_one_piece() -> None:
    charge = FakeStreamCharge()
    asked: Mapping[str, Json] = {"prompt": "one two three", "max_tokens": 4.0}
    chunks = [chunk async for chunk in create_service({}).stream(asked, charge)]
    assert "".join(str(chunk["text"]) for chunk in chunks) == "You said: one"
    assert chunks[-1]["finish_reason"] == "length"
    assert charge.metered_credits == 1
