"""`iap admin owed`: refunds that no gateway has paid, for the operator to pay otherwise."""

import click
from iap.broker.v1.admin_pb2 import PurchaseRefund, PurchaseRefundState

from client_stub.admin import AdminClient
from client_stub.cli.confirming import confirm
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.money import format_money
from client_stub.cli.running import connect_to_broker, repeatable, request_id_option, runs_async, yes_option
from client_stub.cli.settings import Settings, require_operator_key, shared_options
from client_stub.cli.tables import LEFT, RIGHT, format_time, pairs, table, word
from client_stub.request_ids import request_id_or_new


@click.group("owed", short_help="Settle refunds that no gateway has paid.")
def owed() -> None:
    """Settle refunds that their gateway has refused, or whose money came back."""


@owed.command("list")
@shared_options(hidden=True)
@runs_async
async def list_owed(settings: Settings) -> None:
    """List what customers are owed, oldest first."""
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        found = [it async for it in client.list_owed_refunds()]
    if settings.as_json:
        print_document({"refunds": [to_document(it) for it in found]})
        return
    columns = [
        ("asked for (UTC)", LEFT),
        ("refund", LEFT),
        ("purchase", LEFT),
        ("amount", RIGHT),
        ("failed (UTC)", LEFT),
        ("reason", LEFT),
    ]
    rows = [
        (
            format_time(it.create_time),
            it.refund_id,
            it.purchase_id,
            format_money(it.amount),
            format_time(it.resolve_time),
            it.reason,
        )
        for it in found
    ]
    click.echo(table(columns, rows))


@owed.command("paid")
@click.argument("refund_id")
@click.option("--reference", default="", help="The bank's reference, or why nothing is owed any more.")
@request_id_option("it is marked once")
@yes_option
@shared_options(hidden=True)
@runs_async
async def paid(settings: Settings, refund_id: str, reference: str, request_id: str | None, yes: bool) -> None:
    """Record that the customer has got the money of REFUND_ID by another way than the gateway."""
    request_id, key = request_id_or_new(request_id), require_operator_key(settings)
    confirm(f"Mark {refund_id} as paid by you, for good?", yes=yes)
    async with connect_to_broker(AdminClient, settings, key=key) as client:
        with repeatable(request_id, "it is marked once"):
            response = await client.mark_refund_paid(refund_id=refund_id, reference=reference, request_id=request_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(_refund_text(response.refund))


def _refund_text(refund: PurchaseRefund) -> str:
    return pairs(
        [
            ("refund", refund.refund_id),
            ("purchase", refund.purchase_id),
            ("amount", format_money(refund.amount)),
            ("state", word(PurchaseRefundState.Name(refund.state), "PURCHASE_REFUND_STATE_")),
        ]
    )
