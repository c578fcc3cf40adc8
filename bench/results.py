"""What a run has found, as it is written to a file and read again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bench.rounds import Sample, Spread, medians, ratios


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one subject: the median of all rounds, their range, and each round."""

    subject: str
    unit: str
    median: float
    minimum: float
    maximum: float
    rounds: list[float]
    cpu_microseconds: dict[str, float] = {}
    details: dict[str, float] = {}


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio of two subjects against what it should be at least, or at most."""

    name: str
    median: float
    minimum: float
    maximum: float
    rounds: list[float]
    at_least: float | None = None
    at_most: float | None = None
    median_at_most: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the median keeps the bounds; `at_most` is kept by the largest figure."""
        return (
            (self.at_least is None or self.median >= self.at_least)
            and (self.at_most is None or self.maximum <= self.at_most)
            and (self.median_at_most is None or self.median <= self.median_at_most)
        )


class SectionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One section: when and where it was measured, and what came of it. `facts` say how, in words."""

    time: str
    machine: dict[str, str]
    facts: dict[str, str]
    figures: list[Figure]
    comparisons: list[Comparison]


class Results(msgspec.Struct, frozen=True):
    """The newest result of each section."""

    sections: dict[str, SectionResult] = {}


class Findings:
    """Collects what a section finds."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.comparisons: list[Comparison] = []
        self.facts: dict[str, str] = {}

    def add_figures(self, samples: Mapping[str, Sequence[Sample]], *, unit: str) -> None:
        """Takes down the samples of some subjects."""
        for subject, taken in samples.items():
            rates = [sample.rate for sample in taken]
            spread = Spread.of(rates)
            self.figures.append(
                Figure(
                    subject=subject,
                    unit=unit,
                    median=spread.median,
                    minimum=spread.minimum,
                    maximum=spread.maximum,
                    rounds=rates,
                    cpu_microseconds=medians([sample.cpu_microseconds for sample in taken]),
                    details=medians([sample.details for sample in taken]),
                )
            )

    def add_sizes(self, subject: str, sizes: Sequence[float], *, requests: int) -> None:
        """Takes down how much memory a process occupied, from the first look to the last, in megabytes."""
        spread = Spread.of(sizes)
        self.figures.append(
            Figure(
                subject=subject,
                unit="MB",
                median=spread.median,
                minimum=spread.minimum,
                maximum=spread.maximum,
                rounds=list(sizes),
                details={"requests": float(requests)},
            )
        )

    def compare(
        self, samples: Mapping[str, Sequence[Sample]], subject: str, baseline: str, *, at_least: float | None = None
    ) -> None:
        """Takes down the ratio of two subjects."""
        self.add_ratios(f"{subject} / {baseline}", ratios(samples[subject], samples[baseline]), at_least=at_least)

    def add_ratios(
        self,
        name: str,
        found: Sequence[float],
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        median_at_most: float | None = None,
    ) -> None:
        """Takes down a ratio and its bounds."""
        spread = Spread.of(found)
        self.comparisons.append(
            Comparison(
                name=name,
                median=spread.median,
                minimum=spread.minimum,
                maximum=spread.maximum,
                rounds=list(found),
                at_least=at_least,
                at_most=at_most,
                median_at_most=median_at_most,
            )
        )


def read_results(path: Path) -> Results:
    """Returns what a file has; nothing, if there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else Results()


def write_section(path: Path, name: str, section: SectionResult) -> Results:
    """Puts a section into a file in place of the one before; returns all that is there then."""
    results = Results({**read_results(path).sections, name: section})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_rounded(results)), indent=2) + b"\n")
    # As it was written: shown figures and written ones must not differ by a rounding.
    return read_results(path)


def _rounded(value: object) -> object:
    """Returns what is to be written, without digits that mean nothing."""
    plain = msgspec.to_builtins(value)

    def shortened(item: object) -> object:
        match item:
            case float():
                return float(f"{item:.5g}")
            case list():
                return [shortened(part) for part in item]
            case dict():
                return {key: shortened(part) for key, part in item.items()}
            case _:
                return item

    return shortened(plain)
