from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.unit.provider_service.broker_double import BrokerDouble, serving
from tests.unit.provider_service.example_services import ExampleService
from tests.unit.provider_service.harness import Provider, providing


@pytest.fixture
def broker() -> BrokerDouble:
    return BrokerDouble()


@pytest_asyncio.fixture
async def broker_address(broker: BrokerDouble) -> AsyncIterator[str]:
    async with serving(broker) as address:
        yield address


@pytest.fixture
def service() -> ExampleService:
    return ExampleService()


@pytest_asyncio.fixture
async def provider(broker_address: str, service: ExampleService) -> AsyncIterator[Provider]:
    async with providing(broker_address, [service]) as running:
        yield running
