"""The `iap-broker` command."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from broker_service import bootstrap
from broker_service.domain.commission import BASIS_POINTS, DEFAULT_COMMISSION_BASIS_POINTS
from broker_service.settings import DEFAULT_DATABASE, DEFAULT_LISTEN, BrokerSettings
from broker_service.storage.audit import Audit, audit
from broker_service.storage.database import DatabaseUnusableError, StorageError, open_database
from broker_service.storage.schema import shards_of
from mesh_runtime.addresses import parse_address
from mesh_runtime.commands import run_event_loop
from mesh_runtime.logs import LEVELS, STYLES, configure_logging
from mesh_runtime.startup_errors import StartupError

Command = TypeVar("Command", bound=Callable[..., Any])

_database_option = click.option(
    "--database",
    envvar="IAP_BROKER_DATABASE",
    default=DEFAULT_DATABASE,
    show_default=True,
    show_envvar=True,
    help="Where the ledger is kept: sqlite:///path/to/file.db",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _setting(flag: str, **attributes: Any) -> Callable[[Command], Command]:
    """Returns an option whose environment variable is IAP_BROKER_ and its name."""
    variable = "IAP_BROKER_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, envvar=variable, show_envvar=True, show_default=True, **attributes)


@click.group(help="A credit broker: packs, payments, credit accounts and their ledger, as a gRPC server.")
def command() -> None:
    """Holds the commands."""


@command.command()
@_database_option
@_json_option
def init(database: str, as_json: bool) -> None:
    """Make the database, and print the operator's key. Made before: change nothing."""
    operator_key = bootstrap.initialize(database)
    if as_json:
        click.echo(json.dumps({"database": database, "operator_key": operator_key or "", "made": bool(operator_key)}))
    elif operator_key is None:
        click.echo(f"{database} was made before; nothing is changed")
    else:
        click.echo(f"made {database}")
        click.echo(f"operator key (shown once): {operator_key}")


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
@_setting("--workers", type=click.IntRange(1), default=1, help="Processes; SQLite allows one.")
@_setting("--tls-certificate", type=click.Path(path_type=Path), help="PEM file with the certificate chain.")
@_setting("--tls-key", type=click.Path(path_type=Path), help="PEM file with the private key.")
@_setting("--insecure", is_flag=True, help="Allow plaintext on other addresses than loopback.")
@_setting(
    "--drain-seconds", type=click.IntRange(0, 3_600), default=10, help="How long running calls may take at the end."
)
@_setting("--queue-commands", type=click.IntRange(1), default=10_000, help="Commands that may wait for a commit.")
@_setting("--batch-commands", type=click.IntRange(1, 5_000), default=512, help="Commands in one commit at most.")
@_setting("--max-concurrent-calls", type=click.IntRange(1), help="More are refused as OVERLOADED.")
@_setting("--log-level", type=click.Choice(LEVELS), default="info", help="One line per call at info and below.")
@_setting("--log-style", type=click.Choice(STYLES), default="json", help="How log lines look.")
def serve(listen: str, workers: int, log_level: str, log_style: str, **settings: Any) -> None:
    """Serve until SIGTERM or SIGINT."""
    if workers != 1:
        raise StartupError("--workers must be 1: a SQLite database has one writer")
    configure_logging(log_level, log_style)
    run_event_loop(bootstrap.serve(BrokerSettings(listen=parse_address(listen), **settings)))


@command.command("audit")
@_database_option
@_json_option
def audit_command(database: str, as_json: bool) -> int:
    """Recompute the books from their entries; exit 1 and name each difference if there is any."""
    found = asyncio.run(_audit(database))
    if as_json:
        click.echo(
            json.dumps(
                {
                    "accounts_checked": found.accounts_checked,
                    "entries_checked": found.entries_checked,
                    "ledger_credits": found.ledger_credits,
                    "reserved_credits": found.reserved_credits,
                    "captured_credits": found.captured_credits,
                    "violations": [
                        {"account_id": it.account_id, "rule": it.rule, "description": it.description}
                        for it in found.violations
                    ],
                }
            )
        )
    else:
        for violation in found.violations:
            click.echo(f"{violation.rule} {violation.account_id}: {violation.description}")
        verdict = "the books agree" if not found.violations else f"{len(found.violations)} differences"
        accounts = "account" if found.accounts_checked == 1 else "accounts"
        entries = "entry" if found.entries_checked == 1 else "entries"
        click.echo(f"{found.accounts_checked} {accounts}, {found.entries_checked} {entries}: {verdict}")
    return 1 if found.violations else 0


async def _audit(database_url: str) -> Audit:
    try:
        database = open_database(database_url)
        try:
            await database.read(shards_of)
            return await database.read(audit)
        finally:
            await database.close()
    except (DatabaseUnusableError, StorageError) as error:
        raise StartupError(str(error)) from error
