"""Brokers and receivers for the tests of events."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.broker_events.event_calls import event_world
from tests.contract.broker_world.webhook_receiver import Receiver, receiving
from tests.contract.broker_world.world import World


@pytest.fixture
async def events_of(database_url: str) -> AsyncIterator[World]:
    """A broker of the test's own."""
    async with event_world(database_url) as world:
        yield world


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as served:
        yield served
