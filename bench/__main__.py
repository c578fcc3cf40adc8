"""Measures the broker against what it is compared with: `python -m bench [SECTION …]`.

Every section has its baselines in the same run, in alternating rounds. Prints tables and writes var/bench/results.json;
with --publish, docs/performance.json and the tables of docs/performance.md.
"""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from bench.engine_runs import RunFailedError
from bench.ghz_run import GhzFailedError
from bench.ghz_tool import GhzMissingError
from bench.machine import describe_machine, use_few_cpus
from bench.plan import QUICK, GeneratorKind, Plan
from bench.profiles import profile_broker, profile_engine
from bench.report import TITLES, MarksMissingError, check_marks, render, write_into
from bench.results import Findings, Results, SectionResult, write_section
from bench.rounds import Told
from bench.sections.engine import EngineSection
from bench.sections.grpc import GrpcSection
from bench.sections.history import HistorySection
from bench.sections.memory import MemorySection
from bench.sections.serve import ServeSection
from bench.stage import Stage
from bench.stored_procedures import BaselineError
from deploy.interruption import run_to_end
from deploy.node_process import ROOT, ProcessFailedError

_PUBLISHED_RESULTS: Final = ROOT / "docs" / "performance.json"
_DOCUMENT: Final = ROOT / "docs" / "performance.md"
_OWN_DIRECTORY: Final = ROOT / "var" / "bench"
_WRONG_SETTINGS: Final = 2

_RUNS: Final[dict[str, Callable[[Stage, Plan, Told], Awaitable[Findings]]]] = {
    "engine": lambda stage, plan, tell: EngineSection(stage, plan, tell).run(),
    "grpc": lambda stage, plan, tell: GrpcSection(stage, plan, tell).run(),
    "hot": lambda stage, plan, tell: GrpcSection(stage, plan, tell).run_hot(),
    "pipeline": lambda stage, plan, tell: GrpcSection(stage, plan, tell).run_pipelined(),
    "history": lambda stage, plan, tell: HistorySection(stage, plan, tell).run(),
    "serve": lambda stage, plan, tell: ServeSection(stage, plan, tell).run(),
    "memory": lambda stage, plan, tell: MemorySection(stage, plan, tell).run(),
}
_PROFILES: Final = {"engine": profile_engine, "grpc": profile_broker}


async def main(command_line: Sequence[str] | None = None) -> int:
    """Runs the sections and returns the exit code: 1 when one fails, 2 when it could not be tried.

    A target that is missed is no failure: the tables say so.
    """
    arguments = _read_arguments(command_line)
    use_few_cpus()
    # gRPC tells of every connection that ends.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        if arguments.publish:
            check_marks(_DOCUMENT)
        for name in arguments.sections:
            await _run_section(name, arguments)
    except (GhzMissingError, MarksMissingError) as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return _WRONG_SETTINGS
    except (RunFailedError, BaselineError, GhzFailedError, ProcessFailedError) as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 1
    return 0


async def _run_section(name: str, arguments: argparse.Namespace) -> None:
    plan: Plan = arguments.plan
    tell = partial(_tell, name)
    async with Stage(accounts=plan.accounts) as stage:
        findings = await _RUNS[name](stage, plan, tell)
        if arguments.profile and name in _PROFILES:
            await _PROFILES[name](stage, plan, tell, _OWN_DIRECTORY / "profiles")
    section = SectionResult(
        time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=describe_machine(),
        facts={**findings.facts, "extent": _extent(name, plan)},
        figures=findings.figures,
        comparisons=findings.comparisons,
    )
    results = write_section(_PUBLISHED_RESULTS if arguments.publish else arguments.results, name, section)
    if arguments.publish:
        write_into(_DOCUMENT, results)
    print(f"\n{render(Results({name: results.sections[name]}))}\n", flush=True)


def _extent(name: str, plan: Plan) -> str:
    if name == "memory":
        return f"{plan.memory_minutes:g} minutes"
    rounds = "one round" if plan.rounds == 1 else f"{plan.rounds} rounds"
    return f"{rounds} of {plan.seconds:g} s for each, after a warm-up of {plan.warm_up_seconds:g} s"


def _tell(section: str, progress: str) -> None:
    print(f"{section}: {progress}", file=sys.stderr, flush=True)


def _read_arguments(command_line: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measures the broker against its baselines.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(TITLES)}; default all")
    parser.add_argument("--quick", action="store_true", help="try the programs; the figures mean nothing")
    parser.add_argument("--rounds", type=int, metavar="NUMBER")
    parser.add_argument("--seconds", type=float, metavar="NUMBER", help="of each subject in each round")
    parser.add_argument("--accounts", type=int, metavar="NUMBER")
    parser.add_argument("--generator", type=GeneratorKind, choices=list(GeneratorKind))
    parser.add_argument("--history-reservations", type=int, metavar="NUMBER")
    parser.add_argument("--memory-minutes", type=float, metavar="NUMBER")
    parser.add_argument("--profile", action="store_true", help="time functions too, into var/bench/profiles")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.json and docs/performance.md")
    parser.add_argument("--results", type=Path, metavar="FILE", default=_OWN_DIRECTORY / "results.json")
    arguments = parser.parse_args(command_line)
    unknown = set(arguments.sections) - TITLES.keys()
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    if arguments.quick and arguments.publish:
        parser.error("--quick measures nothing that could be published")
    arguments.sections = arguments.sections or list(TITLES)
    sizes = ("rounds", "seconds", "accounts", "generator", "history_reservations", "memory_minutes")
    given = {name: getattr(arguments, name) for name in sizes if getattr(arguments, name) is not None}
    if any(isinstance(size, int | float) and size <= 0 for size in given.values()):
        parser.error("sizes must be greater than 0")
    arguments.plan = replace(QUICK if arguments.quick else Plan(), **given)
    return arguments


if __name__ == "__main__":
    sys.exit(run_to_end(main))
