"""Sells prime factors: a credit for every 100 000 divisions that finding them takes."""

import asyncio
import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from provider_service.sdk import Charge, service


@dataclass
class Number:
    number: Annotated[int, Field(ge=2, le=10**12)]


def price(request: Number) -> int:
    return credits_for(math.isqrt(request.number))


@service(name="factors", title="Prime factors", unit="100 000 divisions", price=price, after_crash="resume")
async def factors(request: Number, charge: Charge) -> dict[str, list[int]]:
    found, divisions = await asyncio.to_thread(factorize, request.number)
    charge.capture(credits_for(divisions))
    return {"factors": found}


def credits_for(divisions: int) -> int:
    return 1 + divisions // 100_000


def factorize(number: int) -> tuple[list[int], int]:
    found, divisor, divisions = [], 2, 0
    while divisor * divisor <= number:
        divisions += 1
        if number % divisor:
            divisor += 1
        else:
            found.append(divisor)
            number //= divisor
    return [*found, number], divisions
