"""The stage: a broker process, its database, the accounts, and the clients that call meanwhile."""

import asyncio
import json
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio

from deploy.node_process import NodeCommand, NodeProcess, run_command
from tests.chaos.calls import Caller, Progress
from tests.chaos.clients import Client
from tests.chaos.journal import Journal, Record
from tests.chaos.reckoning import assert_answers_stand, assert_books_are_as_told, settle
from tests.chaos.told_books import ToldBooks
from tests.contract.broker_world.running_broker import MovableClock, Stubs, running_broker
from tests.contract.broker_world.world import Account, new_world

BROKER = "broker_service"
KILLS_VARIABLE = "IAP_CHAOS_KILLS"
SEED_VARIABLE = "IAP_CHAOS_SEED"

CLIENTS = 8
OTHER_ACCOUNTS = 10
HOT_CREDITS = 60
OTHER_CREDITS = 30
# How long there may be no answer at all, on a machine that is busy with other things.
SILENCE_SECONDS = 60.0
SECONDS_PER_KILL = 20


def kills_wanted(default: int) -> int:
    return int(os.environ.get(KILLS_VARIABLE, default))


@dataclass(slots=True)
class Stage:
    """What failures befall, and what is checked after them."""

    database_url: str
    broker: NodeProcess
    caller: Caller
    accounts: dict[Account, int]
    journals: list[Journal]
    seed: str
    chance: random.Random


Failure = Callable[[Stage], Awaitable[None]]


async def kill_broker(stage: Stage) -> None:
    """Kills the process in the midst of whatever it does, and starts it again at once."""
    await stage.broker.kill()
    await stage.broker.start()


@asynccontextmanager
async def set_stage(database_url: str, directory: Path) -> AsyncIterator[Stage]:
    """Opens accounts and serves them from a process of its own; it is gone in the end, whatever has happened."""
    seed = os.environ.get(SEED_VARIABLE) or secrets.token_hex(4)
    async with running_broker(database_url, MovableClock(datetime.now(UTC))) as running:
        world = await new_world(running)
        hot = await world.new_account(trial_credits=HOT_CREDITS)
        others = [await world.new_account(trial_credits=OTHER_CREDITS) for _ in range(OTHER_ACCOUNTS)]
        accounts = {hot: HOT_CREDITS} | dict.fromkeys(others, OTHER_CREDITS)
    command = NodeCommand(module=BROKER, arguments=("--database", database_url))
    broker = NodeProcess(command, log_path=directory / "broker.log")
    try:
        await broker.start()
        async with AsyncExitStack() as stack:
            channel = await stack.enter_async_context(channel_to(broker.address))
            caller = Caller(Stubs(channel), world.provider.key, running.operator_key, Progress())
            journals = [
                stack.enter_context(Journal(directory / f"client-{number}.journal")) for number in range(CLIENTS)
            ]
            yield Stage(database_url, broker, caller, accounts, journals, seed, random.Random(seed))
        assert await broker.stop() == 0
    finally:
        await broker.kill()


async def audit_of(database_url: str) -> dict[str, Any]:
    """Returns what the operator's command says of a database."""
    found: dict[str, Any] = json.loads(await run_command(BROKER, "audit", "--database", database_url, "--json"))
    return found


async def fail_under_load(stage: Stage, failures: Sequence[Failure]) -> None:
    """Lets the clients work while one failure after the other strikes, then checks all that they were told."""
    hot, *others = stage.accounts
    clients = [
        Client(stage.caller, journal, random.Random(f"{stage.seed}/{number}"), hot, others)
        for number, journal in enumerate(stage.journals)
    ]
    print(f"seed {stage.seed}: {len(failures)} failures")
    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run())
        await _strike(stage, failures)
        for client in clients:
            client.stopped.set()
    await _reckon(stage, begin)


async def _strike(stage: Stage, failures: Sequence[Failure]) -> None:
    """Strikes in the midst of work: after some answers, and then within a few commits, or some time.

    Or kills the broker the moment an answer comes, when it may have been given too early.
    """
    chance = stage.chance
    for failure in failures:
        at_once = failure is kill_broker and chance.random() < 0.5
        await _wait_for_answers(stage, chance.randint(1, 30), then=stage.broker.kill_now if at_once else _do_nothing)
        if not at_once:
            await asyncio.sleep(chance.choice((chance.uniform(0.0, 0.01), chance.uniform(0.0, 0.2))))
        await failure(stage)
    await _wait_for_answers(stage, CLIENTS, then=_do_nothing)


async def _wait_for_answers(stage: Stage, count: int, *, then: Callable[[], None]) -> None:
    async with asyncio.timeout(SILENCE_SECONDS):
        await stage.caller.progress.wait_for_answers(count, then)


def _do_nothing() -> None:
    pass


async def _reckon(stage: Stage, begin: float) -> None:
    settled = await settle(stage.caller, stage.journals)
    records = [journal.read() for journal in stage.journals]
    told = ToldBooks({account.id: trial_credits for account, trial_credits in stage.accounts.items()})
    for client_records in records:
        told.add(client_records)
    everything = [record for client_records in records for record in client_records]
    print(f"{_summary(everything)}; {stage.caller.progress.unclear} tries without an answer, {settled} settled after")
    print(f"{time.monotonic() - begin:.1f} s under load")
    await assert_answers_stand(stage.caller, everything)
    await assert_books_are_as_told(stage.caller, told, list(stage.accounts))
    books = await audit_of(stage.database_url)
    assert (books["violations"], books["captured_credits"]) == ([], told.captured_credits())
    assert stage.caller.progress.unclear, "failures that leave nothing unanswered prove nothing"


def _summary(records: Sequence[Record]) -> str:
    done = Counter(record.rpc for record in records if record.response is not None)
    refused = Counter(record.refusal for record in records if record.refusal)
    return ", ".join(f"{count} {name}" for name, count in (done + refused).most_common())


def channel_to(address: str) -> grpc.aio.Channel:
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
    return grpc.aio.insecure_channel(address, options=options)
