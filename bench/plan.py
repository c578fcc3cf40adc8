"""How much is measured."""

from dataclasses import dataclass
from enum import StrEnum


class GeneratorKind(StrEnum):
    """What sends the requests."""

    FRAMES = "frames"
    GHZ = "ghz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes of a run; the defaults are those of `make bench`."""

    rounds: int = 5
    seconds: float = 6.0
    warm_up_seconds: float = 2.0
    # Long enough for each account's first call, which looks its token up.
    introduction_seconds: float = 15.0
    accounts: int = 10_000
    callers: tuple[int, ...] = (64, 256)
    pgbench_clients: tuple[int, ...] = (4, 8, 16, 32, 64)
    probe_seconds: float = 3.0
    in_flight: tuple[int, ...] = (32, 64, 128)
    generator: GeneratorKind = GeneratorKind.FRAMES
    history_reservations: int = 5_000_000
    memory_minutes: float = 10.0
    memory_first_minutes: float = 1.0


QUICK = Plan(
    rounds=1,
    seconds=0.5,
    warm_up_seconds=0.0,
    introduction_seconds=0.5,
    accounts=200,
    callers=(64,),
    pgbench_clients=(8,),
    probe_seconds=1.0,
    in_flight=(32,),
    history_reservations=10_000,
    memory_minutes=0.1,
    memory_first_minutes=0.05,
)
