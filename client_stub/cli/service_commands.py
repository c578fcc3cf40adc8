"""`iap quote`, `iap serve`: using a service."""

import json
from collections.abc import Sequence
from typing import Any, Final

import click
from google.protobuf.struct_pb2 import Struct
from iap.provider.v1.provider_pb2 import QuoteResponse, ServeRequestResponse

from client_stub.cli.documents import print_document, to_document
from client_stub.cli.failures import NOT_ANSWERED
from client_stub.cli.input_fields import read_input
from client_stub.cli.running import connect_to_provider, runs_async
from client_stub.cli.settings import Settings, require_account_token, shared_options
from client_stub.cli.stream_output import StreamOutput
from client_stub.cli.tables import count, pairs
from client_stub.errors import IapError
from client_stub.provider import ProviderClient
from client_stub.request_ids import request_id_or_new
from client_stub.structs import from_struct

# Options that no command knows are the fields of the service's input.
_TAKES_INPUT_FIELDS: Final = {"ignore_unknown_options": True}


@click.command("quote", context_settings=_TAKES_INPUT_FIELDS, short_help="Tell what a request to a service would cost.")
@click.argument("service")
@click.argument("fields", nargs=-1, type=click.UNPROCESSED, metavar="[--FIELD VALUE]...")
@click.option("--input", "input_json", metavar="JSON", help="The input, where text fields are not enough.")
@shared_options(hidden=True)
@runs_async
async def quote(settings: Settings, service: str, fields: Sequence[str], input_json: str | None) -> None:
    """Tell what a request to SERVICE would cost; options of other names are fields of its input."""
    service_input = _checked_input(service, fields, input_json)
    async with connect_to_provider(ProviderClient, settings) as client:
        response = await client.quote(service=service, input=service_input)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(_quote_text(response))


@click.command("serve", context_settings=_TAKES_INPUT_FIELDS, short_help="Use a service and pay for it.")
@click.argument("service")
@click.argument("fields", nargs=-1, type=click.UNPROCESSED, metavar="[--FIELD VALUE]...")
@click.option("--input", "input_json", metavar="JSON", help="The input, where text fields are not enough.")
@click.option("--request-id", metavar="UUID", help="Repeat an earlier call: it is done and charged once.")
@click.option("--stream", "in_chunks", is_flag=True, help="Show the answer as it comes, and pay for what has come.")
@shared_options(hidden=True)
@runs_async
async def serve(
    settings: Settings,
    service: str,
    fields: Sequence[str],
    input_json: str | None,
    request_id: str | None,
    in_chunks: bool,
) -> None:
    """Have a request served by SERVICE and pay for it; options of other names are fields of its input."""
    service_input = _checked_input(service, fields, input_json)
    request_id = request_id_or_new(request_id)
    account_token = require_account_token(settings)
    if in_chunks:
        await _serve_stream(
            settings, service=service, input=service_input, account_token=account_token, request_id=request_id
        )
        return
    async with connect_to_provider(ProviderClient, settings) as client:
        try:
            response = await client.serve(
                service=service, input=service_input, account_token=account_token, request_id=request_id
            )
        except NOT_ANSWERED as error:
            error.add_note(f"repeat it with --request-id {request_id}, and nothing is charged twice")
            raise
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(_served_text(response))


async def _serve_stream(settings: Settings, **request: Any) -> None:
    output = StreamOutput(as_json=settings.as_json)
    async with connect_to_provider(ProviderClient, settings) as client:
        try:
            async for response in client.serve_stream(**request):
                output.show(response)
        except IapError as error:
            if output.charged_credits:
                error.add_note(f"what came before cost {count(output.charged_credits, 'credit')}")
            raise
        finally:
            output.end_line()


def _checked_input(service: str, fields: Sequence[str], input_json: str | None) -> dict[str, Any]:
    if service.startswith("-"):
        raise click.UsageError("name the service before the fields of its input")
    return read_input(fields, input_json)


def _quote_text(response: QuoteResponse) -> str:
    price = count(response.credits, "credit")
    unit = f", one for each {response.unit_name}" if response.unit_name else ""
    lines = [f"{price}{unit}"]
    if response.breakdown.fields:
        lines.append(pairs(_field_rows(response.breakdown)))
    return "\n\n".join(lines)


def _served_text(response: ServeRequestResponse) -> str:
    charged = count(response.charged_credits, "credit")
    available = count(response.balance.available_credits, "credit")
    paid = f"charged {charged}, {available} available (reservation {response.reservation_id})"
    if response.replayed:
        paid = f"done before, not charged again: {paid}"
    if not response.output.fields:
        return paid
    return f"{pairs(_field_rows(response.output))}\n\n{paid}"


def _field_rows(struct: Struct) -> list[tuple[str, object]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in sorted(from_struct(struct).items())
    ]
