"""Brokers that serve HTTP, one with the sandbox gateway and one with Stripe, for each kind of database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from tests.contract.broker_http.shops import ANY_PORT, StripeShop, stripe_settings
from tests.contract.broker_http.web import Web
from tests.contract.broker_world.running_broker import MovableClock, running_broker
from tests.contract.broker_world.world import World, new_world
from tests.databases import DatabaseKind, DatabaseMaker
from tests.stripe_double.server import running_stripe


@pytest.fixture(scope="session")
async def sandbox_world(database_kind: DatabaseKind, session_databases: DatabaseMaker) -> AsyncIterator[World]:
    """A broker whose purchases are paid on its own pages; tests move its clock forward only."""
    async with running_broker(session_databases.make(database_kind), http_listen=ANY_PORT) as running:
        yield await new_world(running)


@pytest.fixture
async def web(sandbox_world: World) -> AsyncIterator[Web]:
    """What asks that broker over HTTP."""
    async with Web(sandbox_world.running.http_url) as client:
        yield client


@pytest.fixture(scope="session")
async def stripe_shop(database_kind: DatabaseKind, session_databases: DatabaseMaker) -> AsyncIterator[StripeShop]:
    """A broker whose purchases are paid at Stripe, and a double of Stripe."""
    clock = MovableClock(datetime.now(UTC).replace(microsecond=0))
    async with running_stripe() as stripe:
        stripe.api.clock = clock
        settings = stripe_settings(stripe.url)
        async with running_broker(session_databases.make(database_kind), clock, **settings) as running:
            yield StripeShop(await new_world(running), stripe)
