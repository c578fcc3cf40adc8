"""Options of `iap-broker serve`: how they are declared, and those for HTTP and payments."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from broker_service.gateway_choice import GATEWAY_NAMES

Command = TypeVar("Command", bound=Callable[..., Any])

_IN_SIGHT = "Prefer the environment: other users can see flags."


def setting(flag: str, *names: str, **attributes: Any) -> Callable[[Command], Command]:
    """Returns an option whose environment variable is IAP_BROKER_ and its flag."""
    variable = "IAP_BROKER_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, *names, envvar=variable, show_envvar=True, show_default=True, **attributes)


_HTTP_AND_PAYMENTS = [
    setting("--http-listen", default="", help="HOST:PORT for checkout pages and gateways' notices; off by default."),
    setting("--http-url", default="", help="Where browsers and gateways reach that; by default at its own address."),
    setting(
        "--payment-gateway",
        "payment_gateways",
        type=click.Choice(GATEWAY_NAMES),
        multiple=True,
        default=["sandbox"],
        help="How customers pay. Given several times: the first that takes a pack's currency.",
    ),
    setting("--stripe-secret-key", default="", help=f"Stripe's API key for your account. {_IN_SIGHT}"),
    setting("--stripe-webhook-secret", default="", help=f"What Stripe signs its notices with. {_IN_SIGHT}"),
    setting("--stripe-api-url", default="", help="Where Stripe's API is, for proxies and tests."),
]


def http_and_payment_settings(command: Command) -> Command:
    """Declares the settings of HTTP and payment gateways."""
    for option in reversed(_HTTP_AND_PAYMENTS):
        command = option(command)
    return command
