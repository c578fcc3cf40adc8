"""A PostgreSQL server that goes away, comes back, or cuts its connections: nothing answered is lost or done twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from sqlalchemy import Connection, select

from broker_service.bootstrap import initialize
from broker_service.domain.book import Changes
from broker_service.domain.references import References
from broker_service.storage import tables
from broker_service.storage.audit import audit
from broker_service.storage.database import Database, open_database
from broker_service.storage.errors import ConnectionLostError, StorageUnavailableError
from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, new_id, new_world
from tests.databases import cut_connections
from tests.postgres_server import PostgresServer
from tests.storage.ledger_pages import account as ledger_account
from tests.storage.ledger_pages import load, write

PATIENCE_SECONDS = 20.0
ENDS = [PostgresServer.shut_down, PostgresServer.immediate_shutdown, PostgresServer.kill]


@pytest.fixture
async def books(private_postgresql: PostgresServer) -> AsyncIterator[Database]:
    """A database on a server that the test may end."""
    initialize(private_postgresql.url())
    opened = open_database(private_postgresql.url())
    yield opened
    await opened.close()


@pytest.fixture
async def own_world(private_postgresql: PostgresServer) -> AsyncIterator[World]:
    """A broker on a server that the test may end."""
    async with running_broker(private_postgresql.url()) as running:
        yield await new_world(running)


def property_names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(tables.properties.c.name)))


async def until_unavailable(attempt: Callable[[], Awaitable[object]]) -> None:
    """Tries until there is an outage: what a killed server has left serves on until it notices, soon after."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await attempt()
            except StorageUnavailableError:
                return


@pytest.mark.parametrize("end", ENDS)
async def test_a_server_that_is_gone_is_an_outage_until_it_is_back(
    books: Database, private_postgresql: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    lane = books.lane(0)
    await write(lane, Changes(account=ledger_account()))
    end(private_postgresql)
    for _ in range(2):
        await until_unavailable(lambda: books.read(property_names))
        await until_unavailable(lambda: books.write(property_names))
        await until_unavailable(lambda: load(lane, References(accounts={"acc"})))
    private_postgresql.start()
    assert (await load(lane, References(accounts={"acc"})))["acc"].account == ledger_account()
    assert await books.write(property_names) == await books.read(property_names)


async def test_nothing_is_left_of_a_batch_whose_connection_is_cut(
    books: Database, private_postgresql: PostgresServer
) -> None:
    lane = books.lane(0)
    await write(lane, Changes(account=ledger_account()))

    def cut(connection: Connection) -> None:
        connection.execute(tables.properties.insert(), {"name": "half", "value": ""})
        assert cut_connections(private_postgresql.url()) >= 1
        connection.execute(tables.properties.insert(), {"name": "whole", "value": ""})

    with pytest.raises(ConnectionLostError):
        await books.write(cut)
    assert set(await books.read(property_names)).isdisjoint({"half", "whole"})


async def reserve_until_done(world: World, account: Account, request_id: str) -> None:
    """Reserves a credit, and again while the broker cannot."""
    while True:
        (answer,) = await asyncio.gather(world.reserve(account, 1, request_id=request_id), return_exceptions=True)
        if not isinstance(answer, grpc.aio.AioRpcError):
            return
        assert parse_error(answer).reason in {"UNAVAILABLE", "STORAGE_CONFLICT"}
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("end", ENDS)
async def test_what_was_answered_before_a_server_ended_is_there_once(
    own_world: World, private_postgresql: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    world = own_world
    account = await world.new_account(trial_credits=1_000)
    answered: list[str] = []

    async def keep_reserving() -> None:
        while len(answered) < 150:
            request_id = new_id()
            await reserve_until_done(world, account, request_id)
            answered.append(request_id)
            if len(answered) in {30, 90}:
                end(private_postgresql)
                await asyncio.sleep(0.2)
                private_postgresql.start()

    await asyncio.gather(*(keep_reserving() for _ in range(8)))
    again = await asyncio.gather(*(world.reserve(account, 1, request_id=it) for it in answered))
    assert all(answer.replayed for answer in again), "what was answered was durable"
    assert await world.balance(account) == (1_000, len(answered), 1_000 - len(answered))
    assert (await world.running.broker.database.read(audit)).violations == ()
