"""A real broker that streams are paid at, and a provider on it for each test."""

from collections.abc import AsyncIterator

import pytest

from broker_service.storage.audit import audit
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, new_world
from tests.contract.provider_streams.metered_service import MeteredService
from tests.contract.provider_streams.streaming import Streaming, WallClock, streaming_of
from tests.databases import DatabaseKind, DatabaseMaker


@pytest.fixture(scope="session")
async def paying_world(session_databases: DatabaseMaker) -> AsyncIterator[World]:
    """A broker whose books must agree in the end; on one kind of database, as streams see no difference."""
    async with running_broker(session_databases.make(DatabaseKind.SQLITE), WallClock()) as running:
        yield await new_world(running)
        assert (await running.broker.database.read(audit)).violations == ()


@pytest.fixture
async def service(paying_world: World) -> MeteredService:
    return MeteredService(await paying_world.new_service())


@pytest.fixture
async def streaming(paying_world: World, service: MeteredService) -> AsyncIterator[Streaming]:
    async with streaming_of(paying_world, service) as running:
        yield running
