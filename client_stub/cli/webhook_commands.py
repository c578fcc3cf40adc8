"""`iap webhook create|list|delete`: where events are sent."""

import click
from iap.broker.v1.event_pb2 import CreateWebhookResponse

from client_stub.cli.documents import print_document, to_document
from client_stub.cli.failures import NOT_ANSWERED
from client_stub.cli.key_choice import choose_key, key_option
from client_stub.cli.running import connect_to_broker, runs_async
from client_stub.cli.settings import Settings, shared_options
from client_stub.cli.tables import LEFT, RIGHT, format_time, pairs, table
from client_stub.events import EventClient
from client_stub.request_ids import request_id_or_new


@click.group("webhook")
def webhook() -> None:
    """Have events sent to a URL."""


@webhook.command("create")
@click.argument("url")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type; may be repeated.")
@click.option("--request-id", metavar="UUID", help="Repeat an earlier call: the webhook is made once.")
@key_option
@shared_options(hidden=True)
@runs_async
async def create(
    settings: Settings, url: str, types: tuple[str, ...], request_id: str | None, role: str | None
) -> None:
    """Have events sent to URL from now on, and print the secret they are signed with."""
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(EventClient, settings, key=choose_key(settings, role)) as client:
        try:
            made = await client.create_webhook(url=url, types=types, request_id=request_id)
        except NOT_ANSWERED as error:
            error.add_note(f"repeat it with --request-id {request_id}, and one webhook is made")
            raise
    if settings.as_json:
        print_document(to_document(made))
        return
    click.echo(_made_text(made))


@webhook.command("list")
@key_option
@shared_options(hidden=True)
@runs_async
async def list_webhooks(settings: Settings, role: str | None) -> None:
    """List the webhooks of a key's owner, and how they are doing."""
    async with connect_to_broker(EventClient, settings, key=choose_key(settings, role)) as client:
        found = [it async for it in client.list_webhooks()]
    if settings.as_json:
        print_document({"webhooks": [to_document(it) for it in found]})
        return
    columns = [
        ("webhook", LEFT),
        ("url", LEFT),
        ("types", LEFT),
        ("made (UTC)", LEFT),
        ("pending", RIGHT),
        ("failed", RIGHT),
        ("last error", LEFT),
    ]
    rows = [
        (
            it.webhook_id,
            it.url,
            ", ".join(it.types) or "all",
            format_time(it.create_time),
            it.pending_events,
            it.failed_events,
            it.last_error,
        )
        for it in found
    ]
    click.echo(table(columns, rows))


@webhook.command("delete")
@click.argument("webhook_id")
@key_option
@shared_options(hidden=True)
@runs_async
async def delete(settings: Settings, webhook_id: str, role: str | None) -> None:
    """End the webhook WEBHOOK_ID; what has not been delivered never is."""
    async with connect_to_broker(EventClient, settings, key=choose_key(settings, role)) as client:
        await client.delete_webhook(webhook_id=webhook_id)
    if settings.as_json:
        print_document({"webhook_id": webhook_id, "deleted": True})
        return
    click.echo(f"{webhook_id} is gone")


def _made_text(made: CreateWebhookResponse) -> str:
    about_webhook = pairs(
        [
            ("webhook", made.webhook.webhook_id),
            ("url", made.webhook.url),
            ("types", ", ".join(made.webhook.types) or "all"),
            ("secret", made.signing_secret),
        ]
    )
    return f"{about_webhook}\n\nVerify what comes with client_stub.webhooks.verify(secret, headers, body)."
