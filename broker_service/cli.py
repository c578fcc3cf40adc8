"""The `iap-broker` command."""

import asyncio
import json
import re
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlalchemy.engine import make_url

from broker_service.command_options import database_option as _database_option
from broker_service.command_options import json_option as _json_option
from broker_service.command_options import payout_minimum_option
from broker_service.command_options import setting as _setting
from broker_service.command_options import with_database as _with_database
from broker_service.domain.commission import BASIS_POINTS, DEFAULT_COMMISSION_BASIS_POINTS
from broker_service.engine.auditing import audit
from broker_service.engine.clock import system_clock
from broker_service.engine.pruning import Pruned, prune
from broker_service.engine.writing import write_with_retries
from broker_service.payments.sandbox import SandboxBehavior
from broker_service.settings import DEFAULT_LISTEN, BrokerSettings
from broker_service.settle_command import settle_command
from broker_service.storage.database import Database, is_postgresql
from broker_service.storage.errors import DatabaseUnusableError
from broker_service.storage.pruning import MIN_REPLAY_WINDOW
from broker_service.storage.schema import DEFAULT_SHARDS, MAX_SHARDS, migrate_schema, shards_of
from mesh_runtime.addresses import parse_address
from mesh_runtime.commands import run_event_loop
from mesh_runtime.logs import LEVELS, STYLES, configure_logging
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
@_database_option
@click.option(
    "--shards",
    type=click.IntRange(1, MAX_SHARDS),
    help=f"Parts the ledger is written in, each by itself; {DEFAULT_SHARDS} by default. Chosen for good.",
)
@_json_option
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
@_database_option
@_json_option
def migrate(database: str, as_json: bool) -> None:
    """Bring the database to the schema of this version. Stop the brokers first."""
    done = asyncio.run(_with_database(database, lambda opened: write_with_retries(opened, migrate_schema)))
    shown = _without_password(database)
    if as_json:
        click.echo(json.dumps({"database": shown, **asdict(done)}))
    elif done.from_revision == done.to_revision:
        click.echo(f"{shown} is current, at revision {done.to_revision}")
    else:
        click.echo(f"{shown} is migrated from revision {done.from_revision} to {done.to_revision}")


@command.command()
@_database_option
@_setting("--listen", default=DEFAULT_LISTEN, help="HOST:PORT; port 0 picks a free one.")
@_setting(
    "--commission-basis-points",
    type=click.IntRange(0, BASIS_POINTS),
    default=DEFAULT_COMMISSION_BASIS_POINTS,
    help="The broker's cut of each sale, unless a provider has a rate of its own.",
)
@_setting("--purchase-url", default="", help="Where people buy packs; {service} becomes the service's name.")
@_setting("--workers", type=click.IntRange(1), default=1, help="Processes; more than one need PostgreSQL.")
@_setting("--tls-certificate", type=click.Path(path_type=Path), help="PEM file with the certificate chain.")
@_setting("--tls-key", type=click.Path(path_type=Path), help="PEM file with the private key.")
@_setting("--insecure", is_flag=True, help="Allow plaintext on other addresses than loopback.")
@_setting(
    "--drain-seconds", type=click.IntRange(0, 3_600), default=10, help="How long running calls may take at the end."
)
@_setting("--queue-commands", type=click.IntRange(1), default=10_000, help="Commands that may wait for a commit.")
@_setting("--batch-commands", type=click.IntRange(1, 5_000), default=512, help="Commands in one commit at most.")
@_setting("--max-concurrent-calls", type=click.IntRange(1), help="More are refused as OVERLOADED, in each process.")
@_setting(
    "--max-connection-age-seconds",
    type=click.IntRange(1),
    help=f"Clients connect again after this, and so spread; {MAX_CONNECTION_AGE_SECONDS:g} with several workers.",
)
@_setting(
    "--sweep-seconds",
    type=click.FloatRange(0, 3_600),
    default=1.0,
    help="How often expiries are written down, which changes no answer; 0 turns it off.",
)
@_setting(
    "--watch-seconds",
    type=click.FloatRange(0.05, 3_600),
    default=1.0,
    help="How often watchers of a balance learn what time and other processes have changed.",
)
@_setting(
    "--checkout-hours",
    type=click.IntRange(1, 720),
    default=24,
    help="How long a purchase that was started can be paid.",
)
@_setting(
    "--refund-seconds",
    type=click.FloatRange(0, 3_600),
    default=60.0,
    help="How often gateways are asked again for refunds they have not paid; 0 turns it off.",
)
@_setting(
    "--sandbox-behavior",
    type=click.Choice([behavior.value for behavior in SandboxBehavior]),
    default=SandboxBehavior.SUCCEED.value,
    callback=lambda _context, _option, value: SandboxBehavior(value),
    help="What the sandbox gateway does when it is asked for refunds and charges, and how it tells of payments.",
)
@_setting(
    "--sandbox-delay-seconds",
    type=click.FloatRange(0, 3_600),
    default=1.0,
    help="When the sandbox gateway tells what it delays or tells twice.",
)
@payout_minimum_option
@_setting("--log-level", type=click.Choice(LEVELS), default="info", help="One line per call at info and below.")
@_setting("--log-style", type=click.Choice(STYLES), default="json", help="How log lines look.")
def serve(listen: str, workers: int, log_level: str, log_style: str, **settings: Any) -> None:
    """Serve until SIGTERM or SIGINT."""
    worker = this_worker()
    configure_logging(log_level, log_style)
    chosen = BrokerSettings(listen=parse_address(listen), **settings)
    if worker is not None:
        with worker.reporting_failure():
            _serve(_shared(chosen, worker), worker)
    elif workers > 1:
        _check_writers(database=chosen.database)
        asyncio.run(supervise(chosen.listen, workers=workers))
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
    return replace(settings, listen=worker.listen, reuse_port=True, max_connection_age_seconds=age_seconds)


@command.command("audit")
@_database_option
@_json_option
def audit_command(database: str, as_json: bool) -> int:
    """Recompute the books from their rows; exit 1 and name each difference if there is any.

    Brokers may serve meanwhile.
    """
    found = asyncio.run(_with_database(database, audit))
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


@command.command("prune")
@_database_option
@click.option(
    "--older-than",
    "age",
    type=_days,
    required=True,
    metavar="DAYS",
    help="Such as 90d: what was resolved or answered longer ago goes; 30d at least.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@_json_option
def prune_command(database: str, age: timedelta, dry_run: bool, as_json: bool) -> None:
    """Remove old resolved reservations and replay records; brokers may serve meanwhile.

    The statements of the accounts stay whole.
    """
    if age < MIN_REPLAY_WINDOW:
        raise StartupError(
            f"--older-than must be at least {MIN_REPLAY_WINDOW.days}d: for so long a request may be repeated"
        )
    before = system_clock() - age
    pruned = asyncio.run(_with_database(database, lambda opened: _prune(opened, before, dry_run=dry_run)))
    horizon = before.isoformat(timespec="seconds").replace("+00:00", "Z")
    if as_json:
        click.echo(json.dumps({"before": horizon, "dry_run": dry_run, **asdict(pruned)}))
    else:
        verb = "would remove" if dry_run else "removed"
        click.echo(
            f"{verb} from before {horizon}: {pruned.reservations} reservations, {pruned.replay_records} replay records"
        )


async def _prune(database: Database, before: datetime, *, dry_run: bool) -> Pruned:
    return await prune(database, shards=await database.read(shards_of), before=before, dry_run=dry_run)


command.add_command(settle_command)
