"""What a service does with the payment for its request."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import grpc
import pytest

from client_stub.errors import InsufficientCreditsError, ServiceFailedError
from client_stub.structs import from_struct
from provider_service.services.charge import Charge, InsufficientCredits
from provider_service.services.service import Json
from tests.unit.provider_service.broker_double import CAPTURED, RELEASED, BrokerDouble, refusal
from tests.unit.provider_service.example_services import ExampleService, echo
from tests.unit.provider_service.harness import Provider


async def test_work_is_charged_what_it_says_that_it_cost(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def charged(charge: Charge) -> None:
        charge.capture(charge.credits)
        charge.capture(2)

    service.charged = charged
    response = await provider.serve(account_token=broker.open_account(10), text="hello")
    assert (response.charged_credits, response.balance.ledger_credits, response.balance.reserved_credits) == (2, 8, 0)


@pytest.mark.parametrize("amount", [-1, 6, 1.0, True])
async def test_an_amount_that_is_not_reserved_is_a_bug_of_the_service(
    broker: BrokerDouble, provider: Provider, service: ExampleService, amount: int
) -> None:
    async def charged(charge: Charge) -> None:
        charge.capture(amount)

    service.charged = charged
    refused = await provider.refused(account_token=broker.open_account(10), text="hello")
    assert refused.code is grpc.StatusCode.INTERNAL
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_further_credits_are_set_aside_and_charged(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def charged(charge: Charge) -> None:
        await charge.extend(credits=3)
        charge.capture(charge.credits)

    service.charged = charged
    response = await provider.serve(account_token=broker.open_account(10), text="hello")
    assert (response.charged_credits, response.balance.available_credits) == (8, 2)


async def test_credits_that_run_out_are_refused_with_the_brokers_offer(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def charged(charge: Charge) -> None:
        await charge.extend(credits=6)

    service.charged = charged
    refused = await provider.refused(account_token=broker.open_account(10), text="hello")
    assert isinstance(refused, InsufficientCreditsError)
    assert refused.offer is not None
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_a_service_may_do_with_the_credits_that_there_are(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def charged(charge: Charge) -> None:
        with pytest.raises(InsufficientCredits):
            await charge.extend(credits=6)
        charge.capture(4)

    service.charged = charged
    response = await provider.serve(account_token=broker.open_account(10), text="hello")
    assert (response.charged_credits, broker.reservations[0].state) == (4, CAPTURED)


async def test_a_broker_that_cannot_be_used_fails_the_work(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def charged(charge: Charge) -> None:
        broker.fail("Extend", refusal(grpc.StatusCode.INTERNAL, "INTERNAL"))
        await charge.extend(credits=1)

    service.charged = charged
    refused = await provider.refused(account_token=broker.open_account(10))
    assert isinstance(refused, ServiceFailedError)
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


async def test_work_goes_on_past_the_first_expiry_when_it_is_extended(
    broker: BrokerDouble, provider: Provider, service: ExampleService
) -> None:
    async def charged(charge: Charge) -> None:
        await charge.extend(ttl=timedelta(seconds=30))

    async def slow(service_input: Mapping[str, Json]) -> Mapping[str, Json]:
        await asyncio.sleep(1.5)
        return await echo(service_input)

    broker.default_ttl = timedelta(seconds=1)
    service.charged, service.work = charged, slow
    response = await provider.serve(account_token=broker.open_account(10))
    assert from_struct(response.output) == {"echo": "hello"}
