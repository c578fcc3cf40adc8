"""The engine on a database with a long past, against the same on an empty one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from bench.engine_runs import EngineRun, check_books, run_engine
from bench.history import add_history
from bench.plan import Plan
from bench.results import Findings
from bench.rounds import Measure, Sample, Told, take_turns
from bench.sections.engine import UNIT
from bench.stage import Stage
from tests.databases import DatabaseKind

TARGET: Final = 0.9

# The broker's own audit reads all of a history, which takes minutes for millions.
_AUDITED_RESERVATIONS: Final = 100_000
_BYTES_PER_GIGABYTE: Final = 10**9


class HistorySection:
    """Measures each pair of databases in turns; both stay from round to round."""

    def __init__(self, stage: Stage, plan: Plan, tell: Told) -> None:
        self._stage = stage
        self._plan = plan
        self._tell = tell
        self._sizes: list[str] = []

    async def run(self) -> Findings:
        """Measures both kinds of database, one after the other. Raises RunFailedError."""
        findings = Findings()
        for kind in DatabaseKind:
            empty, full = f"{kind}, empty", f"{kind}, with history"
            async with self._databases(kind) as (empty_url, full_url):
                for url in (empty_url, full_url):
                    await self._stage.settle(url)
                    # Each page's first change after a checkpoint is logged whole: over once, and not of every round.
                    await self._engine(kind, url)()
                subjects = {empty: self._engine(kind, empty_url), full: self._engine(kind, full_url)}
                samples = await take_turns(subjects, rounds=self._plan.rounds, tell=self._tell)
                if self._reservations() <= _AUDITED_RESERVATIONS:
                    await check_books(full_url)
            findings.add_figures(samples, unit=UNIT)
            findings.compare(samples, full, empty, at_least=TARGET)
        findings.facts = {
            "history": f"{self._reservations()} captured reservations with their entries and operations over "
            f"{self._stage.accounts} accounts: {', '.join(self._sizes)}",
            "load": f"reserve and capture, {self._plan.callers[0]} callers, all accounts",
        }
        return findings

    def _reservations(self) -> int:
        return self._each() * self._stage.accounts

    def _each(self) -> int:
        return max(1, self._plan.history_reservations // self._stage.accounts)

    @asynccontextmanager
    async def _databases(self, kind: DatabaseKind) -> AsyncIterator[tuple[str, str]]:
        async with AsyncExitStack() as stack:
            empty = await stack.enter_async_context(self._stage.copy(kind))
            full = await stack.enter_async_context(self._stage.copy(kind))
            self._tell(f"writing {self._reservations()} old reservations on {kind}")
            await add_history(full, each=self._each())
            size = await self._stage.size_bytes(full) / _BYTES_PER_GIGABYTE
            self._sizes.append(f"{size:.2g} GB on {kind}")
            self._tell(f"written: {self._sizes[-1]}")
            yield empty, full

    def _engine(self, kind: DatabaseKind, url: str) -> Measure:
        run = EngineRun(
            callers=self._plan.callers[0],
            accounts=self._stage.accounts,
            seconds=self._plan.seconds,
            warm_up_seconds=self._plan.warm_up_seconds,
        )

        async def measure() -> Sample:
            return await run_engine(url, run, meters=await self._stage.meters(kind))

        return measure
