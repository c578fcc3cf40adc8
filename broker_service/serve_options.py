"""The options of `iap-broker serve`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from broker_service.command_options import payout_minimum_option, setting
from broker_service.domain.commission import BASIS_POINTS, DEFAULT_COMMISSION_BASIS_POINTS
from broker_service.gateway_choice import GATEWAY_NAMES
from broker_service.payments.sandbox import SandboxBehavior
from broker_service.settings import DEFAULT_LISTEN
from mesh_runtime.logs import LEVELS, STYLES
from mesh_runtime.workers import MAX_CONNECTION_AGE_SECONDS

Command = TypeVar("Command", bound=Callable[..., Any])

_IN_SIGHT = "Prefer the environment: other users can see flags."


_SETTINGS = [
    setting("--listen", default=DEFAULT_LISTEN, help="HOST:PORT; port 0 picks a free one."),
    setting(
        "--commission-basis-points",
        type=click.IntRange(0, BASIS_POINTS),
        default=DEFAULT_COMMISSION_BASIS_POINTS,
        help="The broker's cut of each sale, unless a provider has a rate of its own.",
    ),
    setting("--purchase-url", default="", help="Where people buy packs; {service} becomes the service's name."),
    setting("--workers", type=click.IntRange(1), default=1, help="Processes; more than one need PostgreSQL."),
    setting("--tls-certificate", type=click.Path(path_type=Path), help="PEM file with the certificate chain."),
    setting("--tls-key", type=click.Path(path_type=Path), help="PEM file with the private key."),
    setting("--insecure", is_flag=True, help="Allow plaintext on other addresses than loopback."),
    setting(
        "--drain-seconds", type=click.IntRange(0, 3_600), default=10, help="How long running calls may take at the end."
    ),
    setting("--queue-commands", type=click.IntRange(1), default=10_000, help="Commands that may wait for a commit."),
    setting("--batch-commands", type=click.IntRange(1, 5_000), default=512, help="Commands in one commit at most."),
    setting("--max-concurrent-calls", type=click.IntRange(1), help="More are refused as OVERLOADED, in each process."),
    setting(
        "--max-connection-age-seconds",
        type=click.IntRange(1),
        help=f"Clients connect again after this, and so spread; {MAX_CONNECTION_AGE_SECONDS:g} with several workers.",
    ),
    setting(
        "--sweep-seconds",
        type=click.FloatRange(0, 3_600),
        default=1.0,
        help="How often expiries are written down, which changes no answer; 0 turns it off.",
    ),
    setting(
        "--watch-seconds",
        type=click.FloatRange(0.05, 3_600),
        default=1.0,
        help="How often watchers of a balance learn what time and other processes have changed.",
    ),
    setting(
        "--event-seconds",
        type=click.FloatRange(0.05, 3_600),
        default=1.0,
        help="How often events of other processes, and deliveries to be tried again, are looked for.",
    ),
    setting(
        "--allow-private-webhooks",
        is_flag=True,
        help="Let webhooks lead into private networks and to this machine; only where every caller is trusted.",
    ),
    setting(
        "--checkout-hours",
        type=click.IntRange(1, 720),
        default=24,
        help="How long a purchase that was started can be paid.",
    ),
    setting(
        "--refund-seconds",
        type=click.FloatRange(0, 3_600),
        default=60.0,
        help="How often gateways are asked again for refunds they have not paid; 0 turns it off.",
    ),
    setting(
        "--top-up-seconds",
        type=click.FloatRange(0, 3_600),
        default=5.0,
        help="How often accounts that run low are looked for, to be topped up as agreed; 0 turns it off.",
    ),
    setting(
        "--sandbox-behavior",
        type=click.Choice([behavior.value for behavior in SandboxBehavior]),
        default=SandboxBehavior.SUCCEED.value,
        callback=lambda _context, _option, value: SandboxBehavior(value),
        help="How the sandbox gateway pays, refunds and charges, and how it tells of that.",
    ),
    setting(
        "--sandbox-delay-seconds",
        type=click.FloatRange(0, 3_600),
        default=1.0,
        help="When the sandbox gateway tells what it delays or tells twice.",
    ),
    setting("--log-level", type=click.Choice(LEVELS), default="info", help="One line per call at info and below."),
    setting("--log-style", type=click.Choice(STYLES), default="json", help="How log lines look."),
    payout_minimum_option,
    setting("--http-listen", default="", help="HOST:PORT for checkout pages and gateways' notices; off by default."),
    setting("--http-url", default="", help="Where browsers and gateways reach that; by default at its own address."),
    setting(
        "--payment-gateway",
        "payment_gateways",
        type=click.Choice(GATEWAY_NAMES),
        multiple=True,
        default=["sandbox"],
        help="How customers pay. Given several times, never the sandbox: the first that takes a currency.",
    ),
    setting("--stripe-secret-key", default="", help=f"Stripe's API key for your account. {_IN_SIGHT}"),
    setting("--stripe-webhook-secret", default="", help=f"What Stripe signs its notices with. {_IN_SIGHT}"),
    setting("--stripe-api-url", default="", help="Where Stripe's API is, for proxies and tests."),
]


def serve_settings(command: Command) -> Command:
    """Declares all of them."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command
