"""Text for people: tables, and the few words between them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tabulate import tabulate

RIGHT: Final = "right"
LEFT: Final = "left"


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; each column is its heading and its alignment."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    headings = [heading for heading, _ in columns]
    if not cells:
        return tabulate([], headers=headings, tablefmt="simple")
    # Without parsing of numbers: it would change texts that look like some.
    return tabulate(
        cells,
        headers=headings,
        tablefmt="simple",
        disable_numparse=True,
        colalign=[alignment for _, alignment in columns],
    )


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Return names and values, one pair a line."""
    cells = [(name, printable(str(value))) for name, value in rows]
    return tabulate(cells, tablefmt="plain", disable_numparse=True)


def printable(text: str) -> str:
    """Return the text without line breaks and terminal controls: much of what is shown, others have written."""
    return "".join(character if character.isprintable() else " " for character in text)


def count(number: int, unit: str) -> str:
    """Return a number with its unit, in the plural unless it is one."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def word(name: str, prefix: str) -> str:
    """Return the name of an enum's value as a word for people."""
    return name.removeprefix(prefix).lower().replace("_", " ")


def format_time(time: Timestamp) -> str:
    """Return the instant in UTC, to the second."""
    return time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S")


def format_duration(duration: Duration) -> str:
    """Return the span in days if it is made of whole days, else in hours, minutes and seconds."""
    span: timedelta = duration.ToTimedelta()
    if span.seconds or span.microseconds:
        return str(span)
    return count(span.days, "day")
