"""Tests of the example, as its developer would write them: no broker, no server."""

import asyncio

import pytest
from factors import Number, factors

from provider_service.sdk import InvalidInput
from provider_service.sdk.testing import FakeCharge


def test_a_number_is_taken_apart() -> None:
    charge = FakeCharge(credits=10)
    assert asyncio.run(factors(Number(360), charge)) == {"factors": [2, 2, 2, 3, 3, 5]}
    assert charge.captured == 1


def test_a_large_prime_costs_what_was_quoted() -> None:
    quote = factors.quote({"number": 999_999_000_001})
    charge = FakeCharge(credits=quote.credits)
    assert asyncio.run(factors.perform({"number": 999_999_000_001}, charge)) == {"factors": [999_999_000_001]}
    assert charge.charged == quote.credits == 10


def test_texts_are_no_numbers() -> None:
    with pytest.raises(InvalidInput, match="number must be a whole number"):
        factors.quote({"number": "360"})
