"""What the directory remembers, and when it lets go."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_service.bootstrap import initialize
from broker_service.domain.directory import ServiceState
from broker_service.engine.clock import system_clock
from broker_service.engine.directory import Directory
from broker_service.storage.database import Outcome, Work
from broker_service.storage.sqlite import SqliteDatabase


class SlowDatabase(SqliteDatabase):
    """A database that answers a write a while after it was committed."""

    async def write(self, work: Work[Outcome]) -> Outcome:
        outcome = await super().write(work)
        await asyncio.sleep(0.05)
        return outcome


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    url = f"sqlite:///{tmp_path}/iap.db"
    initialize(url)
    database = SlowDatabase(url)
    directory = Directory(database, system_clock)
    await directory.create_service(
        request_id="r",
        provider_id="prv_p",
        service="sms",
        title="Texts",
        description="",
        unit_name="",
        trial_credits=0,
        default_ttl=None,
        max_ttl=None,
    )
    yield directory
    await database.close()


async def test_a_change_is_seen_at_once_even_if_its_caller_left_before_the_answer(directory: Directory) -> None:
    assert (await directory.service("sms")).state is ServiceState.ACTIVE
    updating = asyncio.create_task(directory.update_service("sms", {"state": ServiceState.RETIRED}))
    await asyncio.sleep(0.03)
    updating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await updating
    await asyncio.sleep(0.1)
    assert (await directory.service("sms")).state is ServiceState.RETIRED
