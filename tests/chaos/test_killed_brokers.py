"""A broker that is killed again and again, at any moment, keeps what it answered and counts nothing twice."""

from pathlib import Path

import pytest

from tests.chaos.stage import SECONDS_PER_KILL, fail_under_load, kill_broker, kills_wanted, set_stage
from tests.databases import DatabaseKind, DatabaseMaker

KILLS = kills_wanted(12)


@pytest.mark.timeout(120 + SECONDS_PER_KILL * KILLS)
async def test_on_sqlite(databases: DatabaseMaker, tmp_path: Path) -> None:
    async with set_stage(databases.make(DatabaseKind.SQLITE), tmp_path) as stage:
        await fail_under_load(stage, [kill_broker] * KILLS)
