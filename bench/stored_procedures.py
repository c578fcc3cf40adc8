"""The baseline on PostgreSQL: pgbench, and a stored procedure per operation (sql/procedures.sql)."""

import asyncio
import os
import re
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from bench.engine_lane import CREDITS
from bench.processes import microseconds_each, read_meters
from bench.rounds import Sample
from bench.stage import fetch, postgres_program, run_script

_SQL: Final = Path(__file__).with_name("sql")
# As the broker's own connections: every statement finds its rows by an index, planned once.
_OPTIONS: Final = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
_RATE: Final = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)$", re.MULTILINE)
_DONE: Final = re.compile(r"^number of transactions actually processed: ([0-9]+)", re.MULTILINE)
_FAILED: Final = re.compile(r"^number of failed transactions: ([0-9]+)", re.MULTILINE)
_LATENCY: Final = re.compile(r"^latency average = ([0-9.]+) ms$", re.MULTILINE)
_WRITTEN: Final = f"""
SELECT
    (SELECT count(*) FROM reservations WHERE state = 'CAPTURED' AND captured_credits = {CREDITS}
        AND resolve_time IS NOT NULL),
    (SELECT count(*) FROM reservations),
    (SELECT count(*) FROM entries WHERE kind = 'CAPTURE' AND credits = -{CREDITS}),
    (SELECT count(DISTINCT operation_id) FROM operations WHERE kind = 'Capture'),
    (SELECT sum(reserved_credits) FROM accounts),
    (SELECT sum(ledger_credits) FROM accounts) - (SELECT sum(remaining_credits) FROM grants),
    (SELECT sum(ledger_credits) FROM accounts) - (SELECT sum(credits) FROM entries)
"""  # noqa: S608 - a number of our own
# Text is what differs in size from row to row, and all that could be cheated with.
_LENGTHS: Final = {
    "reservations": "reservation_id account_id provider_id service state allocations fingerprint description metadata",
    "entries": "account_id kind counterpart reservation_id description",
    "operations": "operation_id account_id kind fingerprint",
}
_CAPTURES: Final = {"entries": "kind = 'CAPTURE'", "reservations": "state = 'CAPTURED'", "operations": "true"}


class BaselineError(Exception):
    """The baseline did not do what it is compared for; one line that says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PgbenchRun:
    """How pgbench is run: so many clients, on so many accounts."""

    clients: int
    accounts: int
    seconds: float
    warm_up_seconds: float


async def install(url: str) -> None:
    """Makes the procedures in a database."""
    await run_script(url, (_SQL / "procedures.sql").read_text(encoding="utf-8"))


async def run_pgbench(url: str, run: PgbenchRun, *, server_pid: int) -> Sample:
    """Runs the procedures and checks that they wrote all they should. Raises BaselineError."""
    warm_up_pairs = 0.0
    if run.warm_up_seconds:
        warm_up_pairs = _number(_DONE, await _pgbench(url, run, run.warm_up_seconds))
    before = read_meters({"postgres": server_pid})
    said = await _pgbench(url, run, run.seconds)
    pairs = _number(_DONE, said)
    used = microseconds_each(before, read_meters({"postgres": server_pid}), int(pairs))
    await check_written(url, pairs=int(warm_up_pairs + pairs))
    return Sample(
        rate=_number(_RATE, said),
        cpu_microseconds=used,
        details={"clients": run.clients, "latency_average_ms": _number(_LATENCY, said)},
    )


async def check_written(url: str, *, pairs: int) -> None:
    """Raises BaselineError unless a copy of the seeded database has exactly so many pairs, and its credits add up."""
    ((captured, reservations, entries, operations, reserved, unlike_grants, unlike_entries),) = await fetch(
        url, _WRITTEN
    )
    if {captured, reservations, entries, operations} != {pairs}:
        raise BaselineError(
            f"pgbench says {pairs} pairs; the database has {reservations} reservations, {captured} of them captured, "
            f"{entries} entries and {operations} operations"
        )
    if reserved or unlike_grants or unlike_entries:
        raise BaselineError(
            f"the credits do not add up: {reserved} reserved, accounts and grants differ by {unlike_grants}, accounts "
            f"and entries by {unlike_entries}"
        )


async def text_lengths(url: str) -> dict[str, float]:
    """Returns how long each text is that a pair has written, on average."""
    found: dict[str, float] = {}
    for table, columns in _LENGTHS.items():
        names = columns.split()
        averages = ", ".join(f"round(avg(length({name})), 1)" for name in names)
        (row,) = await fetch(url, f"SELECT {averages} FROM {table} WHERE {_CAPTURES[table]}")  # noqa: S608 - our own
        found.update({f"{table}.{name}": float(value or 0) for name, value in zip(names, row, strict=True)})
    return found


async def _pgbench(url: str, run: PgbenchRun, seconds: float) -> str:
    address = make_url(url)
    process = await asyncio.create_subprocess_exec(
        *(postgres_program("pgbench"), "--no-vacuum", "--protocol=prepared"),
        *(f"--client={run.clients}", f"--jobs={min(2, run.clients)}", f"--time={max(1, round(seconds))}"),
        *(f"--define=accounts={run.accounts}", f"--file={_SQL / 'pair.sql'}"),
        *(f"--host={address.query['host']}", f"--username={address.username}", str(address.database)),
        env={**os.environ, "PGOPTIONS": _OPTIONS},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    said = output.decode()
    if process.returncode != 0 or _number(_FAILED, said):
        raise BaselineError(f"pgbench failed: {errors.decode(errors='replace').strip()}")
    return said


def _number(pattern: re.Pattern[str], said: str) -> float:
    found = pattern.search(said)
    if found is None:
        raise BaselineError(f"pgbench did not say {pattern.pattern}: {said}")
    return float(found[1])
