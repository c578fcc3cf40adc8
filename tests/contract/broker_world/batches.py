"""Commands that wait together: which are in one batch, and in what order, is not left to chance."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc.aio
import pytest

from broker_service.domain.decide import Verdict
from tests.contract.broker_world.operations import resume_account
from tests.contract.broker_world.refusals import parse_error
from tests.contract.broker_world.world import Account, World
from tests.databases import write_lock

PATIENCE_SECONDS = 20.0


async def until(holds: Callable[[], bool]) -> None:
    """Returns when something holds; nothing outside of the committer tells when a command has come."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


def waiting(world: World) -> int:
    """Returns how many commands wait for a batch."""
    return sum(len(lane._queue) for lane in world.running.broker.committer._lanes)


def one_commits(world: World, shard_id: int = 0) -> bool:
    """Whether a shard's batch is on its way, and nothing waits behind it."""
    lane = world.running.broker.committer._lanes[shard_id]
    return bool(lane._committing) and not lane._queue


def counts(world: World) -> tuple[int, int]:
    """Returns how many commands have been committed, in how many transactions."""
    found = world.running.broker.committer.counts
    return found.commands, found.commits


@asynccontextmanager
async def held_back(world: World, account: Account) -> AsyncIterator[None]:
    """Makes whatever comes wait behind a commit that cannot go on; in the end that commits, and all of them after it.

    It is of one command, which changes nothing: the account is active, and resumed. The account's own commands wait
    however many they are; a crowd of others' might go beside.
    """
    with write_lock(world.running.database_url):
        first = asyncio.create_task(resume_account(world, account))
        await until(lambda: one_commits(world))
        yield
    await first


async def queued(world: World, calls: Sequence[Awaitable[Any]]) -> list[asyncio.Future[Any]]:
    """Starts calls, each once the one before it waits; only while others are held back."""
    sent: list[asyncio.Future[Any]] = []
    for call in calls:
        before = waiting(world)
        sent.append(asyncio.ensure_future(call))
        await until(lambda: waiting(world) > before)  # noqa: B023 - awaited in the same turn
    return sent


async def in_one_batch(world: World, calls: Sequence[Awaitable[Any]], *, account: Account | None = None) -> list[Any]:
    """Returns the answers to calls that are committed together, in their order; in a refused one's place its reason.

    They may be many if they are all of one `account`.
    """
    account = account or await world.new_account()
    with batch_sizes(world) as sizes:
        async with held_back(world, account):
            sent = await queued(world, calls)
        ends = [answer_or_reason(end) for end in await asyncio.gather(*sent, return_exceptions=True)]
    # What a call does after its first command comes in batches of its own.
    assert sizes[:2] == [1, len(calls)], "all in one, behind what held them back"
    return ends


@contextmanager
def batch_sizes(world: World) -> Iterator[list[int]]:
    """Counts the commands of each batch that is committed meanwhile."""
    watch, sizes = world.running.broker.watch, list[int]()
    committed = watch.committed

    def counting(verdict: Verdict) -> None:
        sizes.append(len(verdict.outcomes))
        committed(verdict)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "committed", counting)
        yield sizes


def answer_or_reason(end: Any) -> Any:
    """Returns an answer, or the reason of a refusal; raises any other error."""
    if isinstance(end, grpc.aio.AioRpcError):
        return parse_error(end).reason
    if isinstance(end, BaseException):
        raise end
    return end
