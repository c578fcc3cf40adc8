"""`iap admin grant`, `iap admin refund`: credits and money that the operator gives."""

from datetime import datetime

import click
from iap.broker.v1.account_pb2 import GrantKind

from client_stub.admin import AdminClient
from client_stub.cli.confirming import confirm
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.purchase_commands import refund_unspent
from client_stub.cli.running import connect_to_broker, repeatable, request_id_option, runs_async, yes_option
from client_stub.cli.settings import Settings, require_operator_key, shared_options
from client_stub.cli.tables import count, format_time, pairs, word
from client_stub.cli.times import read_instant
from client_stub.request_ids import request_id_or_new

_KINDS = {"promotional": GrantKind.GRANT_KIND_PROMOTIONAL, "trial": GrantKind.GRANT_KIND_TRIAL}


@click.command("grant")
@click.argument("named_account", metavar="ACCOUNT_ID")
@click.argument("granted_credits", metavar="CREDITS", type=click.IntRange(min=1))
@click.option("--kind", type=click.Choice(list(_KINDS)), default="promotional", show_default=True)
@click.option("--priority", type=click.IntRange(0, 1_000), help="Lower is used first; 100 unless given.")
@click.option("--expire-time", callback=read_instant, metavar="TIME", help="When they end (UTC); else never.")
@click.option("--reason", default="", help="Why; the customer reads it on the statement.")
@request_id_option("the credits are given once")
@yes_option
@shared_options(hidden=True)
@runs_async
async def grant(
    settings: Settings,
    *,
    named_account: str,
    granted_credits: int,
    kind: str,
    priority: int | None,
    expire_time: datetime | None,
    reason: str,
    request_id: str | None,
    yes: bool,
) -> None:
    """Put CREDITS on the account ACCOUNT_ID without a purchase."""
    request_id, key = request_id_or_new(request_id), require_operator_key(settings)
    confirm(f"Give {count(granted_credits, 'credit')} to {named_account}?", yes=yes)
    async with connect_to_broker(AdminClient, settings, key=key) as client:
        with repeatable(request_id, "nothing is given twice"):
            response = await client.grant_credits(
                account_id=named_account,
                credits=granted_credits,
                kind=_KINDS[kind],
                priority=priority,
                expire_time=expire_time,
                reason=reason,
                request_id=request_id,
            )
    if settings.as_json:
        print_document(to_document(response))
        return
    given = response.grant
    click.echo(
        pairs(
            [
                ("grant", given.grant_id),
                ("kind", word(GrantKind.Name(given.kind), "GRANT_KIND_")),
                ("credits", given.credits),
                ("expires (UTC)", format_time(given.expire_time) if given.HasField("expire_time") else "never"),
                ("available credits", response.balance.available_credits),
            ]
        )
    )


@click.command("refund")
@click.argument("purchase_id")
@click.option("--reason", default="", help="Why.")
@request_id_option("the money is given back once")
@yes_option
@shared_options(hidden=True)
@runs_async
async def refund(settings: Settings, purchase_id: str, reason: str, request_id: str | None, yes: bool) -> None:
    """Refund what is unspent of the purchase PURCHASE_ID, pro rata."""
    key = require_operator_key(settings)
    await refund_unspent(settings, purchase_id, key=key, reason=reason, request_id=request_id, yes=yes)
