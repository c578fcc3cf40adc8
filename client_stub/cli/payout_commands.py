"""`iap admin payout`: paying providers; and a list of payouts."""

from collections.abc import Sequence
from typing import Final

import click
from iap.broker.v1.settlement_pb2 import Payout, PayoutState

from client_stub.cli.confirming import confirm
from client_stub.cli.csv_output import print_csv
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.money import format_money
from client_stub.cli.running import connect_to_broker, repeatable, request_id_option, runs_async, yes_option
from client_stub.cli.settings import Settings, require_operator_key, shared_options
from client_stub.cli.tables import LEFT, RIGHT, format_time, pairs, table, word
from client_stub.currencies import format_amount
from client_stub.request_ids import request_id_or_new
from client_stub.settlement import SettlementClient

CSV_COLUMNS: Final = ("create_time", "payout_id", "currency", "amount", "state", "resolve_time", "reference")


@click.group("payout", short_help="Pay providers.")
def payout() -> None:
    """Pay providers. The broker keeps the books; the transfer itself is yours."""


@payout.command("create")
@click.argument("provider_id")
@click.argument("currency")
@request_id_option("the money is paid out once")
@yes_option
@shared_options(hidden=True)
@runs_async
async def create(settings: Settings, provider_id: str, currency: str, request_id: str | None, yes: bool) -> None:
    """Pay out all that is payable to PROVIDER_ID in CURRENCY."""
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(SettlementClient, settings, key=require_operator_key(settings)) as client:
        if not yes:
            balance = await client.get_provider_balance(provider_id=provider_id)
            now = [format_money(it) for it in balance.payable if it.currency_code == currency]
            confirm(
                f"Pay out all that is payable to {provider_id} in {currency}, now {', '.join(now) or 'nothing'}?",
                yes=yes,
            )
        with repeatable(request_id, "nothing is paid out twice"):
            response = await client.create_payout(provider_id=provider_id, currency=currency, request_id=request_id)
    _show(settings, response.payout, replayed=response.replayed)


@payout.command("paid")
@click.argument("payout_id")
@click.option("--reference", default="", help="The bank's reference.")
@request_id_option("it is marked once")
@yes_option
@shared_options(hidden=True)
@runs_async
async def paid(settings: Settings, payout_id: str, reference: str, request_id: str | None, yes: bool) -> None:
    """Record that the transfer of PAYOUT_ID arrived."""
    request_id, key = request_id_or_new(request_id), require_operator_key(settings)
    confirm(f"Mark {payout_id} as paid, for good?", yes=yes)
    async with connect_to_broker(SettlementClient, settings, key=key) as client:
        with repeatable(request_id, "it is marked once"):
            response = await client.mark_payout_paid(payout_id=payout_id, reference=reference, request_id=request_id)
    _show(settings, response.payout, replayed=response.replayed)


@payout.command("failed")
@click.argument("payout_id")
@click.option("--reason", default="", help="Why.")
@request_id_option("it is marked once")
@yes_option
@shared_options(hidden=True)
@runs_async
async def failed(settings: Settings, payout_id: str, reason: str, request_id: str | None, yes: bool) -> None:
    """Record that the transfer of PAYOUT_ID failed; its amount is payable again."""
    request_id, key = request_id_or_new(request_id), require_operator_key(settings)
    confirm(f"Mark {payout_id} as failed, so that its amount is payable again?", yes=yes)
    async with connect_to_broker(SettlementClient, settings, key=key) as client:
        with repeatable(request_id, "it is marked once"):
            response = await client.mark_payout_failed(payout_id=payout_id, reason=reason, request_id=request_id)
    _show(settings, response.payout, replayed=response.replayed)


@payout.command("list")
@click.argument("provider_id")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@shared_options(hidden=True)
@runs_async
async def list_payouts(settings: Settings, provider_id: str, as_csv: bool) -> None:
    """List the payouts to PROVIDER_ID, newest first."""
    await show_payouts(settings, provider_id, key=require_operator_key(settings), as_csv=as_csv)


async def show_payouts(settings: Settings, provider_id: str, *, key: str, as_csv: bool) -> None:
    """Print a provider's payouts."""
    if as_csv and settings.as_json:
        raise click.UsageError("say either --csv or --json")
    async with connect_to_broker(SettlementClient, settings, key=key) as client:
        found = [it async for it in client.list_payouts(provider_id=provider_id)]
    if as_csv:
        print_csv([CSV_COLUMNS, *map(_csv_row, found)])
    elif settings.as_json:
        print_document({"payouts": [to_document(it) for it in found]})
    else:
        click.echo(_payouts_text(found))


def _show(settings: Settings, made: Payout, *, replayed: bool) -> None:
    if settings.as_json:
        print_document({"payout": to_document(made), "replayed": replayed})
        return
    click.echo(
        pairs(
            [
                ("payout", made.payout_id),
                ("provider", made.provider_id),
                ("amount", format_money(made.amount)),
                ("state", word(PayoutState.Name(made.state), "PAYOUT_STATE_")),
                ("reference", made.reference or "–"),
            ]
        )
    )


def _payouts_text(found: Sequence[Payout]) -> str:
    columns = [
        ("made (UTC)", LEFT),
        ("payout", LEFT),
        ("amount", RIGHT),
        ("state", LEFT),
        ("ended (UTC)", LEFT),
        ("reference", LEFT),
    ]
    rows = [
        (
            format_time(it.create_time),
            it.payout_id,
            format_money(it.amount),
            word(PayoutState.Name(it.state), "PAYOUT_STATE_"),
            format_time(it.resolve_time) if it.HasField("resolve_time") else "–",
            it.reference,
        )
        for it in found
    ]
    return table(columns, rows)


def _csv_row(it: Payout) -> tuple[str, ...]:
    return (
        it.create_time.ToJsonString(),
        it.payout_id,
        it.amount.currency_code,
        format_amount(it.amount),
        PayoutState.Name(it.state).removeprefix("PAYOUT_STATE_").lower(),
        it.resolve_time.ToJsonString() if it.HasField("resolve_time") else "",
        it.reference,
    )
