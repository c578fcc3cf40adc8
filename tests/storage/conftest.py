"""Brokers for the storage's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, new_world


@pytest.fixture
async def own_world(tmp_path: Path) -> AsyncIterator[World]:
    """A broker of the test's own."""
    async with running_broker(tmp_path / "iap.db") as running:
        yield await new_world(running)


@pytest.fixture
async def twin_worlds(tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """Two brokers on one database file, with the same people."""
    async with running_broker(tmp_path / "iap.db") as first:
        world = await new_world(first)
        async with running_broker(tmp_path / "iap.db", first.clock) as second:
            yield world, World(second, world.provider, world.rival)
