"""Where the time goes: functions of the engine and of a broker process, timed by cProfile.

Timing every function makes all of them slower, small ones most: the tables say what to look at, not what it costs.
What each process costs is among the figures themselves, from /proc.
"""

import io
import pstats
from pathlib import Path
from typing import Final

from bench.engine_lane import ProfiledThread
from bench.engine_runs import EngineRun, measure
from bench.generators import FramesGenerator, SendingRun
from bench.plan import Plan
from bench.rounds import Told
from bench.servers import running_broker
from bench.stage import Stage
from tests.databases import DatabaseKind

_FUNCTIONS: Final = 40


async def profile_engine(stage: Stage, plan: Plan, tell: Told, directory: Path) -> None:
    """Writes a table for each thread that has work to do, on each kind of database."""
    run = EngineRun(
        callers=plan.callers[0],
        accounts=stage.accounts,
        seconds=plan.seconds,
        warm_up_seconds=plan.warm_up_seconds,
    )
    wanted = {DatabaseKind.POSTGRESQL: [ProfiledThread.LOOP], DatabaseKind.SQLITE: list(ProfiledThread)}
    for kind, threads in wanted.items():
        for thread in threads:
            async with stage.copy(kind) as url:
                measured = await measure(url, run, meters=await stage.meters(kind), profile=thread)
            _write(directory / f"engine-{kind}-{thread}.txt", measured.profile, tell)


async def profile_broker(stage: Stage, plan: Plan, tell: Told, directory: Path) -> None:
    """Writes a table for the event loop of a broker process that answers Reserve, on each kind of database."""
    run = SendingRun(
        in_flight=plan.in_flight[0],
        accounts=stage.accounts,
        seconds=plan.seconds,
        warm_up_seconds=plan.warm_up_seconds,
    )
    for kind in DatabaseKind:
        path = stage.directory / f"broker-{kind}.profile"
        async with (
            stage.copy(kind) as url,
            running_broker(url, meters={}, directory=stage.directory, profile_path=path) as broker,
        ):
            await FramesGenerator().send(broker, run)
        text = io.StringIO()
        pstats.Stats(str(path), stream=text).strip_dirs().sort_stats("tottime").print_stats(_FUNCTIONS)
        _write(directory / f"broker-{kind}.txt", text.getvalue(), tell)


def _write(path: Path, table: str, tell: Told) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table, encoding="utf-8")
    tell(f"wrote {path}")
