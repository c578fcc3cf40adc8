"""Two brokers on one database, as far as the engine goes: what commits, and what reads."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from broker_service.domain.commands import Command
from broker_service.domain.errors import Refusal
from broker_service.engine.clock import Clock
from broker_service.engine.committer import Committer
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.storage.audit import Violation, audit
from broker_service.storage.database import Database, open_database
from broker_service.storage.ledger_queries import EntrySelection, ReservationSelection
from tests.ledger_model.figures import RESERVATION, Figures, book_figures, figures_of, result_figures

Outcome = TypeVar("Outcome")
Opened_co = TypeVar("Opened_co", bound="Broker", covariant=True)


class Run(Protocol):
    """Runs something on the event loop until it is done."""

    def __call__(self, work: Coroutine[Any, Any, Outcome], /) -> Outcome: ...


START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

_EXAMPLE_TIME = timedelta(hours=1)
_ALL = 10_000


class OpenBroker(Protocol[Opened_co]):
    """Puts a broker together on an open database."""

    def __call__(self, run: Run, database: Database, clock: Clock, /, *, shards: int) -> Opened_co: ...


class Broker:
    """One broker's engine. Everything here waits until it is done."""

    def __init__(self, run: Run, database: Database, clock: Clock, *, shards: int) -> None:
        self._run = run
        self.database = database
        self.committer = Committer(database, clock, shards=shards)
        self.reader = LedgerReader(database, self.committer, shards=shards)

    def look_at_the_clock(self, account_ids: Iterable[str]) -> None:
        """Takes note of what time it is in the accounts' shards."""
        for account_id in account_ids:
            self.committer.now(account_id)

    def execute(self, commands: Sequence[Command]) -> tuple[list[Figures], int]:
        """Executes commands that arrive together, in this order; returns the answers, and the number of commits."""
        before = self.committer.counts.commits
        answers = self._run(self._answers(commands))
        return answers, self.committer.counts.commits - before

    def read(self, account_ids: Iterable[str]) -> dict[str, Figures]:
        """Returns the accounts' books and reservations as they are now."""
        return self._run(_together(account_ids, self._account))

    def entry_sums(self, account_ids: Iterable[str]) -> dict[str, Figures]:
        """Returns how many credits the accounts' entries have moved, by their kind."""
        return self._run(_together(account_ids, self._entry_sums))

    def violations(self) -> tuple[Violation, ...]:
        """Returns what an audit of the whole database finds."""
        return self._run(self.database.read(audit)).violations

    async def _answers(self, commands: Sequence[Command]) -> list[Figures]:
        return await asyncio.gather(*(self._answer(command) for command in commands))

    async def _answer(self, command: Command) -> Figures:
        execute = cast("Callable[[Command], Awaitable[Any]]", self.committer.execute)
        try:
            return result_figures(await execute(command))
        except Refusal as refusal:
            return {"reason": refusal.reason}

    async def _account(self, account_id: str) -> Figures:
        everything = ReservationSelection(state=None, before=None, limit=_ALL)
        book, reservations = await asyncio.gather(
            self.reader.book(account_id), self.reader.reservations(account_id, everything)
        )
        assert book.account is not None
        return {
            "book": book_figures(book.account.balance, book.grants),
            "reservations": {row.reservation_id: figures_of(row, RESERVATION) for row in reservations},
        }

    async def _entry_sums(self, account_id: str) -> Figures:
        everything = EntrySelection(after_sequence=0, start_time=None, end_time=None, limit=_ALL)
        sums: Counter[str] = Counter()
        for entry in await self.reader.entries(account_id, everything):
            sums[entry.kind] += entry.credits
        return dict(sums)


async def _together(account_ids: Iterable[str], read: Callable[[str], Awaitable[Outcome]]) -> dict[str, Outcome]:
    ids = list(account_ids)
    return dict(zip(ids, await asyncio.gather(*(read(account_id) for account_id in ids)), strict=True))


class Brokers(Generic[Opened_co]):
    """Two brokers on one database, the event loop they live on, and the time that both are told."""

    def __init__(self, url: str, open_broker: OpenBroker[Opened_co], *, shards: int) -> None:
        self.shards = shards
        self.time = START
        self.url = url
        self._open_broker = open_broker
        self._examples = 0
        # A loop of their own, and not this thread's current one: that belongs to the asynchronous tests.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.both = self._open(), self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, Outcome], /) -> Outcome:
        """Runs something on the brokers' event loop until it is done."""
        return self._runner.run(work)

    def begin_example(self) -> int:
        """Lets time go on until what other examples have done is long ago; returns the example's number."""
        self._examples += 1
        self.time += _EXAMPLE_TIME
        return self._examples

    def open_anew(self) -> None:
        """Replaces both by others: those that an example has failed with may have halted."""
        self._close()
        self.both = self._open(), self._open()

    def _open(self) -> Opened_co:
        async def opened() -> Database:
            return open_database(self.url)

        return self._open_broker(self._runner.run, self._runner.run(opened()), lambda: self.time, shards=self.shards)

    def _close(self) -> None:
        for broker in self.both:
            self._runner.run(broker.database.close())
