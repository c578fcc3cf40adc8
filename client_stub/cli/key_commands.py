"""`iap admin keys`: credentials of providers, customers and operators."""

from typing import Any

import click
from iap.broker.v1.admin_pb2 import Key

from client_stub.admin import AdminClient
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.running import connect_to_broker, repeatable, request_id_option, runs_async
from client_stub.cli.settings import Settings, require_operator_key, shared_options
from client_stub.cli.tables import LEFT, format_time, pairs, table
from client_stub.request_ids import request_id_or_new


def _owner_options(function: Any) -> Any:
    for option in (
        click.option("--operator", is_flag=True, help="An operator's."),
        click.option("--customer-id", metavar="ID", help="This customer's."),
        click.option("--provider-id", metavar="ID", help="This provider's."),
    ):
        function = option(function)
    return function


@click.group("keys", short_help="Issue, list and revoke keys.")
def keys() -> None:
    """Issue, list and revoke keys."""


@keys.command("issue")
@_owner_options
@click.option("--title", default="", help="What it is for.")
@request_id_option("the key is made once")
@shared_options(hidden=True)
@runs_async
async def issue(
    settings: Settings,
    provider_id: str | None,
    customer_id: str | None,
    operator: bool,
    title: str,
    request_id: str | None,
) -> None:
    """Make a further key for a provider, a customer or an operator, and print it, this once."""
    owner = _owner_of(provider_id, customer_id, operator=operator)
    if len(owner) != 1:
        raise click.UsageError("say whose the key is: --provider-id, --customer-id or --operator")
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        with repeatable(request_id, "no second key is made"):
            response = await client.issue_key(**owner, title=title, request_id=request_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    about_key = pairs([("key", response.key.key_id), ("of", _owner_text(response.key)), ("title", response.key.title)])
    if not response.secret:
        click.echo(f"{about_key}\n\nIt was issued before; its secret was shown then, and only then.")
        return
    click.echo(f"{about_key}\n\nIts secret is shown this once:\n  {response.secret}")


@keys.command("list")
@_owner_options
@shared_options(hidden=True)
@runs_async
async def list_keys(settings: Settings, provider_id: str | None, customer_id: str | None, operator: bool) -> None:
    """List keys, of one owner or of all, oldest first."""
    owner = _owner_of(provider_id, customer_id, operator=operator)
    if len(owner) > 1:
        raise click.UsageError("say at most one of --provider-id, --customer-id and --operator")
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        found = [key async for key in client.list_keys(**owner)]
    if settings.as_json:
        print_document({"keys": [to_document(key) for key in found]})
        return
    columns = [("key", LEFT), ("of", LEFT), ("title", LEFT), ("made (UTC)", LEFT), ("revoked (UTC)", LEFT)]
    rows = [
        (
            key.key_id,
            _owner_text(key),
            key.title,
            format_time(key.create_time),
            format_time(key.revoke_time) if key.HasField("revoke_time") else "–",
        )
        for key in found
    ]
    click.echo(table(columns, rows))


@keys.command("revoke")
@click.argument("key_id")
@shared_options(hidden=True)
@runs_async
async def revoke(settings: Settings, key_id: str) -> None:
    """Make the key KEY_ID useless, for good. Keep another before you revoke the last operator's."""
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        response = await client.revoke_key(key_id=key_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(f"{response.key.key_id} is revoked since {format_time(response.key.revoke_time)}")


def _owner_of(provider_id: str | None, customer_id: str | None, *, operator: bool) -> dict[str, Any]:
    """Return the owners that the options name, as arguments of a call."""
    named = {"provider_id": provider_id, "customer_id": customer_id, "operator": operator}
    return {name: value for name, value in named.items() if value}


def _owner_text(key: Key) -> str:
    return key.provider_id or key.customer_id or "operator"
