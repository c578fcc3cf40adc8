"""A real broker in this process, on a real database, behind a real port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import grpc
import grpc.aio
from iap.broker.v1 import (
    account_pb2_grpc,
    admin_pb2_grpc,
    broker_pb2_grpc,
    catalog_pb2_grpc,
    event_pb2_grpc,
    purchase_pb2_grpc,
    settlement_pb2_grpc,
)

from broker_service.bootstrap import Broker, build_broker, initialize
from broker_service.payments.gateways import Gateways
from broker_service.settings import BrokerSettings
from mesh_runtime.addresses import Address
from tests.contract.broker_world.pipelined import MOVING_RPCS, PipelinedStub, Transport
from tests.databases import run_sql

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
    """The generated stubs of every service of the broker, on one channel.

    `transport` is how operations reach BrokerService, of whatever broker; the fixture `broker_transport` sets it.
    """

    transport = Transport.UNARY

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._unary: broker_pb2_grpc.BrokerServiceAsyncStub = broker_pb2_grpc.BrokerServiceStub(channel)
        self._pipelined = cast("broker_pb2_grpc.BrokerServiceAsyncStub", PipelinedStub(channel))
        self.accounts = account_pb2_grpc.AccountServiceStub(channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
        self.purchases = purchase_pb2_grpc.PurchaseServiceStub(channel)
        self.settlement = settlement_pb2_grpc.SettlementServiceStub(channel)
        self.events = event_pb2_grpc.EventServiceStub(channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(channel)

    @property
    def broker(self) -> "broker_pb2_grpc.BrokerServiceAsyncStub":
        """BrokerService."""
        return self._unary if self.transport is Transport.UNARY else self._pipelined

    def method(self, rpc: str) -> Any:
        """Returns the stub's method of an RPC by its name, which is unique among the services."""
        if rpc in MOVING_RPCS:
            return getattr(self.broker, rpc)
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
    database_url: str
    operator_key: str
    address: Address

    @property
    def http_url(self) -> str:
        """Where its pages are; only of a broker that serves HTTP."""
        assert self.broker.http is not None
        return f"http://{self.broker.http.address}"

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Runs one statement on the database, as another process would."""
        return run_sql(self.database_url, statement, *parameters)


def broker_settings(database_url: str) -> BrokerSettings:
    return BrokerSettings(
        listen=Address("127.0.0.1", 0),
        database=database_url,
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
    database_url: str,
    clock: MovableClock | None = None,
    *,
    shards: int = 1,
    gateways: Gateways | None = None,
    **changed_settings: Any,
) -> AsyncIterator[RunningBroker]:
    """Makes the database a broker's if it is not, serves it, and closes everything in the end."""
    settings = replace(broker_settings(database_url), **changed_settings)
    clock = clock or MovableClock()
    operator_key = initialize(settings.database, shards=shards, clock=clock) or ""
    broker = await build_broker(settings, clock=clock, gateways=gateways)
    try:
        await broker.start_http()
        address = await broker.node.start()
        # Equal channels of one process would share a connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(str(address), options=options) as channel:
            yield RunningBroker(broker, channel, Stubs(channel), clock, database_url, operator_key, address)
    finally:
        broker.node.hurry()
        await broker.begin_stop()
        await broker.node.stop()
        await broker.close()
