"""Making, migrating and pruning a database, as an operator does it: with commands, beside a broker that serves."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

import broker_service
from broker_service.domain.commands import Capture, OpenAccount, Reserve
from broker_service.domain.identities import account_id_for
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL
from broker_service.engine.committer import Committer
from broker_service.storage.database import open_database
from broker_service.storage.schema import head
from tests.databases import DatabaseKind, only_on, run_sql
from tests.forked_commands import run_forked
from tests.forked_processes import start_process
from tests.forked_programs import BROKER

ACCOUNT = account_id_for("cus_c", "first")
COMMAND = [sys.executable, "-m", "broker_service"]


def run(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command in a directory: of the version that is there, else of this one."""
    if directory is None:
        done = run_forked(BROKER, *arguments, environment=os.environ)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.output, done.errors)
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=directory
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("iap-broker: error: ")
    for word in words:
        assert word in line


@pytest.fixture
def database(database_url: str) -> str:
    made = run("init", "--database", database_url)
    assert made.returncode == 0, made
    return database_url


@pytest.fixture
def tomorrow(tmp_path: Path) -> Path:
    """A directory with the next version of the broker, which has one migration more."""
    package = Path(broker_service.__file__).parent
    shutil.copytree(package, tmp_path / "tomorrow" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    step = tmp_path / "tomorrow" / package.name / "storage" / "migrations" / "versions" / "revision_9001.py"
    step.write_text(
        "from alembic import op\n"
        f"revision, down_revision = '9001', '{head()}'\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE things (name TEXT)')\n"
    )
    return tmp_path / "tomorrow"


def test_a_database_is_made_from_any_directory_with_as_many_shards_as_are_asked_for(
    database_url: str, tmp_path: Path
) -> None:
    made = json.loads(run("init", "--database", database_url, "--shards", "16", "--json", directory=tmp_path).stdout)
    assert (made["made"], made["operator_key"][:9]) == (True, "iap_oper_")
    again = json.loads(run("init", "--database", database_url, "--json").stdout)
    assert (again["made"], again["operator_key"]) == (False, "")
    assert_refused(run("init", "--database", database_url, "--shards", "8"), "--shards 16", "nothing is changed")
    assert run_sql(database_url, "SELECT value FROM properties WHERE name = 'shards'") == [("16",)]


@pytest.mark.parametrize("shards", ["0", "1025"])
@only_on(DatabaseKind.SQLITE, reason="no database is looked at")
def test_a_wrong_number_of_shards_is_named(database_url: str, shards: str) -> None:
    assert_refused(run("init", "--database", database_url, "--shards", shards), "--shards", shards)


async def test_of_several_that_make_a_database_at_once_one_does(database_url: str) -> None:
    line = (*COMMAND, "init", "--json", "--database", database_url)
    processes = [await start_process(*line, stdout=PIPE, stderr=PIPE) for _ in range(4)]
    ended = await asyncio.gather(*(process.communicate() for process in processes))
    outcomes = [(*streams, process.returncode) for streams, process in zip(ended, processes, strict=True)]
    made = [json.loads(output)["made"] for output, _, code in outcomes if code == 0]
    assert made.count(True) == 1, outcomes
    # SQLite does not wait for ever; whoever gives up has changed nothing.
    assert all(code == 0 or b"locked" in errors for _, errors, code in outcomes), outcomes
    assert run_sql(database_url, "SELECT count(*) FROM keys") == [(1,)]


def test_a_current_database_stays_as_it_is(database: str) -> None:
    shown = run("migrate", "--database", database)
    assert (shown.returncode, shown.stdout.split()[-5:]) == (0, ["is", "current,", "at", "revision", head()])
    assert json.loads(run("migrate", "--database", database, "--json").stdout) == {
        "database": database,
        "from_revision": head(),
        "to_revision": head(),
    }


def test_an_upgrade_migrates_once_and_there_is_no_way_back(database: str, tomorrow: Path) -> None:
    serve = ["serve", "--listen", "127.0.0.1:0"]
    refused = run(*serve, "--database", database, directory=tomorrow)
    assert_refused(refused, f"revision {head()}", "9001", "run `iap-broker migrate`")
    migrated = run("migrate", "--database", database, directory=tomorrow)
    assert migrated.stdout.strip().endswith(f"is migrated from revision {head()} to 9001"), migrated
    again = run("migrate", "--database", database, directory=tomorrow)
    assert again.stdout.strip().endswith("is current, at revision 9001"), again
    assert run("audit", "--database", database, directory=tomorrow).returncode == 0
    for command in (serve, ["migrate"]):
        assert_refused(run(*command, "--database", database), "9001", "made by a newer broker")


def test_only_a_brokers_database_is_migrated_or_pruned(database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE properties (id INTEGER, colour TEXT)")
    for command in (["migrate"], ["prune", "--older-than", "90d"], ["init"]):
        assert_refused(run(*command, "--database", database_url), "not a broker's")
    assert run_sql(database_url, "SELECT count(*) FROM properties") == [(0,)]


@only_on(DatabaseKind.POSTGRESQL, reason="a file has no password")
def test_a_password_is_not_shown(database_url: str) -> None:
    url = make_url(database_url).set(password="hunter2").render_as_string(hide_password=False)
    for command in (["init"], ["init", "--json"], ["migrate"]):
        done = run(*command, "--database", url)
        assert done.returncode == 0, done
        assert str(make_url(url).database) in done.stdout
        assert "hunter2" not in done.stdout + done.stderr


@pytest.fixture
async def aged_database(database: str) -> str:
    """A database with one reservation captured a hundred days ago, one forty days ago, and one still active."""
    now = datetime.now(UTC) - timedelta(days=100)
    opened = open_database(database)
    committer = Committer(opened, lambda: now)
    await committer.execute(OpenAccount("open", ACCOUNT, "cus_c", "prv_p", "sms", False, 100, "hash"))
    for days_ago in (100, 40, 0):
        now = datetime.now(UTC) - timedelta(days=days_ago)
        request_id = f"{days_ago} days ago"
        result = await committer.execute(
            Reserve(request_id, ACCOUNT, "prv_p", False, 5, None, DEFAULT_TTL, MAX_TTL, "", {})
        )
        reservation_id = result.reservation.reservation_id
        if days_ago:
            await committer.execute(Capture(request_id, ACCOUNT, "prv_p", reservation_id, None, keep_open=False))
    await committer.drain()
    await opened.close()
    return database


async def test_old_rows_are_pruned_beside_a_broker_that_serves(aged_database: str) -> None:
    serving = await start_process(
        *(*COMMAND, "serve", "--listen", "127.0.0.1:0", "--database", aged_database),
        stdout=PIPE,
        stderr=DEVNULL,
    )
    assert serving.stdout is not None
    assert (await asyncio.wait_for(serving.stdout.readline(), 30)).startswith(b"listening on")

    def prune(*arguments: str) -> dict[str, object]:
        done = run("prune", "--database", aged_database, "--json", *arguments)
        assert done.returncode == 0, done
        printed: dict[str, object] = json.loads(done.stdout)
        return {name: printed[name] for name in ("dry_run", "reservations", "replay_records")}

    nothing = {"dry_run": False, "reservations": 0, "replay_records": 0}
    one = {"dry_run": False, "reservations": 1, "replay_records": 1}
    try:
        assert prune("--older-than", "120d") == nothing
        assert prune("--older-than", "90d", "--dry-run") == one | {"dry_run": True}
        assert prune("--older-than", "90d") == one
        assert prune("--older-than", "90d") == nothing
        assert prune("--older-than", "30d") == one
    finally:
        serving.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(serving.wait(), 30) == 0
    assert run_sql(aged_database, "SELECT state FROM reservations") == [("ACTIVE",)]
    assert run_sql(aged_database, "SELECT count(*) FROM entries") == [(3,)]
    audited = run("audit", "--database", aged_database)
    assert audited.returncode == 0, audited


@pytest.mark.parametrize(
    ("age", "words"),
    [
        ("29d", "at least 30d"),
        ("90", "number of days such as 90d"),
        ("-90d", "number of days such as 90d"),
    ],
)
@only_on(DatabaseKind.SQLITE, reason="no database is looked at")
def test_a_wrong_age_is_named(database_url: str, age: str, words: str) -> None:
    assert_refused(run("prune", "--database", database_url, "--older-than", age), "--older-than", words)


@only_on(DatabaseKind.SQLITE, reason="no database is looked at")
def test_nothing_is_pruned_without_an_age(database_url: str) -> None:
    assert_refused(run("prune", "--database", database_url), "--older-than")
