"""BrokerService.Reserve over gRPC, durable, against a bare server of the same messages."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from bench.engine_runs import check_books
from bench.generators import SendingRun, best_in_flight, make_generator
from bench.plan import Plan
from bench.results import Findings
from bench.rounds import Measure, Sample, Told, take_turns
from bench.servers import RunningServer, reserve_once, running_broker, running_echo
from bench.stage import Stage
from tests.databases import DatabaseKind

UNIT: Final = "requests/s"
ECHO_TARGET: Final = 0.9
HOT_TARGET: Final = 0.95
PIPELINED_TARGET: Final = 2.0

_ECHO: Final = "bare echo"


class GrpcSection:
    """One broker process for each database and the bare server, all running; one of them is loaded at a time."""

    def __init__(self, stage: Stage, plan: Plan, tell: Told) -> None:
        self._stage = stage
        self._plan = plan
        self._tell = tell
        self._generator = make_generator(plan.generator, stage.directory)

    async def run(self) -> Findings:
        """Measures brokers and bare server with all accounts. Raises RunFailedError."""
        findings = Findings()
        accounts = self._stage.accounts
        async with self._servers() as (echo, brokers):
            in_flight = await self._best_in_flight(echo)
            await self._introduce(brokers.values(), in_flight)
            subjects = {_ECHO: self._sending(echo, in_flight, accounts)}
            for kind, broker in brokers.items():
                subjects[f"broker on {kind}"] = self._sending(broker, in_flight, accounts)
            samples = await take_turns(subjects, rounds=self._plan.rounds, tell=self._tell)
        findings.add_figures(samples, unit=UNIT)
        for kind in brokers:
            findings.compare(samples, f"broker on {kind}", _ECHO, at_least=ECHO_TARGET)
        findings.facts = self._facts(in_flight)
        return findings

    async def run_hot(self) -> Findings:
        """Measures brokers with one account that pays for everything, against all accounts."""
        findings = Findings()
        async with self._servers() as (echo, brokers):
            in_flight = await self._best_in_flight(echo)
            await self._introduce(brokers.values(), in_flight)
            subjects: dict[str, Measure] = {}
            for kind, broker in brokers.items():
                subjects[f"{kind}, spread"] = self._sending(broker, in_flight, self._stage.accounts)
                subjects[f"{kind}, hot"] = self._sending(broker, in_flight, 1)
            samples = await take_turns(subjects, rounds=self._plan.rounds, tell=self._tell)
        findings.add_figures(samples, unit=UNIT)
        for kind in brokers:
            findings.compare(samples, f"{kind}, hot", f"{kind}, spread", at_least=HOT_TARGET)
        findings.facts = self._facts(in_flight)
        return findings

    async def run_pipelined(self) -> Findings:
        """Measures operations of Pipelines against unary calls, and against those of the bare server."""
        findings = Findings()
        accounts = self._stage.accounts
        async with self._servers() as (echo, brokers):
            in_flight = await self._best_in_flight(echo)
            await self._introduce(brokers.values(), in_flight)
            subjects = {_ECHO: self._sending(echo, in_flight, accounts)}
            for kind, broker in brokers.items():
                subjects[f"{kind}, unary"] = self._sending(broker, in_flight, accounts)
                subjects[f"{kind}, pipelined"] = self._sending(broker, in_flight, accounts, pipelined=True)
            samples = await take_turns(subjects, rounds=self._plan.rounds, tell=self._tell)
        findings.add_figures(samples, unit=UNIT)
        for kind in brokers:
            findings.compare(samples, f"{kind}, pipelined", f"{kind}, unary", at_least=PIPELINED_TARGET)
            findings.compare(samples, f"{kind}, pipelined", _ECHO)
        findings.facts = self._facts(in_flight) | {
            "load": f"Reserve, {in_flight} in flight on 8 connections, with one stream on each or as calls, from "
            f"{accounts} accounts in turns"
        }
        return findings

    @asynccontextmanager
    async def _servers(self) -> AsyncIterator[tuple[RunningServer, dict[DatabaseKind, RunningServer]]]:
        """Gives the bare server and the brokers; audits what the brokers have written in the end."""
        directory = self._stage.directory
        async with AsyncExitStack() as databases:
            urls = {kind: await databases.enter_async_context(self._stage.copy(kind)) for kind in DatabaseKind}
            async with AsyncExitStack() as processes:
                brokers = {}
                for kind, url in urls.items():
                    meters = await self._stage.meters(kind)
                    running = running_broker(url, meters=meters, directory=directory)
                    brokers[kind] = await processes.enter_async_context(running)
                response = await reserve_once(brokers[DatabaseKind.SQLITE].address)
                echo = await processes.enter_async_context(running_echo(response, directory=directory))
                yield echo, brokers
            for url in urls.values():
                await check_books(url)

    async def _best_in_flight(self, echo: RunningServer) -> int:
        in_flight = await best_in_flight(
            self._generator,
            echo,
            self._plan.in_flight,
            accounts=self._stage.accounts,
            seconds=self._plan.probe_seconds,
        )
        self._tell(f"{in_flight} requests in flight")
        return in_flight

    async def _introduce(self, brokers: Iterable[RunningServer], in_flight: int) -> None:
        """Has the accounts call each broker, unmeasured: a server that runs for days has met its accounts before."""
        introduction = SendingRun(
            in_flight=in_flight,
            accounts=self._stage.accounts,
            seconds=self._plan.introduction_seconds,
            warm_up_seconds=0.0,
        )
        for broker in brokers:
            await self._generator.send(broker, introduction)

    def _sending(self, server: RunningServer, in_flight: int, accounts: int, *, pipelined: bool = False) -> Measure:
        run = SendingRun(
            in_flight=in_flight,
            accounts=accounts,
            seconds=self._plan.seconds,
            warm_up_seconds=self._plan.warm_up_seconds,
            pipelined=pipelined,
        )

        async def measure() -> Sample:
            return await self._generator.send(server, run)

        return measure

    def _facts(self, in_flight: int) -> dict[str, str]:
        return {
            "load": f"unary Reserve, {in_flight} in flight on 8 connections, from {self._stage.accounts} accounts in "
            "turns or one hot account",
            "generator": str(self._plan.generator),
            "before": f"{self._plan.introduction_seconds:g} s of calls from all accounts at each broker",
            "checked": "every request answered OK; in the end, the broker's own audit",
        }
