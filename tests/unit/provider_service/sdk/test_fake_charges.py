"""The charge for tests of services refuses what the real one refuses."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from provider_service.sdk import Charge, InsufficientCredits
from provider_service.sdk.testing import FakeCharge, FakeStreamCharge
from tests.unit.provider_service.broker_double import BrokerDouble
from tests.unit.provider_service.example_services import ExampleService
from tests.unit.provider_service.harness import Provider

Use = Callable[[Charge], Awaitable[None]]


async def use_nothing(charge: Charge) -> None:
    pass


async def capture_part(charge: Charge) -> None:
    charge.capture(5)
    charge.capture(2)


async def capture_none(charge: Charge) -> None:
    charge.capture(0)


async def extend_and_capture(charge: Charge) -> None:
    await charge.extend(credits=3, ttl=timedelta(minutes=5))
    assert charge.credits == 8
    charge.capture(7)


async def ask_too_much(charge: Charge) -> None:
    with pytest.raises(InsufficientCredits):
        await charge.extend(credits=6)
    await charge.extend(credits=5)


async def capture_the_impossible(charge: Charge) -> None:
    for wrong in (-1, charge.credits + 1):
        with pytest.raises(ValueError, match=f"from 0 to {charge.credits}, not {wrong}"):
            charge.capture(wrong)
    wrong_types: tuple[Any, ...] = (1.0, True, "1")
    for wrong_type in wrong_types:
        with pytest.raises(TypeError, match="must be a whole number"):
            charge.capture(wrong_type)


@pytest.mark.parametrize(
    ("use", "charged"),
    [
        (use_nothing, 5),
        (capture_part, 2),
        (capture_none, 0),
        (extend_and_capture, 7),
        (ask_too_much, 10),
        (capture_the_impossible, 5),
    ],
)
async def test_it_charges_and_refuses_as_the_real_one_does(
    broker: BrokerDouble, provider: Provider, service: ExampleService, use: Use, charged: int
) -> None:
    service.charged = use
    served = await provider.serve(account_token=broker.open_account(10), text="hello")
    assert served.charged_credits == charged
    fake = FakeCharge(credits=5, available=5)
    await use(fake)
    assert fake.charged == charged


async def test_it_keeps_what_was_asked_of_it() -> None:
    charge = FakeCharge(credits=2)
    assert (charge.captured, charge.charged) == (None, 2)
    await charge.extend(credits=1, ttl=timedelta(seconds=3))
    charge.capture(1)
    assert (charge.credits, charge.captured, charge.extended_by) == (3, 1, [timedelta(seconds=3)])


async def test_a_stream_has_a_meter_and_no_capture() -> None:
    charge = FakeStreamCharge(available=4)
    await charge.meter(3)
    await charge.meter(0)
    with pytest.raises(InsufficientCredits):
        await charge.meter(2)
    with pytest.raises(ValueError, match="0 or more"):
        await charge.meter(-1)
    with pytest.raises(RuntimeError):
        charge.capture(1)
    assert charge.metered_credits == 3
