"""A broker that is killed loses nothing that it has answered."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from broker_service.storage.audit import audit
from broker_service.storage.database import open_database
from tests.contract.broker_world.running_broker import MovableClock, Stubs, running_broker
from tests.contract.broker_world.world import World, new_id, new_world
from tests.forked_processes import start_process

REPOSITORY = Path(__file__).parents[2]

# However slowly its answers are read, the broker has not been asked for all when it dies.
REQUESTS, AT_ONCE, DIES_AFTER = 400, 150, 100


@asynccontextmanager
async def broker_process(database_url: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Stubs]]:
    """Serves a database from a process of its own."""
    process = await start_process(
        *(sys.executable, "-m", "broker_service", "serve", "--listen", "127.0.0.1:0", "--log-level", "error"),
        *("--database", database_url),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().split()
        assert line[:2] == ["listening", "on"]
        async with grpc.aio.insecure_channel(line[2]) as channel:
            yield process, Stubs(channel)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_what_was_answered_before_a_kill_is_there_afterwards(database_url: str) -> None:
    async with running_broker(database_url, MovableClock()) as running:
        made = await new_world(running)
        account = await made.new_account(trial_credits=REQUESTS)
    request_ids = [new_id() for _ in range(REQUESTS)]
    answered = []
    turn = asyncio.Semaphore(AT_ONCE)
    async with broker_process(database_url) as (process, stubs):
        world = StubWorld(made, stubs)

        async def reserve(request_id: str) -> None:
            async with turn:
                await world.reserve(account, 1, request_id=request_id)
            answered.append(request_id)
            if len(answered) == DIES_AFTER:
                os.kill(process.pid, signal.SIGKILL)

        await asyncio.gather(*(reserve(request_id) for request_id in request_ids), return_exceptions=True)
        assert await process.wait() == -signal.SIGKILL
    assert DIES_AFTER <= len(answered) < REQUESTS
    async with broker_process(database_url) as (process, stubs):
        world = StubWorld(made, stubs)
        again = await asyncio.gather(*(world.reserve(account, 1, request_id=it) for it in request_ids))
        replayed = {it for it, answer in zip(request_ids, again, strict=True) if answer.replayed}
        assert replayed >= set(answered), "what was answered was durable"
        assert await world.balance(account) == (REQUESTS, REQUESTS, 0), "what was tried again was done once"
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    database = open_database(database_url)
    assert (await database.read(audit)).violations == ()
    await database.close()


class StubWorld(World):
    """The people of a world, at a broker in another process."""

    def __init__(self, world: World, stubs: Stubs) -> None:
        super().__init__(world.running, world.provider, world.rival, world.services)
        self._stubs = stubs

    @property
    def stubs(self) -> Stubs:
        return self._stubs
