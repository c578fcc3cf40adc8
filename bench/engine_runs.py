"""Running the engine's process (engine_lane.py) and checking its books."""

import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from bench.engine_lane import Measured, ProfiledThread
from bench.rounds import Sample
from deploy import node_process
from deploy.node_process import ROOT, run_command


class RunFailedError(Exception):
    """A part of the measurement did not do what it should; one line that says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """How the engine is loaded: so many callers, on so many accounts."""

    callers: int
    accounts: int
    seconds: float
    warm_up_seconds: float


async def run_engine(url: str, run: EngineRun, *, meters: Mapping[str, int]) -> Sample:
    """Measures the engine once."""
    measured = await measure(url, run, meters=meters)
    return Sample(
        rate=measured.pairs / measured.seconds,
        cpu_microseconds=measured.cpu_microseconds,
        details={"commands_per_commit": measured.commands_per_commit},
    )


async def measure(
    url: str, run: EngineRun, *, meters: Mapping[str, int], profile: ProfiledThread | None = None
) -> Measured:
    """Returns all that the engine's process tells. Raises RunFailedError."""
    output = await run_program(
        *("bench.engine_lane", "--database", url),
        *(f"--accounts={run.accounts}", f"--callers={run.callers}"),
        *(f"--warm-up={run.warm_up_seconds}", f"--seconds={run.seconds}"),
        *(f"--meter={name}={pid}" for name, pid in meters.items()),
        *(() if profile is None else (f"--profile={profile}",)),
    )
    measured = msgspec.json.decode(output, type=Measured)
    if measured.pairs == 0:
        raise RunFailedError("the engine answered nothing")
    return measured


async def check_books(url: str) -> None:
    """Raises RunFailedError unless the broker's own audit finds nothing."""
    found = json.loads(await run_command("broker_service", "audit", "--database", url, "--json"))
    if found["violations"]:
        raise RunFailedError(f"the audit found {len(found['violations'])} differences: {found['violations'][0]}")


async def run_program(module: str, *arguments: str) -> str:
    """Runs a module of ours to its end and returns what it prints. Raises RunFailedError."""
    process = await node_process.start_process(
        *(sys.executable, "-m", module, *arguments), cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    try:
        output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        last_line = (errors.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise RunFailedError(f"{module} failed: {last_line}")
    return output.decode()
