"""The group committer: many commands, one transaction.

While one batch commits, the next gathers; so the busier the broker, the larger its batches and the smaller the share
of a commit that each command pays. Nothing is held back to wait for company: a command that finds its lane free goes
as soon as the event loop has let in who is at the door already.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import overload

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.accounts import AccountResult
from broker_service.domain.book import Book
from broker_service.domain.commands import (
    Capture,
    ChangeAccountState,
    Charge,
    Command,
    Extend,
    GrantCredits,
    OpenAccount,
    Refund,
    Release,
    Reserve,
    RotateToken,
    SetLowBalanceAlert,
    Settle,
)
from broker_service.domain.decide import Result, Verdict, decide_batch
from broker_service.domain.errors import InvariantError, Refusal
from broker_service.domain.identities import shard_of
from broker_service.domain.low_balance_alerts import AlertResult
from broker_service.domain.operator_grants import GrantResult
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.payment_notices import NoticeResult
from broker_service.domain.purchase_commands import (
    AttachCheckout,
    CompleteSandboxPayment,
    RefundPurchase,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.purchase_refunds import PurchaseRefundResult
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.references import references_of
from broker_service.domain.tokens import TokenResult
from broker_service.engine.clock import Clock, ShardClock
from broker_service.engine.writing import with_retries
from broker_service.storage.database import Database
from broker_service.storage.errors import ConnectionLostError, DuplicateRowError, StorageError
from broker_service.storage.ledger import LedgerLane
from mesh_runtime.deadlines import deadline
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)


# Turns of the event loop without a new command, after which nobody is taken to be at the door: on its way from a socket
# to the queue a call takes several.
_QUIET_TURNS = 6
# Beside a batch that commits, another one goes only if it is worth its round trips.
_LEAST_BESIDE = 32


class OverloadedError(Exception):
    """Too many commands wait already; nothing of this one has been done."""


class DeadlinePassedError(Exception):
    """The caller's deadline has passed while the command waited; nothing of it has been done."""


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
        on_commit: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        self._lanes = [
            _Lane(
                shard_id,
                database.lane(shard_id),
                ShardClock(clock),
                limits or CommitterLimits(),
                on_halt=on_halt,
                on_commit=on_commit,
            )
            for shard_id in range(shards)
        ]

    @overload
    async def execute(self, command: Reserve | Capture | Release | Charge | Extend | Refund) -> ReservationResult: ...
    @overload
    async def execute(self, command: OpenAccount | ChangeAccountState | Settle) -> AccountResult: ...
    @overload
    async def execute(self, command: GrantCredits) -> GrantResult: ...
    @overload
    async def execute(self, command: SetLowBalanceAlert) -> AlertResult: ...
    @overload
    async def execute(self, command: RotateToken) -> TokenResult: ...
    @overload
    async def execute(self, command: StartPurchase | AttachCheckout | CompleteSandboxPayment) -> PurchaseResult: ...
    @overload
    async def execute(self, command: TakePaymentNotice) -> NoticeResult: ...
    @overload
    async def execute(self, command: RefundPurchase) -> PurchaseRefundResult: ...

    async def execute(self, command: Command) -> Result:
        """Returns a command's result once it is durable.

        Raises its Refusal, or with nothing done: OverloadedError, HaltedError, DeadlinePassedError. Raises
        StorageError when the database failed; the same command, run again, settles it. A caller that is cancelled
        while the command still waits takes it out of the queue undone; one that is cancelled later does not stop it.
        """
        return await self._lane_of(command.account_id).execute(command)

    def submit(self, command: Command, deadline: float | None) -> "Answer":
        """Queues a command and returns its answer, which ends as `execute` does, for one who has many to queue at once.

        `deadline` is the reading of time.monotonic() from which on nobody waits for it. Raises OverloadedError,
        HaltedError.
        """
        return self._lane_of(command.account_id).submit(command, deadline)

    def withdraw(self, answer: "Answer") -> bool:
        """Takes a command that still waits out of the queue, and cancels its answer; tells whether it did."""
        return any(lane.withdraw(answer) for lane in self._lanes)

    def now(self, account_id: str) -> datetime:
        """Returns the present instant in an account's shard, the same for those who read and those who write."""
        return self._lane_of(account_id).clock.now()

    def now_in(self, shard_id: int) -> datetime:
        """Returns the present instant in a shard, as `now` does in an account's."""
        return self._lanes[shard_id].clock.now()

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


class _Waiting(Struct, frozen=True):
    """A command in the queue, and the reading of time.monotonic() from which on nobody waits for it any more."""

    command: Command
    deadline: float | None


class _Lane:
    """Commits the commands of one shard, batch by batch, in the order of their arrival."""

    def __init__(
        self,
        shard_id: int,
        storage: LedgerLane,
        clock: ShardClock,
        limits: CommitterLimits,
        *,
        on_halt: Callable[[], None],
        on_commit: Callable[[Verdict], None],
    ) -> None:
        self.counts = LaneCounts()
        self.clock = clock
        self._shard_id = shard_id
        self._storage = storage
        self._limits = limits
        self._on_halt = on_halt
        self._on_commit = on_commit
        # By answer, so that a caller who leaves takes its command along.
        self._queue: OrderedDict[Answer, _Waiting] = OrderedDict()
        self._committing: set[asyncio.Task[None]] = set()
        # Accounts of the batches that commit now.
        self._busy_accounts: set[str] = set()
        self._halted = False

    async def execute(self, command: Command) -> Result:
        answer = self.submit(command, deadline())
        try:
            return await answer
        finally:
            self._queue.pop(answer, None)

    def submit(self, command: Command, deadline: float | None) -> Answer:
        if self._halted:
            raise HaltedError
        if len(self._queue) >= self._limits.queue_commands:
            raise OverloadedError
        answer: Answer = asyncio.get_running_loop().create_future()
        self._queue[answer] = _Waiting(command, deadline)
        if not self._committing or self._wants_another_batch(command):
            self._committing.add(asyncio.create_task(self._commit_all()))
        return answer

    def withdraw(self, answer: Answer) -> bool:
        return self._queue.pop(answer, None) is not None and answer.cancel()

    def _wants_another_batch(self, command: Command) -> bool:
        return (
            len(self._committing) < self._storage.parallel_batches
            and len(self._queue) >= _LEAST_BESIDE
            and command.account_id not in self._busy_accounts
        )

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
        while self._committing:
            await asyncio.wait(self._committing)

    async def _commit_all(self) -> None:
        """Commits batch after batch until nothing waits, or what waits has to wait for another batch."""
        try:
            while batch := await self._next_batch():
                accounts = {command.account_id for command in batch.values()}
                self._busy_accounts |= accounts
                try:
                    await self._commit_batch(batch)
                finally:
                    self._busy_accounts -= accounts
        finally:
            # At once, and not when the task is done: who comes in between must not take it for running.
            if (task := asyncio.current_task()) is not None:
                self._committing.discard(task)

    async def _next_batch(self) -> dict[Answer, Command]:
        """Takes a batch once nobody comes in any more, or it is full: who is let in pays a smaller share."""
        waiting, quiet_turns = len(self._queue), 0
        while quiet_turns < _QUIET_TURNS and 0 < waiting < self._limits.batch_commands:
            await asyncio.sleep(0)
            quiet_turns = 0 if len(self._queue) > waiting else quiet_turns + 1
            waiting = len(self._queue)
        return self._take_batch()

    def _take_batch(self) -> dict[Answer, Command]:
        """Takes what waits, up to the limit; leaves what belongs to an account that another batch is busy with.

        So one account's commands are never in two batches at once, and keep the order of their arrival.
        """
        self._drop_unwanted()
        share = self._share()
        accounts: set[str] = set()
        batch: dict[Answer, Command] = {}
        for answer, waiting in self._queue.items():
            account_id = waiting.command.account_id
            if account_id in self._busy_accounts or (len(batch) >= share and account_id not in accounts):
                continue
            accounts.add(account_id)
            batch[answer] = waiting.command
            if len(batch) == self._limits.batch_commands:
                break
        if self._busy_accounts and len(batch) < _LEAST_BESIDE:
            return {}
        for answer in batch:
            del self._queue[answer]
        return batch

    def _share(self) -> int:
        """Returns how many commands to take so that as much is left for the batches that could go beside."""
        free_batches = self._storage.parallel_batches - bool(self._busy_accounts)
        return max(_LEAST_BESIDE, -(-len(self._queue) // max(free_batches, 1)))

    def _drop_unwanted(self) -> None:
        """Drops, undone, what nobody waits for any more."""
        now = time.monotonic()
        for answer, waiting in list(self._queue.items()):
            # A caller may have left and not run since, to take its command out.
            if answer.done():
                del self._queue[answer]
            elif waiting.deadline is not None and waiting.deadline <= now:
                del self._queue[answer]
                answer.set_exception(DeadlinePassedError())

    async def _commit_batch(self, batch: dict[Answer, Command]) -> None:
        if self._halted:
            _answer_all(batch, HaltedError())
            return
        try:
            verdict = await self._run(list(batch.values()))
        except InvariantError:
            self._stop(batch)
        except DuplicateRowError:
            # No race, or trying again would have shown the other's row: it contradicts what the books say is new.
            await self._part_or(self._stop, batch)
        except StorageError as error:
            _answer_all(batch, error)
            logger.warning("ledger.batch_failed", shard_id=self._shard_id, cause=str(error), commands=len(batch))
        except Exception as error:
            logger.exception("ledger.batch_crashed", shard_id=self._shard_id, commands=len(batch))
            await self._part_or(partial(_answer_all, error=error), batch)
        else:
            self.counts.commands += len(batch)
            self.counts.commits += 1
            for answer, outcome in zip(batch, verdict.outcomes, strict=True):
                _answer(answer, outcome)
            self._tell(verdict)

    async def _part_or(self, end: Callable[[dict[Answer, Command]], None], batch: dict[Answer, Command]) -> None:
        """Commits the commands of a batch one by one, so that what one of them has met harms no other.

        Ends with it if there is but one.
        """
        if len(batch) == 1:
            end(batch)
            return
        for answer, command in batch.items():
            if not answer.done():
                await self._commit_batch({answer: command})

    async def _run(self, commands: list[Command]) -> Verdict:
        """Decides and writes a batch in one transaction.

        Again, if other writers were in the way or the connection broke: that is safe even where the first try did
        commit, since every command is idempotent by its own identity.
        """
        references = references_of(commands)
        unclear: list[Verdict] = []

        async def commit() -> Verdict:
            decided: list[Verdict] = []

            def decide(books: dict[str, Book], now: datetime) -> Verdict:
                decided.append(decide_batch(books, commands, now))
                return decided[-1]

            try:
                return await self._storage.commit(references, self.clock.now, decide)
            except ConnectionLostError:
                unclear.extend(decided)
                raise

        verdict = await with_retries(commit)
        self.clock.observe(verdict.now)
        return _own_tries(verdict, unclear)

    def _tell(self, verdict: Verdict) -> None:
        try:
            self._on_commit(verdict)
        except Exception:
            # What is committed is answered, whoever cannot bear to hear of it.
            logger.exception("ledger.listener_failed", shard_id=self._shard_id)

    def _stop(self, batch: dict[Answer, Command]) -> None:
        """Halts on an error that is being handled."""
        self.halt()
        _answer_all(batch, HaltedError())
        logger.exception("ledger.invariant_broken", shard_id=self._shard_id)


def _own_tries(verdict: Verdict, unclear: list[Verdict]) -> Verdict:
    """Returns a verdict that calls nothing a replay which one of the batch's own unclear tries had done first."""
    if not unclear:
        return verdict
    done_first = [
        any(not isinstance(outcome, Refusal) and not outcome.replayed for outcome in outcomes)
        for outcomes in zip(*(attempt.outcomes for attempt in unclear), strict=True)
    ]
    outcomes = [
        replace(outcome, replayed=False) if first and not isinstance(outcome, Refusal) else outcome
        for first, outcome in zip(done_first, verdict.outcomes, strict=True)
    ]
    return replace(verdict, outcomes=tuple(outcomes))


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
