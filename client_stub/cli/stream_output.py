"""Showing an answer that comes in chunks."""

import json

import click
from google.protobuf.struct_pb2 import Struct
from iap.provider.v1.provider_pb2 import ServeStreamResponse

from client_stub.cli.documents import print_line, to_document
from client_stub.cli.tables import count, printable
from client_stub.structs import from_struct


class StreamOutput:
    """Prints chunks as they come; with --json each answer is a document on a line of its own.

    Chunks of nothing but one text are parts of one text and run on; others take a line each.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.charged_credits = 0
        self._as_json = as_json
        self._within_line = False

    def show(self, response: ServeStreamResponse) -> None:
        """Prints one answer."""
        self.charged_credits = response.charged_credits
        if self._as_json:
            print_line(to_document(response))
            return
        if response.HasField("chunk"):
            self._show_chunk(response.chunk)
        if response.HasField("balance"):
            self.end_line()
            available = count(response.balance.available_credits, "credit")
            charged = count(response.charged_credits, "credit")
            click.echo(f"charged {charged}, {available} available (reservation {response.reservation_id})")

    def end_line(self) -> None:
        """Ends the line that texts have begun."""
        if self._within_line:
            click.echo()
            self._within_line = False

    def _show_chunk(self, chunk: Struct) -> None:
        values = from_struct(chunk)
        match list(values.values()):
            case []:
                return
            case [str(text)]:
                # Its lines stay lines; nothing else may move the cursor.
                click.echo("\n".join(printable(line) for line in text.split("\n")), nl=False)
                self._within_line = not text.endswith("\n") if text else self._within_line
            case _:
                self.end_line()
                click.echo(json.dumps(values, ensure_ascii=False))
