"""ServeRequest through provider and broker, durable on PostgreSQL, against a bare chain of the same three handlers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.engine_runs import check_books
from bench.frames import Rpc
from bench.generators import FramesGenerator, SendingRun, best_in_flight
from bench.plan import Plan
from bench.results import Findings
from bench.rounds import Measure, Sample, Spread, Told, take_turns
from bench.servers import RunningServer, running_bare_chain, running_broker, running_provider, serve_once
from bench.stage import Stage
from tests.databases import DatabaseKind

UNIT: Final = "requests/s"
UNARY_TARGET: Final = 0.9
PIPELINED_TARGET: Final = 2.0
JOURNAL_TARGET: Final = 0.85
LATENCY_TARGET: Final = 3.0
# Of what a provider serves when it is loaded with all that it takes.
LATENCY_LOAD: Final = 0.7

_BARE: Final = "bare chain"
_UNARY, _PIPELINED = "unary", "pipelined"
_WITHOUT_JOURNAL: Final = ", no journal"


class ServeSection:
    """One broker, four providers in front of it and the bare chain, all running; one chain is loaded at a time."""

    def __init__(self, stage: Stage, plan: Plan, tell: Told) -> None:
        self._stage = stage
        self._plan = plan
        self._tell = tell
        self._generator = FramesGenerator()

    async def run(self) -> Findings:
        """Measures all chains at full load, then the providers at a part of it. Raises RunFailedError."""
        findings = Findings()
        async with self._chains() as chains:
            in_flight = await self._best_in_flight(chains[_BARE])
            full = self._run(in_flight)
            samples = await self._take_turns(chains, dict.fromkeys(chains, full))
            partly = {
                name: replace(full, rate=Spread.of([one.rate for one in samples[name]]).median * LATENCY_LOAD)
                for name in (_UNARY, _PIPELINED)
            }
            at_part = await self._take_turns(chains, partly)
        findings.add_figures(samples, unit=UNIT)
        findings.add_figures({f"{name}, at {LATENCY_LOAD:.0%}": at_part[name] for name in at_part}, unit=UNIT)
        findings.compare(samples, _UNARY, _BARE, at_least=UNARY_TARGET)
        findings.compare(samples, _PIPELINED, _BARE, at_least=PIPELINED_TARGET)
        for name in (_UNARY, _PIPELINED):
            findings.compare(samples, name, name + _WITHOUT_JOURNAL, at_least=JOURNAL_TARGET)
            tails = [one.details["latency_p99_ms"] / one.details["latency_p50_ms"] for one in at_part[name]]
            findings.add_ratios(f"{name}, p99 / median at {LATENCY_LOAD:.0%}", tails, median_at_most=LATENCY_TARGET)
        findings.facts = {
            "load": f"unary ServeRequest of a service that does nothing, {in_flight} in flight on 8 connections, from "
            f"{self._stage.accounts} accounts in turns; then {LATENCY_LOAD:.0%} of each provider's own median, evenly",
            "servers": "a process each for provider and broker; the broker on PostgreSQL, the journal in SQLite",
            "checked": "every request answered OK; in the end, the broker's own audit",
        }
        return findings

    async def _take_turns(
        self, chains: Mapping[str, RunningServer], runs: Mapping[str, SendingRun]
    ) -> dict[str, list[Sample]]:
        subjects = {name: self._sending(chains[name], run) for name, run in runs.items()}
        return await take_turns(subjects, rounds=self._plan.rounds, tell=self._tell)

    @asynccontextmanager
    async def _chains(self) -> AsyncIterator[dict[str, RunningServer]]:
        """Gives all chains by their names; audits what the broker has written in the end."""
        kind, directory = DatabaseKind.POSTGRESQL, self._stage.directory
        async with self._stage.copy(kind) as url:
            async with AsyncExitStack() as processes:
                meters = await self._stage.meters(kind)
                broker = await processes.enter_async_context(running_broker(url, meters=meters, directory=directory))
                chains = {
                    name: await processes.enter_async_context(running_provider(broker, flags, directory=directory))
                    for name, flags in _provider_flags(directory).items()
                }
                answers = await serve_once(broker.address, chains[_UNARY].address)
                chains[_BARE] = await processes.enter_async_context(running_bare_chain(answers, directory=directory))
                yield chains
            await check_books(url)

    async def _best_in_flight(self, chain: RunningServer) -> int:
        in_flight = await best_in_flight(
            self._generator,
            chain,
            self._plan.in_flight,
            accounts=self._stage.accounts,
            seconds=self._plan.probe_seconds,
            rpc=Rpc.SERVE_REQUEST,
        )
        self._tell(f"{in_flight} requests in flight")
        return in_flight

    def _run(self, in_flight: int) -> SendingRun:
        return SendingRun(
            in_flight=in_flight,
            accounts=self._stage.accounts,
            seconds=self._plan.seconds,
            warm_up_seconds=self._plan.warm_up_seconds,
            rpc=Rpc.SERVE_REQUEST,
        )

    def _sending(self, chain: RunningServer, run: SendingRun) -> Measure:
        async def measure() -> Sample:
            return await self._generator.send(chain, run)

        return measure


def _provider_flags(directory: Path) -> dict[str, tuple[str, ...]]:
    """Returns how each provider is started."""
    flags: dict[str, tuple[str, ...]] = {}
    for transport in (_UNARY, _PIPELINED):
        journal = f"sqlite:///{directory / f'journal-{transport}.db'}"
        flags[transport] = ("--broker-transport", transport, "--journal", journal)
        flags[transport + _WITHOUT_JOURNAL] = ("--broker-transport", transport, "--journal", "none")
    return flags
