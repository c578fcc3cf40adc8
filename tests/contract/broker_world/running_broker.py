"""A real broker in this process, on a SQLite file, behind a real port."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from iap.broker.v1 import (
    account_pb2_grpc,
    admin_pb2_grpc,
    broker_pb2_grpc,
    catalog_pb2_grpc,
    purchase_pb2_grpc,
    settlement_pb2_grpc,
)

from broker_service.bootstrap import Broker, build_broker, initialize
from broker_service.settings import BrokerSettings
from mesh_runtime.addresses import Address

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
PURCHASE_URL = "https://shop.example/{service}"


class MovableClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def move(self, span: timedelta) -> datetime:
        self.now += span
        return self.now


class Stubs:
    """The generated stubs of every service of the broker, on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.broker = broker_pb2_grpc.BrokerServiceStub(channel)
        self.accounts = account_pb2_grpc.AccountServiceStub(channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
        self.purchases = purchase_pb2_grpc.PurchaseServiceStub(channel)
        self.settlement = settlement_pb2_grpc.SettlementServiceStub(channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(channel)

    def method(self, rpc: str) -> Any:
        """Returns the stub's method of an RPC by its name, which is unique among the services."""
        for stub in vars(self).values():
            if hasattr(stub, rpc):
                return getattr(stub, rpc)
        raise LookupError(rpc)


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that serves, and what reaches it. `operator_key` is empty if the database was made before."""

    broker: Broker
    channel: grpc.aio.Channel
    stubs: Stubs
    clock: MovableClock
    path: Path
    operator_key: str

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Runs one statement on the database file, as another process would."""
        return run_sql(self.path, statement, *parameters)


def run_sql(path: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Runs one statement on a SQLite file and commits it."""
    with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
        return connection.execute(statement, parameters).fetchall()


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Holds a SQLite file's one write lock, as another process's long transaction would."""
    with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def broker_settings(path: Path) -> BrokerSettings:
    return BrokerSettings(
        listen=Address("127.0.0.1", 0),
        database=f"sqlite:///{path}",
        commission_basis_points=2_500,
        purchase_url=PURCHASE_URL,
        tls_certificate=None,
        tls_key=None,
        insecure=False,
        drain_seconds=5.0,
        queue_commands=10_000,
        batch_commands=512,
        max_concurrent_calls=None,
    )


@asynccontextmanager
async def running_broker(
    path: Path, clock: MovableClock | None = None, *, shards: int = 1, **changed_settings: Any
) -> AsyncIterator[RunningBroker]:
    """Makes the database if it is missing, serves it, and closes everything in the end."""
    settings = replace(broker_settings(path), **changed_settings)
    clock = clock or MovableClock()
    operator_key = initialize(settings.database, shards=shards, clock=clock) or ""
    broker = await build_broker(settings, clock=clock)
    try:
        address = await broker.node.start()
        # Equal channels of one process would share a connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(str(address), options=options) as channel:
            yield RunningBroker(broker, channel, Stubs(channel), clock, path, operator_key)
    finally:
        broker.node.hurry()
        await broker.node.stop()
        await broker.close()
