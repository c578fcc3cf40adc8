"""`iap provider`: what a provider does at the broker, from its services to its money."""

from datetime import datetime, timedelta
from typing import Final

import click
from google.type.money_pb2 import Money
from iap.broker.v1.purchase_pb2 import PurchaseState
from iap.broker.v1.settlement_pb2 import GetProviderBalanceResponse, Sale

from client_stub.admin import AdminClient
from client_stub.catalog import CatalogClient
from client_stub.cli.csv_output import print_csv
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.money import format_money
from client_stub.cli.payout_commands import show_payouts
from client_stub.cli.provider_statement import show_statement
from client_stub.cli.running import connect_to_broker, repeatable, request_id_option, runs_async
from client_stub.cli.settings import (
    Settings,
    require_figures_key,
    require_operator_key,
    require_provider_key,
    shared_options,
)
from client_stub.cli.tables import LEFT, RIGHT, format_time, pairs, table, word
from client_stub.cli.times import read_instant
from client_stub.currencies import format_amount, parse_money
from client_stub.request_ids import request_id_or_new
from client_stub.settlement import SettlementClient

SALES_CSV_COLUMNS: Final = (
    "pay_time",
    "purchase_id",
    "service",
    "pack_id",
    "credits",
    "currency",
    "price",
    "commission",
    "provider_share",
    "state",
)

_provider_id_option = click.option(
    "--provider-id", metavar="ID", required=True, envvar="IAP_PROVIDER_ID", show_envvar=True, help="The provider's id."
)
_csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
_start_option = click.option(
    "--start", callback=read_instant, metavar="TIME", help="Only from this time on (UTC); else from the first."
)
_end_option = click.option(
    "--end", callback=read_instant, metavar="TIME", help="Only before this time (UTC); else until now."
)


def _read_price(_context: click.Context, _parameter: click.Parameter, value: str) -> Money:
    try:
        return parse_money(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group("provider", short_help="Sell services, and see what they earn.")
def provider() -> None:
    """Sell services at the broker, and see what they earn."""


@provider.command("register")
@click.argument("name")
@click.option("--commission-basis-points", type=click.IntRange(0, 10_000), help="A rate of its own, not the broker's.")
@request_id_option("the provider is registered once")
@shared_options(hidden=True)
@runs_async
async def register(settings: Settings, name: str, commission_basis_points: int | None, request_id: str | None) -> None:
    """Register a provider, with the operator's key, and print its key, this once."""
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        with repeatable(request_id, "nobody is registered twice"):
            response = await client.register_provider(
                name=name, commission_basis_points=commission_basis_points, request_id=request_id
            )
    if settings.as_json:
        print_document(to_document(response))
        return
    registered = response.provider
    about_provider = pairs([("provider", registered.provider_id), ("name", registered.name)])
    if not response.provider_key:
        click.echo(f"{about_provider}\n\nIt was registered before; its key was shown then, and only then.")
        return
    click.echo(
        f"{about_provider}\n\nIts key is shown this once. Keep it secret, and use it with\n"
        f"  export IAP_PROVIDER_ID={registered.provider_id} IAP_PROVIDER_KEY={response.provider_key}"
    )


@provider.command("service")
@click.argument("service")
@click.option("--title", required=True, help="Its name for people.")
@click.option("--description", default="", help="What it does.")
@click.option("--unit-name", default="", help="What a credit buys, such as segment.")
@click.option("--trial-credits", type=click.IntRange(min=0), default=0, help="What a new customer gets for nothing.")
@click.option("--default-ttl", "default_ttl_seconds", type=click.IntRange(min=1), metavar="SECONDS")
@click.option("--max-ttl", "max_ttl_seconds", type=click.IntRange(min=1), metavar="SECONDS")
@request_id_option("the service is published once")
@shared_options(hidden=True)
@runs_async
async def publish_service(
    settings: Settings,
    *,
    service: str,
    title: str,
    description: str,
    unit_name: str,
    trial_credits: int,
    default_ttl_seconds: int | None,
    max_ttl_seconds: int | None,
    request_id: str | None,
) -> None:
    """Publish SERVICE, a name that is unique at the broker, with the provider's key."""
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(CatalogClient, settings, key=require_provider_key(settings)) as client:
        with repeatable(request_id, "nothing is published twice"):
            response = await client.create_service(
                service=service,
                title=title,
                description=description,
                unit_name=unit_name,
                trial_credits=trial_credits,
                default_ttl=None if default_ttl_seconds is None else timedelta(seconds=default_ttl_seconds),
                max_ttl=None if max_ttl_seconds is None else timedelta(seconds=max_ttl_seconds),
                request_id=request_id,
            )
    if settings.as_json:
        print_document(to_document(response))
        return
    made = response.service
    click.echo(
        pairs(
            [
                ("service", made.service),
                ("title", made.title),
                ("provider", made.provider_id),
                ("a credit buys", made.unit_name),
                ("trial credits", made.trial_credits),
            ]
        )
    )


@provider.command("pack")
@click.argument("service")
@click.option("--title", required=True, help="Its name for people.")
@click.option("--credits", "pack_credits", type=click.IntRange(min=1), required=True, help="Whole credits in it.")
@click.option("--price", callback=_read_price, required=True, metavar="CURRENCY=AMOUNT", help="Such as EUR=5.00.")
@click.option("--valid-days", type=click.IntRange(min=1), help="How long its credits last; else for ever.")
@request_id_option("the pack is put on sale once")
@shared_options(hidden=True)
@runs_async
async def sell_pack(
    settings: Settings,
    *,
    service: str,
    title: str,
    pack_credits: int,
    price: Money,
    valid_days: int | None,
    request_id: str | None,
) -> None:
    """Put a pack of credits for SERVICE on sale, with the provider's key. It cannot be changed, only archived."""
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(CatalogClient, settings, key=require_provider_key(settings)) as client:
        with repeatable(request_id, "nothing is put on sale twice"):
            response = await client.create_pack(
                service=service,
                title=title,
                credits=pack_credits,
                price=price,
                validity=None if valid_days is None else timedelta(days=valid_days),
                request_id=request_id,
            )
    if settings.as_json:
        print_document(to_document(response))
        return
    made = response.pack
    click.echo(
        pairs(
            [
                ("pack", made.pack_id),
                ("service", made.service),
                ("title", made.title),
                ("credits", made.credits),
                ("price", format_money(made.price)),
            ]
        )
    )


@provider.command("archive")
@click.argument("pack_id")
@shared_options(hidden=True)
@runs_async
async def archive_pack(settings: Settings, pack_id: str) -> None:
    """Take the pack PACK_ID off sale for good, with the provider's key; purchases of it keep their terms."""
    async with connect_to_broker(CatalogClient, settings, key=require_provider_key(settings)) as client:
        response = await client.archive_pack(pack_id=pack_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(f"{response.pack.pack_id} is no longer on sale")


@provider.command("balance")
@_provider_id_option
@shared_options(hidden=True)
@runs_async
async def balance(settings: Settings, provider_id: str) -> None:
    """Show what the provider is owed, and what it has sold, in each currency."""
    async with connect_to_broker(SettlementClient, settings, key=require_figures_key(settings)) as client:
        response = await client.get_provider_balance(provider_id=provider_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(_balance_text(response))


@provider.command("sales")
@_provider_id_option
@_start_option
@_end_option
@_csv_option
@shared_options(hidden=True)
@runs_async
async def sales(
    settings: Settings, provider_id: str, start: datetime | None, end: datetime | None, as_csv: bool
) -> None:
    """List the paid purchases, oldest first."""
    if as_csv and settings.as_json:
        raise click.UsageError("say either --csv or --json")
    async with connect_to_broker(SettlementClient, settings, key=require_figures_key(settings)) as client:
        listed = client.list_sales(provider_id=provider_id, start_time=start, end_time=end)
        if as_csv:
            print_csv([SALES_CSV_COLUMNS])
            async for sale in listed:
                print_csv([_sale_csv_row(sale)])
            return
        found = [sale async for sale in listed]
    if settings.as_json:
        print_document({"sales": [to_document(sale) for sale in found]})
        return
    click.echo(_sales_text(found))


@provider.command("statement")
@_provider_id_option
@_start_option
@_end_option
@_csv_option
@shared_options(hidden=True)
@runs_async
async def statement(
    settings: Settings, provider_id: str, start: datetime | None, end: datetime | None, as_csv: bool
) -> None:
    """Show what has moved the money the provider is owed, oldest first."""
    await show_statement(settings, provider_id, start, end, as_csv=as_csv)


@provider.command("payouts")
@_provider_id_option
@_csv_option
@shared_options(hidden=True)
@runs_async
async def payouts(settings: Settings, provider_id: str, as_csv: bool) -> None:
    """List the payouts, newest first."""
    await show_payouts(settings, provider_id, key=require_figures_key(settings), as_csv=as_csv)


def _balance_text(response: GetProviderBalanceResponse) -> str:
    columns = [("currency", LEFT), ("payable", RIGHT), ("sales", RIGHT), ("commission", RIGHT)]
    rows = [
        (payable.currency_code, *map(format_amount, (payable, sold, commission)))
        for payable, sold, commission in zip(response.payable, response.sales, response.commission, strict=True)
    ]
    return table(columns, rows)


def _sales_text(found: list[Sale]) -> str:
    columns = [
        ("paid (UTC)", LEFT),
        ("purchase", LEFT),
        ("service", LEFT),
        ("credits", RIGHT),
        ("price", RIGHT),
        ("commission", RIGHT),
        ("share", RIGHT),
        ("state", LEFT),
    ]
    rows = [
        (
            format_time(sale.pay_time),
            sale.purchase_id,
            sale.service,
            sale.credits,
            *map(format_money, (sale.price, sale.commission, sale.provider_share)),
            word(PurchaseState.Name(sale.state), "PURCHASE_STATE_"),
        )
        for sale in found
    ]
    return table(columns, rows)


def _sale_csv_row(sale: Sale) -> tuple[object, ...]:
    return (
        sale.pay_time.ToJsonString(),
        sale.purchase_id,
        sale.service,
        sale.pack_id,
        sale.credits,
        sale.price.currency_code,
        *map(format_amount, (sale.price, sale.commission, sale.provider_share)),
        PurchaseState.Name(sale.state).removeprefix("PURCHASE_STATE_").lower(),
    )
