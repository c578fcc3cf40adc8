"""The memory of broker processes under a load that goes on for minutes."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final

from bench.generators import FramesGenerator, SendingRun
from bench.plan import Plan
from bench.processes import resident_bytes
from bench.results import Findings
from bench.rounds import Told
from bench.servers import RunningServer, running_broker
from bench.stage import Stage
from tests.databases import DatabaseKind

TARGET: Final = 1.05

_MEGABYTE: Final = 2**20
_MINUTE: Final = 60.0
_IN_FLIGHT: Final = 32
_SAMPLES: Final = 10


class MemorySection:
    """Loads a broker on each kind of database at the same time, and looks at their memory now and then."""

    def __init__(self, stage: Stage, plan: Plan, tell: Told) -> None:
        self._stage = stage
        self._plan = plan
        self._tell = tell

    async def run(self) -> Findings:
        """Measures both at once. Raises RunFailedError."""
        findings = Findings()
        async with AsyncExitStack() as stack:
            brokers: dict[DatabaseKind, RunningServer] = {}
            for kind in DatabaseKind:
                url = await stack.enter_async_context(self._stage.copy(kind))
                running = running_broker(url, meters={}, directory=self._stage.directory)
                brokers[kind] = await stack.enter_async_context(running)
            try:
                async with asyncio.TaskGroup() as group:
                    loads = {kind: group.create_task(self._load(broker)) for kind, broker in brokers.items()}
                    memory = await self._watch(brokers)
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
        for kind, sizes in memory.items():
            findings.add_sizes(f"broker on {kind}", sizes, requests=loads[kind].result())
            findings.add_ratios(
                f"broker on {kind}, {self._plan.memory_minutes:g} min / {self._plan.memory_first_minutes:g} min",
                [sizes[-1] / sizes[0]],
                at_most=TARGET,
            )
        findings.facts = {
            "load": f"unary Reserve, {_IN_FLIGHT} in flight for each broker, {self._stage.accounts} accounts in turns, "
            "both brokers at the same time",
            "memory": f"VmRSS after {self._plan.memory_first_minutes:g} minutes and then {_SAMPLES} times until "
            f"{self._plan.memory_minutes:g} minutes",
        }
        return findings

    async def _load(self, broker: RunningServer) -> int:
        """Sends until the time is over; returns how many requests were answered, about."""
        run = SendingRun(
            in_flight=_IN_FLIGHT,
            accounts=self._stage.accounts,
            seconds=self._plan.memory_minutes * _MINUTE,
            warm_up_seconds=0.0,
        )
        sample = await FramesGenerator().send(broker, run)
        return round(sample.rate * run.seconds)

    async def _watch(self, brokers: dict[DatabaseKind, RunningServer]) -> dict[DatabaseKind, list[float]]:
        first, last = self._plan.memory_first_minutes * _MINUTE, self._plan.memory_minutes * _MINUTE
        start = time.monotonic()
        sizes: dict[DatabaseKind, list[float]] = {kind: [] for kind in brokers}
        for number in range(_SAMPLES + 1):
            due = first + (last - first) * number / _SAMPLES
            await asyncio.sleep(max(0.0, start + due - time.monotonic()))
            for kind, broker in brokers.items():
                sizes[kind].append(resident_bytes(broker.pid) / _MEGABYTE)
            self._tell(f"after {due / _MINUTE:.2g} min: " + ", ".join(f"{it[-1]:.0f} MB" for it in sizes.values()))
        return sizes
