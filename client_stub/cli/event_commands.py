"""`iap events list` and `iap events watch`: what has happened."""

from collections.abc import Mapping
from typing import Any

import click
from iap.broker.v1.event_pb2 import Event

from client_stub.cli.documents import print_document, print_line, to_document
from client_stub.cli.key_choice import choose_key, key_option
from client_stub.cli.running import connect_to_broker, runs_async
from client_stub.cli.settings import Settings, shared_options
from client_stub.cli.tables import LEFT, RIGHT, format_time, printable, table
from client_stub.events import EventClient

_type_option = click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type; may be repeated.")


@click.group("events")
def events() -> None:
    """Show what has happened, to the accounts or services of a key's owner."""


@events.command("list")
@click.option("--after", "after_position", type=click.IntRange(0), default=0, help="Only those behind this position.")
@_type_option
@key_option
@shared_options(hidden=True)
@runs_async
async def list_events(settings: Settings, after_position: int, types: tuple[str, ...], role: str | None) -> None:
    """List events, oldest first."""
    async with connect_to_broker(EventClient, settings, key=choose_key(settings, role)) as client:
        found = [event async for event in client.list_events(after_position=after_position, types=types)]
    if settings.as_json:
        print_document({"events": [_document(event) for event in found]})
        return
    columns = [("position", RIGHT), ("time (UTC)", LEFT), ("type", LEFT), ("account", LEFT), ("data", LEFT)]
    rows = [
        (event.position, format_time(event.time), event.type, event.account_id, _data_text(event)) for event in found
    ]
    click.echo(table(columns, rows))


@events.command("watch")
@click.option(
    "--after", "after_position", type=click.IntRange(0), help="Begin behind this position, instead of with what is new."
)
@_type_option
@key_option
@shared_options(hidden=True)
@runs_async
async def watch_events(
    settings: Settings, after_position: int | None, types: tuple[str, ...], role: str | None
) -> None:
    """Show events as they happen, until it is interrupted.

    With --json, one document a line.
    """
    async with connect_to_broker(EventClient, settings, key=choose_key(settings, role)) as client:
        async for event in client.watch_events(after_position=after_position, types=types):
            if settings.as_json:
                print_line(_document(event))
            else:
                line = f"{event.position}  {format_time(event.time)}  {event.type}  {event.account_id}"
                click.echo(printable(f"{line}  {_data_text(event)}"))


def _document(event: Event) -> Mapping[str, Any]:
    return to_document(event) | {"data": _data(event)}


def _data_text(event: Event) -> str:
    return ", ".join(f"{name} {value}" for name, value in _data(event).items())


def _data(event: Event) -> dict[str, str | int]:
    """Return the data with whole numbers as such: in the message all numbers are floats."""
    return {
        name: int(value.number_value) if value.HasField("number_value") else value.string_value
        for name, value in sorted(event.data.fields.items())
    }
