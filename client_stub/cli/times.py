"""Times on the command line."""

from datetime import UTC, datetime

import click


def read_instant(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Read an instant in ISO 8601; without an offset it is in UTC, as all times of the command are."""
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is no time: write 2026-01-31 or 2026-01-31T12:00:00+01:00", ctx=context, param=parameter
        ) from error
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
