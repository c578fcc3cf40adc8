"""Measuring several subjects in turns, and what the figures of all turns come to.

A machine is never the same for long: other work, the disk's mood, the clock of its processors. So subjects that are
compared are measured right after each other, round after round, in an order that rotates; and a ratio is one of
figures of the same round.
"""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One turn of one subject.

    `cpu_microseconds` is what each part of it used for one operation, `details` whatever else was counted.
    """

    rate: float
    cpu_microseconds: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)


Measure = Callable[[], Awaitable[Sample]]
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures, and how far they lie apart."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Returns the spread of at least one figure."""
        return cls(statistics.median(figures), min(figures), max(figures))


def rotated(subjects: Sequence[str], round_number: int) -> list[str]:
    """Returns the order of a round: each subject comes first, second, … about equally often."""
    start = round_number % len(subjects)
    return [*subjects[start:], *subjects[:start]]


async def take_turns(subjects: Mapping[str, Measure], *, rounds: int, tell: Told) -> dict[str, list[Sample]]:
    """Measures each subject once a round; returns the samples of each, round by round."""
    samples: dict[str, list[Sample]] = {name: [] for name in subjects}
    for round_number in range(rounds):
        for name in rotated(list(subjects), round_number):
            sample = await subjects[name]()
            samples[name].append(sample)
            tell(f"round {round_number + 1} of {rounds}, {name}: {sample.rate:,.0f}/s")
    return samples


def ratios(subject: Sequence[Sample], baseline: Sequence[Sample]) -> list[float]:
    """Returns the ratio of each round."""
    return [one.rate / other.rate for one, other in zip(subject, baseline, strict=True)]


def medians(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the median of each name over all turns that have it."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: statistics.median(part[name] for part in parts if name in part) for name in names}
