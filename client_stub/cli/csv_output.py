"""CSV for spreadsheets and programs, by RFC 4180."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

import click

_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# What makes a spreadsheet take a cell for a formula (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def print_csv(rows: Iterable[Sequence[object]]) -> None:
    """Print rows, in UTF-8 and with the line ends of the RFC on every system; nothing if there are none."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([safe_cell(str(cell)) for cell in row] for row in rows)
    if text.getvalue():
        click.echo(text.getvalue().encode(), nl=False)


def safe_cell(text: str) -> str:
    """Return the text as no spreadsheet runs it: with an apostrophe before what could be a formula and is no number."""
    if text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
