"""A provider, its broker or both, killed at each boundary between two steps of a request."""

import asyncio
import os
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

from tests.chaos.providers.customers import OUT_OF_CREDITS, Asked, Counter
from tests.chaos.providers.fault_point_names import POINTS
from tests.chaos.providers.paid_books import reckon
from tests.chaos.providers.provider_stage import BROKER, PROVIDER, SERVICES, ProviderStage, provider_stage
from tests.chaos.stage import KILLS_VARIABLE, channel_to
from tests.databases import DatabaseKind, DatabaseMaker

# All there are, or as many as a run of all tests has time for.
IN_FULL = KILLS_VARIABLE in os.environ
VICTIMS = ((PROVIDER,), (PROVIDER, BROKER), (BROKER,))
RELEASED = "RESERVATION_RELEASED"
SERVED = "served"


@dataclass(frozen=True, slots=True)
class Ending:
    """What a retry is told, and how often the work was done, when the provider died at a point."""

    told: str
    work: int


ENDINGS = {
    # Nothing was reserved: as if it had not been asked.
    "reserving_written": Ending(SERVED, 1),
    "reserved": Ending(RELEASED, 0),
    "working_written": Ending(RELEASED, 0),
    "worked": Ending(RELEASED, 1),
    "done_written": Ending(SERVED, 1),
    "captured": Ending(SERVED, 1),
    "captured_written": Ending(SERVED, 1),
    "failed_written": Ending(RELEASED, 0),
    "released": Ending(RELEASED, 0),
    "released_written": Ending(RELEASED, 0),
    "removed_written": Ending(OUT_OF_CREDITS, 0),
}
RESUMED_ENDINGS = {**ENDINGS, "working_written": Ending(SERVED, 1), "worked": Ending(SERVED, 2)}
FAILING_POINTS = ("failed_written", "released", "released_written")


def test_every_point_is_in_the_table() -> None:
    assert tuple(ENDINGS) == POINTS


def cases() -> list[tuple[str, str, tuple[str, ...]]]:
    if IN_FULL:
        return [(point, service, victims) for victims in VICTIMS for service in SERVICES for point in POINTS]
    few = [(point, "once", victims) for point, victims in zip(POINTS, cycle(VICTIMS), strict=False)]
    return [*few, ("working_written", "again", (PROVIDER,)), ("worked", "once", (PROVIDER,))]


@pytest.mark.timeout(900 if IN_FULL else 240)
@pytest.mark.parametrize("kind", list(DatabaseKind) if IN_FULL else [DatabaseKind.SQLITE], ids=str)
async def test_whatever_dies_each_request_is_done_and_paid_or_neither(
    databases: DatabaseMaker, tmp_path: Path, kind: DatabaseKind
) -> None:
    database_url = databases.make(kind)
    journal_url = databases.make(kind) if kind is DatabaseKind.POSTGRESQL else f"sqlite:///{tmp_path}/journal.db"
    async with (
        provider_stage(database_url, journal_url, tmp_path) as stage,
        channel_to(stage.provider.address) as channel,
    ):
        counter = Counter(stage, channel)
        for point, service, victims in cases():
            await strike(stage, counter, point, service, victims)
        await reckon(stage, counter)


async def strike(stage: ProviderStage, counter: Counter, point: str, service: str, victims: tuple[str, ...]) -> None:
    asked = counter.new(service, poor=point == "removed_written", fails=point in FAILING_POINTS)
    stage.arm(point)
    # Who is stopped for long must not find that its caller has left meanwhile.
    asking = asyncio.create_task(counter.ask_until_answered(asked, seconds=60))
    await stage.wait_until_stopped()
    await stage.kill(victims)
    if PROVIDER not in victims:
        stage.go_on()
    await asking
    # What was told before the end does not count here: what is told after it does.
    await counter.ask_until_answered(asked)
    endings = RESUMED_ENDINGS if service == "again" else ENDINGS
    ending = endings[point] if PROVIDER in victims else ENDINGS_OF_BROKERS.get(point, Ending(SERVED, 1))
    assert (told_last(asked), stage.work()[asked.request_id]) == (ending.told, ending.work), (point, service, victims)


# Nothing is lost with the broker: the provider goes on.
ENDINGS_OF_BROKERS = {
    **dict.fromkeys(FAILING_POINTS, Ending(RELEASED, 0)),
    "removed_written": Ending(OUT_OF_CREDITS, 0),
}


def told_last(asked: Asked) -> str:
    return asked.refusals[-1] if asked.refusals else SERVED
