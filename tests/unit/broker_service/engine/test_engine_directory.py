"""What the directory remembers, and when it lets go."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from broker_service.bootstrap import initialize
from broker_service.domain.commands import OpenAccount, RotateToken
from broker_service.domain.directory import ServiceState
from broker_service.domain.errors import AccountNotFound
from broker_service.domain.known_tokens import KnownToken
from broker_service.engine.clock import system_clock
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.secrets import secret_hash
from broker_service.storage.database import Outcome, Work
from broker_service.storage.sqlite import SqliteDatabase


class SlowDatabase(SqliteDatabase):
    """A database that answers a write a while after it was committed, and counts what is read."""

    reads = 0

    async def read(self, work: Work[Outcome]) -> Outcome:
        self.reads += 1
        return await super().read(work)

    async def write(self, work: Work[Outcome]) -> Outcome:
        outcome = await super().write(work)
        await asyncio.sleep(0.05)
        return outcome


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SlowDatabase]:
    url = f"sqlite:///{tmp_path}/iap.db"
    initialize(url)
    database = SlowDatabase(url)
    yield database
    await database.close()


@pytest.fixture
async def directory(database: SlowDatabase) -> Directory:
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
    return directory


async def test_a_change_is_seen_at_once_even_if_its_caller_left_before_the_answer(directory: Directory) -> None:
    assert (await directory.service("sms")).state is ServiceState.ACTIVE
    updating = asyncio.create_task(directory.update_service("sms", {"state": ServiceState.RETIRED}))
    await asyncio.sleep(0.03)
    updating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await updating
    await asyncio.sleep(0.1)
    assert (await directory.service("sms")).state is ServiceState.RETIRED


ACCOUNT = f"acc_{'a' * 24}"


@pytest.fixture
async def committer(database: SlowDatabase) -> AsyncIterator[Committer]:
    """Has opened an account, with the token "first"."""
    committer = Committer(database, system_clock)
    await committer.execute(
        OpenAccount(
            request_id="r",
            account_id=ACCOUNT,
            customer_id="cus_c",
            provider_id="prv_p",
            service="sms",
            service_retired=False,
            trial_credits=0,
            token_hash=secret_hash("first"),
        )
    )
    yield committer
    await committer.drain()


async def test_a_token_is_looked_up_once_until_it_is_forgotten(
    directory: Directory, database: SlowDatabase, committer: Committer
) -> None:
    before = database.reads
    for _ in range(3):
        found = await directory.account_of_token("first")
        assert (found.account_id, found.customer_id, found.provider_id, found.service) == (
            ACCOUNT,
            "cus_c",
            "prv_p",
            "sms",
        )
        assert found.token == KnownToken(0, None)
    assert database.reads == before + 1
    rotated = await committer.execute(RotateToken("r", ACCOUNT, "cus_c", timedelta(hours=1), secret_hash("second")))
    assert (await directory.account_of_token("first")).token == KnownToken(0, None)
    directory.forget_token("first")
    end = rotated.account.update_time + timedelta(hours=1)
    assert (await directory.account_of_token("first")).token == KnownToken(1, end)
    assert (await directory.account_of_token("second")).token == KnownToken(1, None)
    assert database.reads == before + 3


async def test_an_account_is_looked_up_by_its_id_once(
    directory: Directory, database: SlowDatabase, committer: Committer
) -> None:
    with pytest.raises(AccountNotFound):
        await directory.account("acc_unknown")
    before = database.reads
    found = [await directory.account(ACCOUNT) for _ in range(3)]
    assert {(account.account_id, account.token) for account in found} == {(ACCOUNT, None)}
    assert database.reads == before + 1


async def test_a_token_that_nobody_has_is_asked_for_every_time(directory: Directory, database: SlowDatabase) -> None:
    before = database.reads
    for _ in range(2):
        with pytest.raises(AccountNotFound):
            await directory.account_of_token("unknown")
    assert database.reads == before + 2
