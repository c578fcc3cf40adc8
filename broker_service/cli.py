"""The `iap-broker` command."""

import asyncio
import json
import re
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import click
from sqlalchemy.engine import make_url

from broker_service.command_options import database_option, json_option, with_database
from broker_service.domain.errors import Refusal
from broker_service.engine.auditing import audit
from broker_service.engine.clock import system_clock
from broker_service.engine.demo_seeding import seed_demo
from broker_service.engine.pruning import Pruned, prune
from broker_service.engine.writing import write_with_retries
from broker_service.serve_options import serve_settings
from broker_service.settings import BrokerSettings
from broker_service.settle_command import settle_command
from broker_service.storage.database import Database, is_postgresql
from broker_service.storage.errors import DatabaseUnusableError
from broker_service.storage.pruning import MIN_REPLAY_WINDOW
from broker_service.storage.schema import DEFAULT_SHARDS, MAX_SHARDS, migrate_schema, shards_of
from mesh_runtime.addresses import parse_address
from mesh_runtime.commands import run_event_loop
from mesh_runtime.logs import configure_logging
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.worker import Worker, this_worker
from mesh_runtime.workers import MAX_CONNECTION_AGE_SECONDS, supervise


def _days(text: str) -> timedelta:
    """Reads a number of days such as 90d. Raises click.BadParameter."""
    if not re.fullmatch(r"[0-9]{1,5}d", text):
        raise click.BadParameter(f"{text!r} is not a number of days such as 90d")
    return timedelta(days=int(text.removesuffix("d")))


def _without_password(database_url: str) -> str:
    return make_url(database_url).render_as_string(hide_password=True)


@click.group(help="A credit broker: packs, payments, credit accounts and their ledger, as a gRPC server.")
def command() -> None:
    """Holds the commands."""


@command.command()
@database_option
@click.option(
    "--shards",
    type=click.IntRange(1, MAX_SHARDS),
    help=f"Parts the ledger is written in, each by itself; {DEFAULT_SHARDS} by default. Chosen for good.",
)
@json_option
def init(database: str, shards: int | None, as_json: bool) -> None:
    """Make the database, and print the operator's key. Made before: change nothing."""
    from broker_service import bootstrap  # noqa: PLC0415 - as in _serve

    operator_key = bootstrap.initialize(database, shards=shards)
    shown = _without_password(database)
    if as_json:
        click.echo(json.dumps({"database": shown, "operator_key": operator_key or "", "made": bool(operator_key)}))
    elif operator_key is None:
        click.echo(f"{shown} was made before; nothing is changed")
    else:
        click.echo(f"made {shown}")
        click.echo(f"operator key (shown once): {operator_key}")


@command.command()
@database_option
@json_option
def migrate(database: str, as_json: bool) -> None:
    """Bring the database to the schema of this version. Stop the brokers first."""
    done = asyncio.run(with_database(database, lambda opened: write_with_retries(opened, migrate_schema)))
    shown = _without_password(database)
    if as_json:
        click.echo(json.dumps({"database": shown, **asdict(done)}))
    elif done.from_revision == done.to_revision:
        click.echo(f"{shown} is current, at revision {done.to_revision}")
    else:
        click.echo(f"{shown} is migrated from revision {done.from_revision} to {done.to_revision}")


@command.command()
@database_option
@serve_settings
def serve(listen: str, http_listen: str, workers: int, log_level: str, log_style: str, **settings: Any) -> None:
    """Serve until SIGTERM or SIGINT."""
    worker = this_worker()
    configure_logging(log_level, log_style)
    http_address = parse_address(http_listen) if http_listen else None
    chosen = BrokerSettings(listen=parse_address(listen), http_listen=http_address, **settings)
    if worker is not None:
        with worker.reporting_failure():
            _serve(_shared(chosen, worker), worker)
    elif workers > 1:
        _check_writers(database=chosen.database)
        asyncio.run(supervise(chosen.listen, workers=workers, http_listen=chosen.http_listen))
    else:
        _serve(chosen, None)


def _check_writers(*, database: str) -> None:
    try:
        several = is_postgresql(database)
    except DatabaseUnusableError as error:
        raise StartupError(str(error)) from error
    if not several:
        raise StartupError("--workers must be 1: a SQLite database has one writer; PostgreSQL allows several")


def _serve(settings: BrokerSettings, worker: Worker | None) -> None:
    # It brings gRPC, which a supervisor of workers does without.
    from broker_service import bootstrap  # noqa: PLC0415 - see above

    run_event_loop(bootstrap.serve(settings, worker=worker))


def _shared(settings: BrokerSettings, worker: Worker) -> BrokerSettings:
    """Returns the settings of one of several processes at one address."""
    age_seconds = settings.max_connection_age_seconds or MAX_CONNECTION_AGE_SECONDS
    return replace(
        settings,
        listen=worker.listen,
        http_listen=worker.http_listen,
        reuse_port=True,
        max_connection_age_seconds=age_seconds,
    )


@command.command("audit")
@database_option
@json_option
def audit_command(database: str, as_json: bool) -> int:
    """Recompute the books from their rows; exit 1 and name each difference if there is any.

    Brokers may serve meanwhile.
    """
    found = asyncio.run(with_database(database, audit))
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        for violation in found.violations:
            click.echo(f"{violation.rule} {violation.account_id}: {violation.description}")
        accounts = "account" if found.accounts_checked == 1 else "accounts"
        entries = "entry" if found.entries_checked == 1 else "entries"
        differences = "1 difference" if len(found.violations) == 1 else f"{len(found.violations)} differences"
        verdict = differences if found.violations else "the books agree"
        click.echo(f"{found.accounts_checked} {accounts}, {found.entries_checked} {entries}: {verdict}")
    return 1 if found.violations else 0


@command.command("seed-demo")
@database_option
@json_option
def seed_demo_command(database: str, as_json: bool) -> None:
    """Set up a demo provider, service, packs, customer and account, and print ids, keys and tokens.

    Brokers may serve meanwhile. Done before: what is there stays, and new keys and a new token are printed.
    """
    try:
        seeded = asyncio.run(with_database(database, lambda opened: seed_demo(opened, system_clock)))
    except Refusal as refusal:
        raise StartupError(str(refusal)) from refusal
    if as_json:
        click.echo(json.dumps(asdict(seeded)))
        return
    for name, value in asdict(seeded).items():
        click.echo(f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, tuple) else value}")


@command.command("prune")
@database_option
@click.option(
    "--older-than",
    "age",
    type=_days,
    required=True,
    metavar="DAYS",
    help="Such as 90d: what was resolved or answered longer ago goes; 30d at least.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@json_option
def prune_command(database: str, age: timedelta, dry_run: bool, as_json: bool) -> None:
    """Remove old resolved reservations, replay records and delivered events; brokers may serve meanwhile.

    The statements of the accounts stay whole.
    """
    if age < MIN_REPLAY_WINDOW:
        raise StartupError(
            f"--older-than must be at least {MIN_REPLAY_WINDOW.days}d: for so long a request may be repeated"
        )
    before = system_clock() - age
    pruned = asyncio.run(with_database(database, lambda opened: _prune(opened, before, dry_run=dry_run)))
    horizon = before.isoformat(timespec="seconds").replace("+00:00", "Z")
    if as_json:
        click.echo(json.dumps({"before": horizon, "dry_run": dry_run, **asdict(pruned)}))
    else:
        verb = "would remove" if dry_run else "removed"
        rows = f"{pruned.reservations} reservations, {pruned.replay_records} replay records, {pruned.events} events"
        click.echo(f"{verb} from before {horizon}: {rows}")


async def _prune(database: Database, before: datetime, *, dry_run: bool) -> Pruned:
    return await prune(database, shards=await database.read(shards_of), before=before, dry_run=dry_run)


command.add_command(settle_command)
