"""A long past for a database: reservations that were captured long ago, written in bulk (sql/history.sql)."""

import asyncio
import contextlib
import hashlib
import re
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Final

from bench.seeding import suffix
from bench.stage import run_script
from broker_service.engine.clock import system_clock
from broker_service.storage.ledger_rows import to_microseconds
from tests.databases import DatabaseKind, sqlite_file

_SQL: Final = Path(__file__).with_name("sql")
_PAST: Final = timedelta(days=90)
_SUFFIX_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION bench_suffix(source text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(md5(source), 24)
"""
# Nothing is lost if it breaks: whoever makes a history begins again.
_UNSAFE_BUT_FAST: Final = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -524288", "temp_store = MEMORY")


async def add_history(url: str, *, each: int) -> None:
    """Gives every account of a freshly seeded database so many captured reservations."""
    statements = _statements(each)
    if DatabaseKind.of(url) is DatabaseKind.SQLITE:
        await asyncio.to_thread(_add_to_sqlite, sqlite_file(url), statements)
    else:
        # As the server does by itself in time.
        await run_script(url, _SUFFIX_FUNCTION, *statements, "VACUUM (ANALYZE)")


def _statements(each: int) -> list[str]:
    start = to_microseconds(system_clock() - _PAST)
    step = _PAST // timedelta(microseconds=1) // (each + 1)
    values = {"each": each, "start": start, "step": step}
    text = re.sub(r"--.*", "", (_SQL / "history.sql").read_text(encoding="utf-8"))
    text = re.sub(r":(each|start|step)\b", lambda found: str(values[found[1]]), text)
    return [statement.strip() for statement in text.split(";") if statement.strip()]


def _add_to_sqlite(path: Path, statements: list[str]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("bench_suffix", 1, suffix, deterministic=True)
        connection.create_function("md5", 1, _md5, deterministic=True)
        # From WAL to OFF there is a way through another mode only.
        for pragma in ("journal_mode = DELETE", *_UNSAFE_BUT_FAST):
            connection.execute(f"PRAGMA {pragma}")
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA journal_mode = WAL")


def _md5(source: str) -> str:
    return hashlib.md5(source.encode(), usedforsecurity=False).hexdigest()
