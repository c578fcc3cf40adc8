"""The engine without gRPC: reserve and capture through the committer, against a stored procedure per operation."""

from typing import Final

from bench.engine_runs import EngineRun, RunFailedError, check_books, run_engine
from bench.plan import Plan
from bench.results import Findings
from bench.rounds import Measure, Sample, Told, take_turns
from bench.stage import Stage
from bench.stored_procedures import PgbenchRun, install, run_pgbench, text_lengths
from tests.databases import DatabaseKind

UNIT: Final = "pairs/s"
SPREAD_TARGET: Final = 1.2
HOT_TARGET: Final = 5.0
SQLITE_TARGET: Final = 1.5

_PROCEDURES: Final = "pgbench, stored procedures"


class EngineSection:
    """Measures on copies of one seeded database, a fresh one each turn."""

    def __init__(self, stage: Stage, plan: Plan, tell: Told) -> None:
        self._stage = stage
        self._plan = plan
        self._tell = tell
        self._text_lengths: dict[str, dict[str, float]] = {}
        self._checked: set[str] = set()

    async def run(self) -> Findings:
        """Measures everything. Raises RunFailedError, BaselineError."""
        findings = Findings()
        spread_clients = await self._best_clients(self._stage.accounts)
        hot_clients = await self._best_clients(1)
        subjects: dict[str, Measure] = {
            f"{_PROCEDURES}, spread": self._procedures(spread_clients, self._stage.accounts),
            f"{_PROCEDURES}, hot": self._procedures(hot_clients, 1),
        }
        for kind in DatabaseKind:
            for callers in self._plan.callers:
                subjects[f"{kind}, spread, {callers} callers"] = self._engine(kind, callers, self._stage.accounts)
            subjects[f"{kind}, hot, {self._plan.callers[0]} callers"] = self._engine(kind, self._plan.callers[0], 1)
        samples = await take_turns(subjects, rounds=self._plan.rounds, tell=self._tell)
        findings.add_figures(samples, unit=UNIT)
        self._compare(samples, findings)
        self._compare_rows()
        findings.facts = {
            "load": f"reserve and capture, {self._stage.accounts} accounts or one hot account",
            "pgbench": f"{spread_clients} clients on all accounts, {hot_clients} on the hot one: the best of "
            f"{', '.join(map(str, self._plan.pgbench_clients))}",
            "checked": "after each pgbench run, rows and sums; once for each subject, the broker's own audit; and that "
            "both write rows of the same size",
        }
        return findings

    def _compare(self, samples: dict[str, list[Sample]], findings: Findings) -> None:
        hot = f"hot, {self._plan.callers[0]} callers"
        for callers in self._plan.callers:
            subject = f"{DatabaseKind.POSTGRESQL}, spread, {callers} callers"
            findings.compare(samples, subject, f"{_PROCEDURES}, spread", at_least=SPREAD_TARGET)
        findings.compare(samples, f"{DatabaseKind.POSTGRESQL}, {hot}", f"{_PROCEDURES}, hot", at_least=HOT_TARGET)
        for load in (*(f"spread, {callers} callers" for callers in self._plan.callers), hot):
            subject, other = f"{DatabaseKind.SQLITE}, {load}", f"{DatabaseKind.POSTGRESQL}, {load}"
            findings.compare(samples, subject, other, at_least=SQLITE_TARGET)

    def _engine(self, kind: DatabaseKind, callers: int, accounts: int) -> Measure:
        run = EngineRun(
            callers=callers,
            accounts=accounts,
            seconds=self._plan.seconds,
            warm_up_seconds=self._plan.warm_up_seconds,
        )

        async def measure() -> Sample:
            async with self._stage.copy(kind) as url:
                sample = await run_engine(url, run, meters=await self._stage.meters(kind))
                await self._check_once(f"{kind} {run}", url)
                if kind is DatabaseKind.POSTGRESQL and "engine" not in self._text_lengths:
                    self._text_lengths["engine"] = await text_lengths(url)
            return sample

        return measure

    def _procedures(self, clients: int, accounts: int) -> Measure:
        async def measure() -> Sample:
            return await self._run_procedures(clients, accounts, self._plan.seconds)

        return measure

    async def _best_clients(self, accounts: int) -> int:
        rates = {}
        candidates = self._plan.pgbench_clients
        for clients in candidates if len(candidates) > 1 else ():
            rates[clients] = (await self._run_procedures(clients, accounts, self._plan.probe_seconds)).rate
            self._tell(f"pgbench on {accounts} accounts with {clients} clients: {rates[clients]:,.0f} pairs/s")
        return max(candidates, key=lambda clients: rates.get(clients, 0.0))

    async def _run_procedures(self, clients: int, accounts: int, seconds: float) -> Sample:
        run = PgbenchRun(
            clients=clients, accounts=accounts, seconds=seconds, warm_up_seconds=self._plan.warm_up_seconds
        )
        async with self._stage.copy(DatabaseKind.POSTGRESQL) as url:
            await install(url)
            sample = await run_pgbench(url, run, server_pid=await self._stage.server_pid())
            await self._check_once(f"pgbench {accounts}", url)
            if "pgbench" not in self._text_lengths:
                self._text_lengths["pgbench"] = await text_lengths(url)
        return sample

    async def _check_once(self, subject: str, url: str) -> None:
        if subject not in self._checked:
            self._checked.add(subject)
            await check_books(url)

    def _compare_rows(self) -> None:
        engine, pgbench = self._text_lengths["engine"], self._text_lengths["pgbench"]
        unlike = {name: (engine[name], pgbench[name]) for name in engine if engine[name] != pgbench[name]}
        if unlike:
            raise RunFailedError(f"the engine and the stored procedures write rows of other sizes: {unlike}")
