"""Answers in one piece: the worst case is quoted, what was used is captured."""

import pytest
from structlog.testing import capture_logs

from provider_service.gateways.completions import Answer, ChatMessage, CompletionRequest, Usage
from provider_service.gateways.gateway_error import GatewayError
from provider_service.sdk.testing import FakeCharge
from provider_service.services.completion import CompletionService, create_service
from provider_service.services.completion.offer import Offer
from provider_service.services.completion.prices import TokenPrice
from provider_service.services.service import InvalidInput, Quote, ServiceFailure
from tests.unit.provider_service.services.completion.scripted_gateway import ScriptedGateway

# A credit for ten tokens of input, and for two of output.
OFFER = Offer(
    prices={"small": TokenPrice(100_000, 500_000), "large": TokenPrice(1_000_000, 2_000_000)},
    default_max_tokens=20,
    max_tokens_limit=100,
    prompt_overhead_tokens=10,
)
HI = {"prompt": "Hi there"}


def serving(*pieces: Answer, failure: GatewayError | None = None) -> tuple[CompletionService, ScriptedGateway]:
    gateway = ScriptedGateway(pieces, failure)
    return CompletionService(offer=OFFER, gateway=gateway), gateway


def test_the_worst_case_is_quoted() -> None:
    service, _ = serving()
    # Eight bytes, sixteen for the message, ten for the rest; and an answer as long as it may be.
    assert service.quote(HI) == Quote(
        credits=14,
        breakdown={
            "model": "small",
            "prompt_tokens_at_most": 34,
            "max_tokens": 20,
            "credits_per_thousand_prompt_tokens": 100,
            "credits_per_thousand_completion_tokens": 500,
        },
    )
    assert service.quote(HI | {"model": "large", "max_tokens": 1.0}).credits == 34 + 2
    with pytest.raises(InvalidInput):
        service.quote({})


async def test_what_was_used_is_captured_by_the_figures_of_the_endpoint() -> None:
    service, gateway = serving(Answer(text="Hello!", finish_reason="stop", usage=Usage(11, 3), model="small-2026"))
    charge = FakeCharge(credits=14)
    output = await service.perform(HI | {"temperature": 1.0, "stop": "END"}, charge)
    assert output == {
        "text": "Hello!",
        "finish_reason": "stop",
        "model": "small-2026",
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14, "estimated": False},
    }
    assert charge.captured == 3
    assert gateway.requests == [
        CompletionRequest(
            request_id=charge.request_id,
            model="small",
            messages=(ChatMessage("user", "Hi there"),),
            max_tokens=20,
            temperature=1.0,
            stop=("END",),
        )
    ]


async def test_without_figures_the_estimate_is_charged() -> None:
    service, _ = serving(Answer(text="a" * 16, finish_reason="length"))
    charge = FakeCharge(credits=14)
    output = await service.perform(HI, charge)
    # A token for four characters; four more for the message.
    assert output["usage"] == {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10, "estimated": True}
    assert (output["model"], charge.captured) == ("small", 3)


async def test_at_least_one_credit_is_charged() -> None:
    service, _ = serving(Answer(usage=Usage(1, 0)))
    charge = FakeCharge(credits=14)
    await service.perform(HI, charge)
    assert charge.captured == 1


@pytest.mark.parametrize("usage", [Usage(1_000, 3), Usage(34, 1_000)])
async def test_no_more_than_the_quote_is_charged(usage: Usage) -> None:
    service, _ = serving(Answer(text="Hello!", usage=usage))
    charge = FakeCharge(credits=14)
    with capture_logs() as logs:
        await service.perform(HI, charge)
    assert (charge.captured, charge.credits) == (14, 14)
    told = [log["event"] for log in logs]
    assert told == (["completion.prompt_above_quote"] if usage.prompt_tokens > 34 else [])


async def test_no_more_than_is_set_aside_is_charged() -> None:
    """As of a request that goes on at the price it was first quoted."""
    service, _ = serving(Answer(text="Hello!", usage=Usage(30, 20)))
    charge = FakeCharge(credits=5)
    await service.perform(HI, charge)
    assert charge.captured == 5


@pytest.mark.parametrize("retryable", [False, True])
async def test_what_the_gateway_says_of_a_failure_is_passed_on(retryable: bool) -> None:
    service, _ = serving(failure=GatewayError("the language model is busy", retryable=retryable))
    charge = FakeCharge(credits=14)
    with pytest.raises(ServiceFailure) as caught:
        await service.perform(HI, charge)
    assert caught.value.message == "the text was not completed: the language model is busy"
    assert caught.value.retryable == retryable
    assert charge.captured is None


async def test_an_invalid_input_is_not_sent() -> None:
    service, gateway = serving(Answer(text="Hello!"))
    with pytest.raises(InvalidInput):
        await service.perform({"prompt": ""}, FakeCharge())
    assert gateway.requests == []


async def test_closing_closes_the_gateway() -> None:
    service, gateway = serving()
    await service.close()
    assert gateway.is_closed


async def test_the_sandbox_says_back_what_it_was_told() -> None:
    service = create_service({})
    charge = FakeCharge(credits=service.quote({"prompt": "How are you?"}).credits)
    output = await service.perform({"prompt": "How are you?"}, charge)
    assert output == {
        "text": "You said: How are you?",
        "finish_reason": "stop",
        "model": "gpt-4.1-mini",
        "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10, "estimated": False},
    }
    await service.close()
