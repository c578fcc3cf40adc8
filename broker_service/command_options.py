"""What several `iap-broker` commands have in common: their options, and the database they work on."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from broker_service.domain.currencies import parse_minor_units
from broker_service.settings import DEFAULT_DATABASE
from broker_service.storage.database import Database, open_database
from broker_service.storage.errors import StorageError
from mesh_runtime.startup_errors import StartupError

Command = TypeVar("Command", bound=Callable[..., Any])
Outcome = TypeVar("Outcome")

database_option = click.option(
    "--database",
    envvar="IAP_BROKER_DATABASE",
    default=DEFAULT_DATABASE,
    show_default=True,
    show_envvar=True,
    help="Where the ledger is kept: sqlite:///path/to/file.db, or postgresql+asyncpg://user:password@host:port/name.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def setting(flag: str, *names: str, **attributes: Any) -> Callable[[Command], Command]:
    """Returns an option whose environment variable is IAP_BROKER_ and its name."""
    variable = "IAP_BROKER_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, *names, envvar=variable, show_envvar=True, show_default=True, **attributes)


def _minimums(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, int]:
    """Reads amounts such as EUR=10.00, one for each currency; returns minor units. Raises click.BadParameter."""
    minimums: dict[str, int] = {}
    for text in texts:
        currency, equals, amount = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not of the form EUR=10.00")
        if currency in minimums:
            raise click.BadParameter(f"{currency} is given twice")
        try:
            minimums[currency] = parse_minor_units(currency, amount)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        if not minimums[currency]:
            raise click.BadParameter(f"{text}: a payout pays something")
    return minimums


payout_minimum_option = setting(
    "--payout-minimum",
    "payout_minimums",
    multiple=True,
    callback=_minimums,
    metavar="CURRENCY=AMOUNT",
    help="The least payout in a currency, such as EUR=10.00; one minor unit otherwise. May be repeated.",
)


async def with_database(database_url: str, work: Callable[[Database], Awaitable[Outcome]]) -> Outcome:
    """Opens a database for as long as some work takes. Raises StartupError."""
    try:
        database = open_database(database_url)
        try:
            return await work(database)
        finally:
            await database.close()
    except StorageError as error:
        raise StartupError(str(error)) from error
