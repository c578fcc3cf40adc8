"""A PostgreSQL server that crashes under a broker, a broker that is killed above it: nothing is lost or doubled."""

from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.chaos.server_failures import ServerFailures
from tests.chaos.stage import SECONDS_PER_KILL, Failure, fail_under_load, kill_broker, kills_wanted, set_stage
from tests.postgres_server import PostgresServer

KILLS = kills_wanted(8)


@pytest.mark.timeout(120 + SECONDS_PER_KILL * KILLS)
async def test_on_postgresql(private_postgresql: PostgresServer, tmp_path: Path) -> None:
    """Every other failure is one of the server's, and in a quarter of those the broker goes with it."""
    of_server = ServerFailures(private_postgresql).all()
    failures: list[Failure] = [it for one in of_server for it in (one, kill_broker)]
    async with set_stage(private_postgresql.url(), tmp_path) as stage:
        await fail_under_load(stage, list(islice(cycle(failures), KILLS)))
