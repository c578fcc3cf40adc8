"""Databases and brokers for the storage's tests."""

from collections.abc import AsyncIterator

import pytest

from broker_service.storage import postgresql, sqlite
from broker_service.storage.database import Database, open_database
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, new_world


@pytest.fixture
async def database(books_url: str) -> AsyncIterator[Database]:
    opened = open_database(books_url)
    yield opened
    await opened.close()


@pytest.fixture
async def impatient_database(books_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database that is waited for, while it is locked, a twentieth of a second instead of one or two."""
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setitem(postgresql._SETTINGS, "lock_timeout", "50ms")
    opened = open_database(books_url)
    yield opened
    await opened.close()


@pytest.fixture
async def own_world(books_url: str) -> AsyncIterator[World]:
    """A broker of the test's own."""
    async with running_broker(books_url) as running:
        yield await new_world(running)


@pytest.fixture
async def twin_worlds(books_url: str) -> AsyncIterator[tuple[World, World]]:
    """Two brokers on one database, with the same people."""
    async with running_broker(books_url) as first:
        world = await new_world(first)
        async with running_broker(books_url, first.clock) as second:
            yield world, World(second, world.provider, world.rival)
