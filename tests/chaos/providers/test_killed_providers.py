"""A provider that is killed again and again, or its broker, or both: each request is paid at most once, and done.

Kills come at any moment, and at the boundaries of a request's steps.
"""

import asyncio
import os
import random
import secrets
import time
from pathlib import Path

import pytest

from client_stub.broker import Transport
from tests.chaos.providers.customers import Counter, keep_asking
from tests.chaos.providers.fault_point_names import POINTS
from tests.chaos.providers.paid_books import reckon, summary
from tests.chaos.providers.provider_stage import BROKER, PROVIDER, ProviderStage, provider_stage
from tests.chaos.stage import KILLS_VARIABLE, SECONDS_PER_KILL, SEED_VARIABLE, channel_to, kills_wanted
from tests.databases import DatabaseKind, DatabaseMaker

KILLS = kills_wanted(20)
IN_FULL = KILLS_VARIABLE in os.environ
CUSTOMERS = 6
_POINT_SECONDS = 1.0


@pytest.mark.timeout(120 + SECONDS_PER_KILL * KILLS)
@pytest.mark.parametrize("kind", list(DatabaseKind) if IN_FULL else [DatabaseKind.SQLITE], ids=str)
async def test_each_request_is_paid_once_or_not_at_all(
    databases: DatabaseMaker, tmp_path: Path, kind: DatabaseKind
) -> None:
    database_url = databases.make(kind)
    journal_url = databases.make(kind) if kind is DatabaseKind.POSTGRESQL else f"sqlite:///{tmp_path}/journal.db"
    # Each database with one of the ways to charge, to save half of the time.
    transport: Transport = "pipelined" if kind is DatabaseKind.POSTGRESQL else "unary"
    await kill_again_and_again(database_url, journal_url, tmp_path, transport)


async def kill_again_and_again(database_url: str, journal_url: str, directory: Path, transport: Transport) -> None:
    seed = os.environ.get(SEED_VARIABLE) or secrets.token_hex(4)
    print(f"seed {seed}: {KILLS} kills")
    begin = time.monotonic()
    async with (
        provider_stage(database_url, journal_url, directory, transport=transport) as stage,
        channel_to(stage.provider.address) as channel,
    ):
        counter, stopped = Counter(stage, channel), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CUSTOMERS):
                group.create_task(keep_asking(counter, random.Random(f"{seed}/{number}"), stopped))
            await _strike(stage, counter, random.Random(seed))
            stopped.set()
        struck = time.monotonic()
        given_up = [asked for asked in counter.asked if not asked.answered][::2]
        await reckon(stage, counter, given_up=given_up)
        assert await stage.provider.stop() == 0
        assert await stage.broker.stop() == 0
    print(f"{summary(counter)}; {struck - begin:.1f} s under load, {time.monotonic() - struck:.1f} s after")


async def _strike(stage: ProviderStage, counter: Counter, chance: random.Random) -> None:
    for _ in range(KILLS):
        await counter.answers.wait_for(chance.randint(1, 15), alive=lambda: True)
        victims = chance.choice((*[(PROVIDER,)] * 4, (BROKER,), (PROVIDER, BROKER)))
        if PROVIDER in victims and chance.random() < 0.5:
            await _let_die_at_a_point(stage, chance)
        else:
            await asyncio.sleep(chance.uniform(0.0, 0.05))
        await stage.kill(victims)
    await counter.answers.wait_for(CUSTOMERS, alive=lambda: True)


async def _let_die_at_a_point(stage: ProviderStage, chance: random.Random) -> None:
    """Waits until the provider has killed itself; or a while, for some points are seldom passed."""
    stage.arm(chance.choice(POINTS), count=chance.randint(1, 3), then="KILL")
    try:
        async with asyncio.timeout(_POINT_SECONDS):
            await stage.provider.wait()
    except TimeoutError:
        pass
    stage.disarm()
