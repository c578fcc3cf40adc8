"""Results as tables: for a person at a terminal, and in a document between two marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.results import Comparison, Figure, Results, SectionResult

TITLES: Final[Mapping[str, str]] = {
    "engine": "The engine by itself",
    "grpc": "The broker over gRPC",
    "hot": "One hot account over gRPC",
    "pipeline": "Operations of a Pipeline",
    "history": "A long past",
    "serve": "A request through provider and broker",
    "memory": "Memory",
}
BEGIN: Final = "<!-- figures: written by `make bench` -->"
END: Final = "<!-- end of figures -->"

_UNITS: Final = ("ms",)
# Below it digits behind the point tell something.
_SMALL: Final = 100


class MarksMissingError(Exception):
    """A document has no place for the figures."""


def render(results: Results) -> str:
    """Returns all sections in Markdown, in their order."""
    parts = [_section(title, results.sections[name]) for name, title in TITLES.items() if name in results.sections]
    return "\n\n".join(parts)


def check_marks(path: Path) -> None:
    """Raises MarksMissingError unless a document has a place for the figures."""
    _around_marks(path)


def write_into(path: Path, results: Results) -> None:
    """Replaces what a document has between the marks. Raises MarksMissingError."""
    before, after = _around_marks(path)
    path.write_text(f"{before}{BEGIN}\n\n{render(results)}\n\n{END}{after}", encoding="utf-8")


def _around_marks(path: Path) -> tuple[str, str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarksMissingError(f"{path} has no lines {BEGIN} and {END}")
    return before, after


def _section(title: str, section: SectionResult) -> str:
    facts = "\n".join(f"- {name}: {fact}" for name, fact in section.facts.items())
    machine = ", ".join(f"{name} {fact}" for name, fact in section.machine.items())
    tables = [f"### {title}", facts, _figures(section.figures)]
    if section.comparisons:
        tables.append(_comparisons(section.comparisons))
    tables.append(f"Measured {section.time}. {machine}.")
    return "\n\n".join(tables)


def _figures(figures: Sequence[Figure]) -> str:
    rows = [
        (
            figure.subject,
            f"{_number(figure.median)} {figure.unit}",
            f"{_number(figure.minimum)} – {_number(figure.maximum)}",
            "; ".join(f"{name} {_number(used)} µs" for name, used in figure.cpu_microseconds.items()),
            "; ".join(_detail(name, value) for name, value in figure.details.items()),
        )
        for figure in figures
    ]
    return _table(("", "median", "range", "CPU for each", "besides"), rows)


def _comparisons(comparisons: Sequence[Comparison]) -> str:
    rows = [
        (it.name, f"{it.median:.2f}", f"{it.minimum:.2f} – {it.maximum:.2f}", _target(it), _verdict(it))
        for it in comparisons
    ]
    return _table(("ratio", "median", "range", "target", ""), rows)


def _target(comparison: Comparison) -> str:
    if comparison.at_least is not None:
        return f"≥ {comparison.at_least:g}"
    if comparison.median_at_most is not None:
        return f"≤ {comparison.median_at_most:g}"
    return "" if comparison.at_most is None else f"≤ {comparison.at_most:g}"


def _verdict(comparison: Comparison) -> str:
    return "pass" if comparison.passed else "**FAIL**"


def _detail(name: str, value: float) -> str:
    """Returns a detail with its unit, which its name ends with if it has one."""
    words = name.split("_")
    unit = f" {words.pop()}" if words[-1] in _UNITS else ""
    return f"{' '.join(words)} {_number(value)}{unit}"


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= _SMALL else f"{figure:.3g}"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
