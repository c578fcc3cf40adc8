"""Brokers for the contract's tests: one that all share, and fresh ones for tests that break theirs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_service.engine import directory
from broker_service.storage.audit import audit
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.scene import Scene, new_scene
from tests.contract.broker_world.world import World, new_world


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The broker that tests share: each opens accounts of its own, and moves the clock forward only.

    In the end its books must agree.
    """
    async with running_broker(tmp_path_factory.mktemp("broker") / "iap.db") as running:
        yield await new_world(running)
        found = await running.broker.database.read(audit)
        assert found.violations == ()


@pytest.fixture(scope="session")
async def forgetful_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A broker that remembers no keys, services and providers, and so sees at once what SQL changes.

    In the end its books must agree.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directory, "MAX_AGE_SECONDS", 0.0)
        async with running_broker(tmp_path_factory.mktemp("forgetful") / "iap.db") as running:
            yield await new_world(running)
            found = await running.broker.database.read(audit)
            assert found.violations == ()


@pytest.fixture
async def own_world(tmp_path: Path) -> AsyncIterator[World]:
    """A broker of the test's own."""
    async with running_broker(tmp_path / "iap.db") as running:
        yield await new_world(running)


@pytest.fixture(scope="session")
async def scene(world: World) -> Scene:
    """An account, a reservation, a pack and a purchase that no test changes; its requests are valid."""
    return await new_scene(world)
