"""A service's input from the command line: `--to +4930123 --text hello`, or `--input JSON`."""

import json
from collections.abc import Sequence
from typing import Any

import click

from client_stub.structs import to_struct


def read_input(field_arguments: Sequence[str], input_json: str | None) -> dict[str, Any]:
    """Return the input: the JSON object, with the fields given as options set on top of it.

    UsageError when either is not of its form, or holds what a service cannot be given unchanged.
    """
    service_input = {**_parse_object(input_json), **_parse_fields(field_arguments)}
    try:
        to_struct(service_input)
    except ValueError as error:
        raise click.UsageError(f"the input cannot be sent: {error}") from error
    return service_input


def _parse_object(input_json: str | None) -> dict[str, Any]:
    if input_json is None:
        return {}
    try:
        parsed = json.loads(input_json)
    except ValueError as error:
        raise click.UsageError(f"--input is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise click.UsageError('--input must be a JSON object, such as {"to": "+4930123"}')
    return parsed


def _parse_fields(arguments: Sequence[str]) -> dict[str, str]:
    """Read `--name value` and `--name=value`; hyphens in a name stand for underscores."""
    fields: dict[str, str] = {}
    remaining = iter(arguments)
    for argument in remaining:
        option, equals, value = argument.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or not name:
            raise click.UsageError(f"unexpected argument {argument!r}: input fields are written --name value")
        if name in fields:
            raise click.UsageError(f"{option} is given twice")
        if not equals:
            following = next(remaining, None)
            if following is None:
                raise click.UsageError(f"{option} lacks its value")
            value = following
        fields[name] = value
    return fields
