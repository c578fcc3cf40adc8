"""Page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_service.domain.errors import InvalidField
from broker_service.transport.pages import cursor_of, page_size, page_token


@pytest.mark.parametrize(
    ("asked", "given_size"), [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)]
)
def test_a_page_holds_100_unless_asked_and_1000_at_most(asked: int, given_size: int) -> None:
    assert page_size(asked) == given_size


@given(st.integers(min_value=0, max_value=2**53), st.text("abcdefghijklmnopqrstuvwxyz0123456789_-"))
def test_a_cursor_survives_the_way_there_and_back(number: int, text: str) -> None:
    token = page_token([number, text], "List", "scope")
    assert cursor_of(token, (int, str), "List", "scope") == [number, text]


def test_no_token_is_the_first_page() -> None:
    assert cursor_of("", (int,), "List") is None


def test_a_token_of_another_scope_is_refused() -> None:
    token = page_token([1], "List", "a")
    for scope in (("List", "b"), ("Other", "a"), ("List",), ("List", "a", "")):
        with pytest.raises(InvalidField) as refused:
            cursor_of(token, (int,), *scope)
        assert refused.value.field == "page_token"


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    if not text:
        return
    with pytest.raises(InvalidField):
        cursor_of(text, (int,), "List")


@given(st.binary(max_size=40))
def test_any_token_cut_or_changed_is_refused_or_the_same(garbage: bytes) -> None:
    token = page_token([1], "List")
    for changed in (token[: len(garbage)], token + garbage.decode("latin-1")):
        if changed in {"", token}:
            continue
        try:
            assert cursor_of(changed, (int,), "List") == [1]
        except InvalidField as refusal:
            assert refusal.field == "page_token"  # noqa: PT017 - either end is right
