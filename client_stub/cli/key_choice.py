"""Which of the keys a command uses that takes a provider's, a customer's or the operator's."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from client_stub.cli.settings import Settings

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])

_ROLES: Final = ("provider", "customer", "operator")


def key_option(function: CommandFunction) -> CommandFunction:
    """Give a command the option that says whose key to use, where there are several."""
    return click.option(
        "--as", "role", type=click.Choice(_ROLES), help="Whose key to use, when more than one is given."
    )(function)


def choose_key(settings: Settings, role: str | None) -> str:
    """Return the key of the role, or the only one there is; UsageError when there is none, or no telling which."""
    keys = {
        "provider": settings.provider_key,
        "customer": settings.customer_key,
        "operator": settings.operator_key,
    }
    given = [name for name in _ROLES if keys[name] is not None]
    if role is None and len(given) > 1:
        raise click.UsageError(f"there are keys of a {' and a '.join(given)}: say with --as which one to use")
    chosen = role or (given[0] if given else None)
    key = None if chosen is None else keys[chosen]
    if key is None:
        wanted = "a key" if chosen is None else f"the {chosen}'s key"
        raise click.UsageError(f"this takes {wanted}: --provider-key, --customer-key or --operator-key")
    return key
