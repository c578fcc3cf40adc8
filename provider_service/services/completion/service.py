"""The service itself."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace

from mesh_runtime.logs import get_logger
from provider_service.gateways.completions import Answer, CompletionGateway, CompletionRequest, Usage
from provider_service.gateways.gateway_error import GatewayError
from provider_service.services.charge import Charge, InsufficientCredits, StreamCharge
from provider_service.services.completion.bill import Bill
from provider_service.services.completion.offer import Offer
from provider_service.services.completion.options import create_gateway, read_offer
from provider_service.services.completion.request import CompletionInput, parse_request
from provider_service.services.completion.schema import describe_input
from provider_service.services.option_values import Options
from provider_service.services.service import AfterCrash, Json, Quote, ServiceFailure

# About what a model says in ten seconds.
_SLICE_TOKENS = 1_000
_logger = get_logger("provider_service.services.completion")


def create_service(options: Options) -> "CompletionService":
    """Makes the service from its options. Raises InvalidOption.

    Args:
        options: gateway, models, prices, max_tokens, max_tokens_limit, prompt_overhead and reserve_streams; with
            `openai` also url, key, timeout, connect_timeout, first_token_timeout and idle_timeout. docs/completion.md
            says what each means.

    """
    return CompletionService(offer=read_offer(options), gateway=create_gateway(options))


class CompletionService:
    """Has a language model go on with one conversation per request, in one piece or in many.

    It costs what its tokens cost, by the figures of the endpoint, else by an estimate; never more than was quoted,
    which is the price of the worst case.
    """

    name = "completion"
    title = "Text completions"
    unit_name = "thousand tokens"
    # No endpoint knows a request again: it would be worked on twice, and paid for twice.
    after_crash = AfterCrash.RELEASE
    streams_only = False

    def __init__(self, *, offer: Offer, gateway: CompletionGateway) -> None:
        self._offer = offer
        self._gateway = gateway
        self.input_schema = describe_input(offer)

    @property
    def slice_credits(self) -> int:
        """What the dearest model's answer costs in about ten seconds."""
        return max(
            price.credits(prompt_tokens=0, completion_tokens=_SLICE_TOKENS) for price in self._offer.prices.values()
        )

    def quote(self, service_input: Mapping[str, Json]) -> Quote:
        """Prices the worst case: the longest that the prompt can be in tokens, and an answer of `max_tokens`."""
        request = parse_request(service_input, self._offer)
        bill = Bill(request, self._offer)
        input_credits, output_credits = bill.price.credits_per_thousand
        return Quote(
            credits=bill.credits_at_most,
            breakdown={
                "model": request.model,
                "prompt_tokens_at_most": bill.prompt.most,
                "max_tokens": request.max_tokens,
                "credits_per_thousand_prompt_tokens": input_credits,
                "credits_per_thousand_completion_tokens": output_credits,
            },
        )

    async def perform(self, service_input: Mapping[str, Json], charge: Charge) -> Mapping[str, Json]:
        """Has the whole text completed, and captures what it took."""
        request = parse_request(service_input, self._offer)
        bill = Bill(request, self._offer)
        try:
            answer = await self._gateway.complete(_to_gateway_request(request, charge.request_id))
        except GatewayError as error:
            raise _to_failure(error) from error
        bill.add(answer)
        usage = _settle_usage(bill, answer)
        # Less may be set aside than the quote: a request goes on at the price that was first agreed.
        charge.capture(min(bill.final_credits(usage), charge.credits))
        return {"text": answer.text, **_render_end(answer, usage, request)}

    async def stream(
        self, service_input: Mapping[str, Json], charge: StreamCharge
    ) -> AsyncGenerator[Mapping[str, Json], None]:
        """Passes the text on as it comes, metered by what is certain of it; the last chunk settles the rest.

        That one has no text, but all that `perform` returns beside it.
        """
        request = parse_request(service_input, self._offer)
        bill = Bill(request, self._offer)
        if self._offer.reserves_streams_whole:
            await charge.extend(credits=max(0, bill.credits_at_most - charge.credits))
        # First the prompt: an account that cannot pay for it costs the provider nothing.
        await _meter(bill, charge)
        answer = Answer()
        try:
            async with aclosing(self._gateway.stream(_to_gateway_request(request, charge.request_id))) as pieces:
                async for piece in pieces:
                    answer = _add_piece(answer, piece)
                    bill.add(piece)
                    await _meter(bill, charge)
                    if piece.text:
                        yield {"text": piece.text}
                    if bill.is_overdrawn:
                        answer = replace(answer, finish_reason="length")
                        break
        except GatewayError as error:
            raise _to_failure(error) from error
        usage = _settle_usage(bill, answer)
        await _meter_rest(bill.final_credits(usage) - charge.metered_credits, charge)
        yield {"text": "", **_render_end(answer, usage, request)}

    async def close(self) -> None:
        """Closes the gateway."""
        await self._gateway.close()


def _to_gateway_request(request: CompletionInput, request_id: str) -> CompletionRequest:
    return CompletionRequest(
        request_id=request_id,
        model=request.model,
        messages=request.messages,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        stop=request.stop,
    )


def _to_failure(error: GatewayError) -> ServiceFailure:
    return ServiceFailure(f"the text was not completed: {error}", retryable=error.retryable)


def _add_piece(answer: Answer, piece: Answer) -> Answer:
    """Returns what is known of the answer with one piece more; its text is not gathered."""
    return Answer(
        finish_reason=piece.finish_reason or answer.finish_reason,
        usage=piece.usage or answer.usage,
        model=piece.model or answer.model,
    )


async def _meter(bill: Bill, charge: StreamCharge) -> None:
    """Has set aside what the text is likely to cost, and meters what it costs for certain."""
    missing_credits = bill.estimated_credits - charge.credits
    if missing_credits > 0:
        await charge.extend(credits=missing_credits)
    await charge.meter(bill.credits_so_far - charge.metered_credits)


async def _meter_rest(credits: int, charge: StreamCharge) -> None:  # noqa: A002 - the contract's word
    """Meters what the figures in the end add, or as much of it as is set aside: the text has been delivered."""
    if credits <= 0:
        return
    try:
        await charge.meter(credits)
    except InsufficientCredits:
        paid_credits = min(credits, charge.credits - charge.metered_credits)
        _logger.warning("completion.short_of_credits", request_id=charge.request_id, unpaid=credits - paid_credits)
        await charge.meter(paid_credits)


def _settle_usage(bill: Bill, answer: Answer) -> Usage:
    """Returns what is charged for: the endpoint's figures, else the estimate."""
    if answer.usage is None:
        return bill.estimate_usage()
    if answer.usage.prompt_tokens > bill.prompt.most:
        # The customer pays what was quoted. The option `prompt_overhead` is there to quote more.
        _logger.warning(
            "completion.prompt_above_quote",
            prompt_tokens=answer.usage.prompt_tokens,
            quoted_prompt_tokens=bill.prompt.most,
        )
    return answer.usage


def _render_end(answer: Answer, usage: Usage, request: CompletionInput) -> dict[str, Json]:
    return {
        "finish_reason": answer.finish_reason,
        "model": answer.model or request.model,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "estimated": answer.usage is None,
        },
    }
