"""`iap catalog`, `iap services`: what there is."""

from collections.abc import Mapping
from typing import Any

import click
from iap.broker.v1.catalog_pb2 import Pack, Service
from iap.provider.v1.provider_pb2 import ServedService

from client_stub.catalog import CatalogClient
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.money import format_money
from client_stub.cli.running import connect_to_broker, connect_to_provider, runs_async
from client_stub.cli.settings import Settings, shared_options
from client_stub.cli.tables import LEFT, RIGHT, format_duration, table
from client_stub.provider import ProviderClient
from client_stub.structs import Json, from_struct

_NONE = "–"


@click.command("catalog")
@shared_options(hidden=True)
@runs_async
async def catalog(settings: Settings) -> None:
    """List the services with their packs and prices."""
    async with connect_to_broker(CatalogClient, settings) as client:
        services = [service async for service in client.list_services()]
        offers = [
            (service, [pack async for pack in client.list_packs(service=service.service)]) for service in services
        ]
    if settings.as_json:
        documents = [
            {**to_document(service), "packs": [to_document(pack) for pack in packs]} for service, packs in offers
        ]
        print_document({"services": documents})
        return
    columns = [
        ("service", LEFT),
        ("what a credit buys", LEFT),
        ("trial credits", RIGHT),
        ("pack", LEFT),
        ("title", LEFT),
        ("credits", RIGHT),
        ("price", RIGHT),
        ("valid for", RIGHT),
    ]
    click.echo(table(columns, (row for service, packs in offers for row in _catalog_rows(service, packs))))


@click.command("services")
@shared_options(hidden=True)
@runs_async
async def services(settings: Settings) -> None:
    """List the services of the provider, and what their input is."""
    async with connect_to_provider(ProviderClient, settings) as client:
        response = await client.list_services()
    if settings.as_json:
        print_document(to_document(response))
        return
    columns = [("service", LEFT), ("title", LEFT), ("what a credit buys", LEFT), ("input", LEFT)]
    rows = [
        (service.service, service.title, service.unit_name, _input_options(service)) for service in response.services
    ]
    click.echo(table(columns, rows))


def _catalog_rows(service: Service, packs: list[Pack]) -> list[tuple[object, ...]]:
    about_service = (service.service, service.unit_name, service.trial_credits)
    if not packs:
        return [(*about_service, _NONE, _NONE, _NONE, _NONE, _NONE)]
    return [
        (
            *about_service,
            pack.pack_id,
            pack.title,
            pack.credits,
            format_money(pack.price),
            format_duration(pack.validity) if pack.HasField("validity") else "ever",
        )
        for pack in packs
    ]


def _input_options(service: ServedService) -> str:
    """Return the options of `iap serve` for the service; those in brackets may be left out.

    Options are text. What takes no text is in the JSON that the options are set on top of. Those needed come first, as
    the schema lists them; a Struct keeps no order of its own.
    """
    schema: dict[str, Any] = dict(from_struct(service.input_schema))
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return "--input JSON"
    needed = required if isinstance(required, list) else []
    definitions = schema.get("$defs")
    named = definitions if isinstance(definitions, dict) else {}
    names = [*(name for name in needed if name in properties), *sorted(properties.keys() - set(needed))]
    texts = [name for name in names if _takes_text(properties[name], named)]
    others = [name for name in names if name not in texts]
    shown = [f"--{name} …" if name in needed else f"[--{name} …]" for name in texts]
    if others:
        fields = ", ".join(f'"{name}": …' for name in others)
        option = f"--input '{{{fields}}}'"
        shown.append(option if set(others) & set(needed) else f"[{option}]")
    return " ".join(shown)


def _takes_text(field: object, definitions: Mapping[str, Json]) -> bool:
    """Tell whether a field's schema allows text; one that says nothing does."""
    if not isinstance(field, dict):
        return True
    reference = field.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix("#/$defs/")
        # Each at most once, as definitions may go round in circles.
        others = {other: definition for other, definition in definitions.items() if other != name}
        return name in definitions and _takes_text(definitions[name], others)
    branches = field.get("anyOf", field.get("oneOf"))
    if isinstance(branches, list):
        return any(_takes_text(branch, definitions) for branch in branches)
    kinds = field.get("type", "string")
    return "string" in (kinds if isinstance(kinds, list) else [kinds])
