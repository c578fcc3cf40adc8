"""What sends the requests: a light generator of our own (frames.py), or ghz.

ghz is the tool others know, and takes more CPU for a request than the bare server does. Where both share two CPUs it
measures itself, so the light one is the default.
"""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from bench.engine_runs import RunFailedError, run_program
from bench.frames import Rpc, Sent
from bench.ghz_run import Credentials, Load, load_configuration, run_ghz
from bench.ghz_tool import find_ghz, install_ghz
from bench.plan import GeneratorKind
from bench.processes import microseconds_each, read_meters
from bench.rounds import Sample
from bench.seeding import PROVIDER_KEY, TOKEN_DIGITS
from bench.servers import RunningServer
from broker_service.engine.secrets import ACCOUNT_TOKEN_PREFIX

_CONNECTIONS: Final = 8
_RESERVE: Final = "reserve.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingRun:
    """How a server is loaded: so many requests in flight, or so many each second, for so many accounts.

    With `pipelined` they are operations of streams.
    """

    in_flight: int
    accounts: int
    seconds: float
    warm_up_seconds: float
    rpc: Rpc = Rpc.RESERVE
    rate: float | None = None
    pipelined: bool = False


class Generator(Protocol):
    """Sends requests, each with a request_id of its own, and measures the answers."""

    async def send(self, server: RunningServer, run: SendingRun) -> Sample:
        """Loads a server once. Raises RunFailedError unless every request was answered OK."""
        ...


class FramesGenerator:
    """See Generator. Its figures are those of the time after the warm-up."""

    async def send(self, server: RunningServer, run: SendingRun) -> Sample:
        """See Generator."""
        output = await run_program(
            *("bench.frames", "--target", server.address, f"--rpc={run.rpc}"),
            f"--in-flight={run.in_flight}" if run.rate is None else f"--rate={run.rate}",
            *(f"--connections={_CONNECTIONS}", f"--accounts={run.accounts}"),
            *(f"--warm-up={run.warm_up_seconds}", f"--seconds={run.seconds}"),
            *(("--pipelined",) if run.pipelined else ()),
            *(f"--meter={name}={pid}" for name, pid in server.meters.items()),
        )
        sent = msgspec.json.decode(output, type=Sent)
        if sent.failed or not sent.answered:
            raise RunFailedError(f"{sent.failed} requests failed, {sent.answered} were answered")
        return Sample(
            rate=sent.answered / sent.seconds, cpu_microseconds=sent.cpu_microseconds, details=sent.latency_ms
        )


class GhzGenerator:
    """See Generator. Its figures are those of a run of its own behind the warm-up, with its start and its end."""

    def __init__(self, directory: Path) -> None:
        self._ghz = find_ghz() or install_ghz()
        self._directory = directory

    async def send(self, server: RunningServer, run: SendingRun) -> Sample:
        """See Generator. Raises GhzFailedError, too."""
        if run.pipelined:
            raise RunFailedError("ghz sends no more than one message at a time on a stream: use --generator frames")
        if run.warm_up_seconds:
            await self._run(server, run, run.warm_up_seconds)
        own, meters, start = _children_seconds(), read_meters(server.meters), time.perf_counter()
        answered = await self._run(server, run, run.seconds)
        seconds = time.perf_counter() - start
        return Sample(
            rate=answered / seconds,
            cpu_microseconds={
                **microseconds_each(meters, read_meters(server.meters), answered),
                "generator": (_children_seconds() - own) * 1e6 / answered,
            },
        )

    async def _run(self, server: RunningServer, run: SendingRun, seconds: float) -> int:
        load = Load(duration_seconds=max(1, round(seconds)), concurrency=run.in_flight)
        credentials = Credentials(provider_key=PROVIDER_KEY, account_token=_token_template(run.accounts))
        configuration: dict[str, Any] = load_configuration(
            _RESERVE, host=server.address, credentials=credentials, load=load
        )
        report = await run_ghz(self._ghz, configuration, directory=self._directory, load=load)
        if problems := report.problems():
            raise RunFailedError(problems[0])
        return report.ok_count


def make_generator(kind: GeneratorKind, directory: Path) -> Generator:
    """Returns a generator; installs ghz where it is missing. Raises GhzMissingError."""
    return GhzGenerator(directory) if kind is GeneratorKind.GHZ else FramesGenerator()


async def best_in_flight(
    generator: Generator,
    server: RunningServer,
    candidates: Sequence[int],
    *,
    accounts: int,
    seconds: float,
    rpc: Rpc = Rpc.RESERVE,
) -> int:
    """Returns how many requests in flight a server answers most with."""
    rates: dict[int, float] = {}
    for in_flight in candidates if len(candidates) > 1 else ():
        run = SendingRun(in_flight=in_flight, accounts=accounts, seconds=seconds, warm_up_seconds=1.0, rpc=rpc)
        rates[in_flight] = (await generator.send(server, run)).rate
    return max(candidates, key=lambda in_flight: rates.get(in_flight, 0.0))


def _token_template(accounts: int) -> str:
    """Returns what ghz makes the accounts' tokens of, in turns."""
    return f"{ACCOUNT_TOKEN_PREFIX}_{{{{printf `%0{TOKEN_DIGITS}d` (mod .RequestNumber {accounts})}}}}"


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
