"""JSON for programs: the names of the protobuf fields, every field present, numbers as numbers."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

import click
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_INTEGERS_OF_64_BITS: Final = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)


def to_document(message: Message) -> dict[str, Any]:
    """Return the message as ProtoJSON (https://protobuf.dev/programming-guides/json/), with one difference.

    64-bit integers are numbers and not strings: credits stay far below what a JSON reader can hold.
    """
    document: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    # The descriptors of the C implementation are declared apart, with the same interface.
    return _with_numbers(cast("Descriptor", message.DESCRIPTOR), document)


def print_document(document: Mapping[str, Any]) -> None:
    """Print the one document of a command."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_line(document: Mapping[str, Any]) -> None:
    """Print one of many documents of a command, on a line of its own."""
    click.echo(json.dumps(document, ensure_ascii=False))


def _with_numbers(descriptor: Descriptor, document: dict[str, Any]) -> dict[str, Any]:
    for field in descriptor.fields:
        value = document.get(field.name)
        if value is None:
            continue
        if field.cpp_type in _INTEGERS_OF_64_BITS:
            document[field.name] = [int(item) for item in value] if isinstance(value, list) else int(value)
        elif field.message_type is not None and _is_ours(field.message_type):
            document[field.name] = (
                [_with_numbers(field.message_type, item) for item in value]
                if isinstance(value, list)
                else _with_numbers(field.message_type, value)
            )
    return document


def _is_ours(descriptor: Descriptor) -> bool:
    """Tell messages that ProtoJSON writes as objects from those with a form of their own, such as times."""
    is_map_entry: bool = descriptor.GetOptions().map_entry
    return not is_map_entry and not descriptor.full_name.startswith("google.protobuf.")
