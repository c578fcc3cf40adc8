"""The index of edge cases names tests that are there, on both databases, and all of this directory's."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.databases import DatabaseKind

ROOT = Path(__file__).parents[3]
INDEX = ROOT / "docs" / "edge-cases.md"
HERE = Path(__file__).parent
ROW = re.compile(r"\| (?P<case>[^|]+) \| (?P<tests>`tests/[^|]+) \|")
TEST = re.compile(r"`(tests/[\w/]+\.py::[\w:]+)`")
ALONE = {"SQLite": DatabaseKind.SQLITE, "PostgreSQL": DatabaseKind.POSTGRESQL}


def rows() -> list[tuple[str, list[str]]]:
    """Returns each case with the ids of its tests."""
    found = [ROW.fullmatch(line) for line in INDEX.read_text().splitlines() if "::" in line]
    assert all(found), "every line that names a test is a row of a table"
    return [(row["case"], TEST.findall(row["tests"])) for row in found if row is not None]


def kinds_of(case: str) -> set[DatabaseKind]:
    """Returns the kinds of database that can meet a case."""
    alone = {kind for name, kind in ALONE.items() if f"({name} alone: " in case}
    return alone or set(DatabaseKind)


@pytest.fixture(scope="module")
async def collected() -> list[str]:
    """The ids of what pytest finds by the names in the index."""
    names = sorted({name for _, names in rows() for name in names})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--assert=plain", *names),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output.splitlines()


@pytest.mark.parametrize(("case", "names"), rows(), ids=[case for case, _ in rows()])
def test_a_case_is_tested_on_every_database_that_can_meet_it(collected: list[str], case: str, names: list[str]) -> None:
    assert names
    runs = [line for name in names for line in collected if line.startswith((f"{name}[", f"{name}::"))]
    of_kind = {kind for kind in DatabaseKind for run in runs if re.search(rf"[\[-]{kind}[\]-]", run)}
    assert of_kind == kinds_of(case)


def test_every_edge_case_of_this_directory_is_in_the_index() -> None:
    indexed = {name for _, names in rows() for name in names}
    there = {
        f"{path.relative_to(ROOT).as_posix()}::{name}"
        for path in HERE.glob("test_broker_*.py")
        for name in re.findall(r"^async def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert there <= indexed
