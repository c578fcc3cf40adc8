"""Brokers for the contract's tests, on each kind of database: ones that tests share, and fresh ones."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from broker_service.engine import directory
from broker_service.storage.audit import audit
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.scene import Scene, new_scene
from tests.contract.broker_world.world import World, new_world
from tests.databases import DatabaseKind, DatabaseMaker


class SharedWorlds:
    """Brokers that live as long as the session, however often tests switch between the kinds of database.

    In the end their books must agree.
    """

    def __init__(self, databases: DatabaseMaker, ends: AsyncExitStack) -> None:
        self._databases = databases
        self._ends = ends
        self._worlds: dict[tuple[DatabaseKind, bool], World] = {}
        self._scenes: dict[DatabaseKind, Scene] = {}

    async def world(self, kind: DatabaseKind, *, forgetful: bool = False) -> World:
        if (kind, forgetful) not in self._worlds:
            with pytest.MonkeyPatch.context() as patch:
                if forgetful:
                    patch.setattr(directory, "MAX_AGE_SECONDS", 0.0)
                running = await self._ends.enter_async_context(running_broker(self._databases.make(kind)))
            self._worlds[kind, forgetful] = await new_world(running)
        return self._worlds[kind, forgetful]

    async def scene(self, kind: DatabaseKind) -> Scene:
        if kind not in self._scenes:
            self._scenes[kind] = await new_scene(await self.world(kind))
        return self._scenes[kind]

    async def audit(self) -> None:
        for world in self._worlds.values():
            found = await world.running.broker.database.read(audit)
            assert found.violations == ()


@pytest.fixture
def database_url(books_url: str) -> str:
    """The URL of a database of the test's own, of each kind: here, a broker's of one shard, with nothing in it."""
    return books_url


@pytest.fixture(scope="session")
async def shared_worlds(session_databases: DatabaseMaker) -> AsyncIterator[SharedWorlds]:
    async with AsyncExitStack() as ends:
        worlds = SharedWorlds(session_databases, ends)
        yield worlds
        await worlds.audit()


@pytest.fixture(scope="session")
async def world(shared_worlds: SharedWorlds, database_kind: DatabaseKind) -> World:
    """The broker that tests share: each opens accounts of its own, and moves the clock forward only."""
    return await shared_worlds.world(database_kind)


@pytest.fixture(scope="session")
async def forgetful_world(shared_worlds: SharedWorlds, database_kind: DatabaseKind) -> World:
    """A broker that remembers no keys, services and providers, and so sees at once what SQL changes."""
    return await shared_worlds.world(database_kind, forgetful=True)


@pytest.fixture(scope="session")
async def scene(shared_worlds: SharedWorlds, database_kind: DatabaseKind) -> Scene:
    """An account, a reservation, a pack and a purchase that no test changes; its requests are valid."""
    return await shared_worlds.scene(database_kind)


@pytest.fixture
async def own_world(database_url: str) -> AsyncIterator[World]:
    """A broker of the test's own."""
    async with running_broker(database_url) as running:
        yield await new_world(running)
