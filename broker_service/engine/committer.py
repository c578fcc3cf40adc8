"""The group committer: many commands, one transaction.

While one batch commits, the next gathers; so the busier the broker, the larger its batches and the smaller the share
of a commit that each command pays. Nothing is held back to wait for company: a command that finds its lane free goes
at once.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import overload

from sqlalchemy import Connection

from broker_service.domain.accounts import AccountResult
from broker_service.domain.commands import (
    Capture,
    Command,
    OpenAccount,
    Release,
    Reserve,
    ResolvePayment,
    Settle,
    StartPurchase,
)
from broker_service.domain.decide import Result, Verdict, decide_batch
from broker_service.domain.errors import InvariantError, Refusal
from broker_service.domain.identities import shard_of
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.references import references_of
from broker_service.domain.reservations import ReservationResult
from broker_service.engine.clock import Clock, ShardClock
from broker_service.engine.writing import write_with_retries
from broker_service.storage.database import Database, DuplicateRowError, StorageError
from broker_service.storage.ledger import load_books, write_changes
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)


class OverloadedError(Exception):
    """Too many commands wait already; nothing of this one has been done."""


class HaltedError(Exception):
    """The lane has met an invariant that does not hold, and commits nothing any more; nothing has been done."""


@dataclass(frozen=True, slots=True)
class CommitterLimits:
    """How many commands may wait in one lane, and how many go into one transaction."""

    queue_commands: int = 10_000
    batch_commands: int = 512


@dataclass(slots=True)
class LaneCounts:
    """How many commands a lane has committed, in how many transactions."""

    commands: int = 0
    commits: int = 0


class Committer:
    """One lane per shard; a command goes to the lane of its account."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        shards: int = 1,
        limits: CommitterLimits | None = None,
        on_halt: Callable[[], None] = lambda: None,
    ) -> None:
        self._lanes = [
            _Lane(shard_id, database, ShardClock(clock), limits or CommitterLimits(), on_halt)
            for shard_id in range(shards)
        ]

    @overload
    async def execute(self, command: Reserve | Capture | Release) -> ReservationResult: ...
    @overload
    async def execute(self, command: OpenAccount | Settle) -> AccountResult: ...
    @overload
    async def execute(self, command: StartPurchase | ResolvePayment) -> PurchaseResult: ...

    async def execute(self, command: Command) -> Result:
        """Returns a command's result once it is durable.

        Raises its Refusal, or with nothing done: OverloadedError, HaltedError. Raises StorageError when the database
        failed; the same command, run again, settles it. A caller that is cancelled while the command still waits
        takes it out of the queue undone; one that is cancelled later does not stop it.
        """
        return await self._lane_of(command.account_id).execute(command)

    def now(self, account_id: str) -> datetime:
        """Returns the present instant in an account's shard, the same for those who read and those who write."""
        return self._lane_of(account_id).clock.now()

    def halt(self, account_id: str) -> None:
        """Stops the lane of an account whose books were found to contradict themselves; turns health NOT_SERVING."""
        self._lane_of(account_id).halt()

    @property
    def counts(self) -> LaneCounts:
        """What all lanes have committed so far."""
        return LaneCounts(
            commands=sum(lane.counts.commands for lane in self._lanes),
            commits=sum(lane.counts.commits for lane in self._lanes),
        )

    async def drain(self) -> None:
        """Returns when nothing waits and nothing commits."""
        for lane in self._lanes:
            await lane.drain()

    def _lane_of(self, account_id: str) -> "_Lane":
        return self._lanes[shard_of(account_id, len(self._lanes))]


Answer = asyncio.Future[Result]


class _Lane:
    """Commits the commands of one shard, batch by batch, in the order of their arrival."""

    def __init__(
        self, shard_id: int, database: Database, clock: ShardClock, limits: CommitterLimits, on_halt: Callable[[], None]
    ) -> None:
        self.counts = LaneCounts()
        self.clock = clock
        self._shard_id = shard_id
        self._database = database
        self._limits = limits
        self._on_halt = on_halt
        # By answer, so that a caller who leaves takes its command along.
        self._queue: OrderedDict[Answer, Command] = OrderedDict()
        self._committing: asyncio.Task[None] | None = None
        self._halted = False

    async def execute(self, command: Command) -> Result:
        if self._halted:
            raise HaltedError
        if len(self._queue) >= self._limits.queue_commands:
            raise OverloadedError
        answer: Answer = asyncio.get_running_loop().create_future()
        self._queue[answer] = command
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        try:
            return await answer
        finally:
            self._queue.pop(answer, None)

    def halt(self) -> None:
        """Commits nothing any more: wrong money is worse than no service."""
        if self._halted:
            return
        self._halted = True
        waiting = list(self._queue)
        self._queue.clear()
        _answer_all(waiting, HaltedError())
        self._on_halt()

    async def drain(self) -> None:
        if self._committing is not None:
            await asyncio.wait([self._committing])

    async def _commit_all(self) -> None:
        """Commits batch after batch until nothing waits."""
        try:
            while self._queue:
                await self._commit_batch(self._take_batch())
        finally:
            self._committing = None

    def _take_batch(self) -> dict[Answer, Command]:
        """Takes what waits, up to the limit."""
        size = min(len(self._queue), self._limits.batch_commands)
        taken = (self._queue.popitem(last=False) for _ in range(size))
        # A caller may have left and not run since, to take its command out.
        return {answer: command for answer, command in taken if not answer.done()}

    async def _commit_batch(self, batch: dict[Answer, Command]) -> None:
        if not batch or self._halted:
            _answer_all(batch, HaltedError())
            return
        try:
            verdict = await self._run(list(batch.values()))
        except InvariantError:
            self._stop(batch)
        except DuplicateRowError:
            # No race, or trying again would have shown the other's row: it contradicts what the books say is new.
            if len(batch) == 1:
                self._stop(batch)
            else:
                await self._commit_singly(batch)
        except StorageError as error:
            _answer_all(batch, error)
            logger.warning("ledger.batch_failed", shard_id=self._shard_id, cause=str(error), commands=len(batch))
        except Exception as error:
            logger.exception("ledger.batch_crashed", shard_id=self._shard_id, commands=len(batch))
            if len(batch) == 1:
                _answer_all(batch, error)
            else:
                await self._commit_singly(batch)
        else:
            self.counts.commands += len(batch)
            self.counts.commits += 1
            for answer, outcome in zip(batch, verdict.outcomes, strict=True):
                _answer(answer, outcome)

    async def _run(self, commands: list[Command]) -> Verdict:
        """Decides and writes a batch in one transaction.

        Again, if other writers were in the way: that is safe even where the first try did commit, since every
        command is idempotent by its own identity.
        """
        references = references_of(commands)

        def work(connection: Connection) -> Verdict:
            now = self.clock.now()
            books, loaded = load_books(connection, self._shard_id, references, now)
            verdict = decide_batch(books, commands, now)
            write_changes(connection, self._shard_id, verdict.changes, loaded)
            return verdict

        verdict = await write_with_retries(self._database, work)
        self.clock.observe(verdict.now)
        return verdict

    async def _commit_singly(self, batch: dict[Answer, Command]) -> None:
        """Commits the commands of a batch one by one, so that what one of them has met harms no other."""
        for answer, command in batch.items():
            if not answer.done():
                await self._commit_batch({answer: command})

    def _stop(self, batch: dict[Answer, Command]) -> None:
        """Halts on an error that is being handled."""
        self.halt()
        _answer_all(batch, HaltedError())
        logger.exception("ledger.invariant_broken", shard_id=self._shard_id)


def _answer(answer: Answer, outcome: Result | Refusal) -> None:
    if answer.done():
        return
    if isinstance(outcome, Refusal):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _answer_all(answers: Iterable[Answer], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
