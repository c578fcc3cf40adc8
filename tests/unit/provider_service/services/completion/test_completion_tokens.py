from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider_service.gateways.completions import Answer, ChatMessage
from provider_service.services.completion.bill import Bill
from provider_service.services.completion.offer import Offer
from provider_service.services.completion.prices import TokenPrice
from provider_service.services.completion.request import CompletionInput
from provider_service.services.completion.tokens import TokenCount

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(" ab\n。中😀")
pieces = st.lists(texts)


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("", (0, 0, 0)),
        (" \n\t", (0, 0, 3)),
        ("Hello there!", (2, 3, 12)),
        ("The quick brown fox jumps over the lazy dog.", (9, 11, 44)),
        # Words as short as can be are one token each.
        ("a b c d e f", (6, 6, 11)),
        ("a" * 1000, (62, 250, 1000)),
        ("-" * 1000, (1, 250, 1000)),
        ("1 " * 3, (3, 3, 6)),
        # However much there is of it, between two words it counts as a space.
        ("    Hello" + " \n" * 500 + "there!", (2, 3, 1015)),
        ("Grüße", (1, 2, 7)),
        ("Привет, как дела?", (3, 5, 30)),
        ("नमस्ते दुनिया", (2, 4, 37)),
        ("敏捷的棕色狐狸跳过懒狗", (2, 6, 33)),
        ("素早い茶色の狐は怠惰な犬を飛び越える。", (4, 10, 57)),
        ("😀" * 4, (1, 2, 16)),
    ],
)
def test_the_figures_of_a_text(text: str, figures: tuple[int, int, int]) -> None:
    count = TokenCount(text)
    assert (count.least, count.estimate, count.most) == figures


@settings(max_examples=100)
@given(texts)
def test_what_is_charged_for_is_never_more_than_what_was_reserved_for(text: str) -> None:
    count = TokenCount(text)
    assert 0 <= count.least <= count.estimate <= count.most
    assert (count.estimate > 0) == (text.strip() != "")


@settings(max_examples=100)
@given(pieces)
def test_a_text_counts_the_same_however_it_is_cut_and_only_grows(parts: Sequence[str]) -> None:
    count = TokenCount()
    before = (0, 0, 0)
    for part in parts:
        count.add(part)
        now = (count.least, count.estimate, count.most)
        assert all(earlier <= later for earlier, later in zip(before, now, strict=True))
        before = now
    whole = TokenCount("".join(parts))
    assert (whole.least, whole.estimate, whole.most) == before


@settings(max_examples=100)
@given(
    messages=st.lists(texts, min_size=1, max_size=5),
    answer=st.lists(st.builds(Answer, text=texts, reasoning=texts)),
    max_tokens=st.integers(1, 50),
    overhead=st.integers(0, 20),
    price=st.builds(TokenPrice, st.integers(0, 3_000_000), st.integers(0, 3_000_000)),
)
def test_no_bill_is_ever_above_the_quote_nor_falls_while_the_answer_comes(
    messages: list[str], answer: list[Answer], max_tokens: int, overhead: int, price: TokenPrice
) -> None:
    bill = bill_for(messages, max_tokens=max_tokens, overhead=overhead, price=price)
    assert bill.prompt.least <= bill.prompt.estimate <= bill.prompt.most
    before = 1
    for part in (Answer(), *answer):
        bill.add(part)
        assert before <= bill.credits_so_far <= bill.estimated_credits <= bill.credits_at_most
        before = bill.credits_so_far
    estimated = bill.final_credits(bill.estimate_usage())
    assert bill.credits_so_far <= estimated <= bill.credits_at_most


def test_an_answer_that_is_too_long_costs_no_more_than_was_asked_for() -> None:
    bill = bill_for(["Hi"], max_tokens=2, overhead=0, price=TokenPrice(0, 1_000_000))
    assert bill.credits_at_most == 2
    for text, credits, is_overdrawn in (("one", 1, False), (" two", 2, False), (" three", 2, True)):  # noqa: A001
        bill.add(Answer(text=text))
        assert (bill.credits_so_far, bill.estimated_credits, bill.is_overdrawn) == (credits, credits, is_overdrawn)


def bill_for(messages: Sequence[str], *, max_tokens: int, overhead: int, price: TokenPrice) -> Bill:
    request = CompletionInput(
        messages=tuple(ChatMessage("user", message) for message in messages),
        model="m",
        max_tokens=max_tokens,
        temperature=None,
        stop=(),
    )
    offer = Offer(prices={"m": price}, default_max_tokens=1, max_tokens_limit=50, prompt_overhead_tokens=overhead)
    return Bill(request, offer)
