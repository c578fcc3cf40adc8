"""The `iap-provider` command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from client_stub.broker import TRANSPORTS
from mesh_runtime.commands import run_event_loop
from mesh_runtime.logs import LEVELS, STYLES, configure_logging
from provider_service.bootstrap import serve
from provider_service.service_choice import create_services, find_services
from provider_service.settings import ENVIRONMENT_PREFIX, read_settings

Function = TypeVar("Function", bound=Callable[..., Any])


def _setting(flag: str, *names: str, **attributes: Any) -> Callable[[Function], Function]:
    """An option that is also read from the environment variable of the same name."""
    variable = ENVIRONMENT_PREFIX + flag.removeprefix("--").upper().replace("-", "_")
    return click.option(flag, *names, envvar=variable, show_envvar=True, allow_from_autoenv=False, **attributes)


_pem_file = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Sell services for credits."""


@command.command("serve")
@_setting("--listen", default="127.0.0.1:50052", show_default=True, help="Address to serve on; port 0 picks one.")
@_setting("--broker", default="127.0.0.1:50051", show_default=True, help="Where the broker is, as a gRPC target.")
@_setting("--key", help="The provider's key. Prefer the environment: other users can see flags.")
@_setting(
    "--journal",
    default="sqlite:///var/provider-journal.db",
    show_default=True,
    help="Where to keep what becomes of requests: a SQLite file, or PostgreSQL for several providers; or none.",
)
@_setting(
    "--journal-days",
    type=click.IntRange(1, 3650),
    default=30,
    show_default=True,
    help="How long outputs are kept there for retries of their requests.",
)
@_setting("--services", help="Names of the services to offer, with commas between them; default: all installed.")
@_setting(
    "--service",
    "service_references",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="A service by its function, in this directory or installed; repeatable. Alone, it is all that is offered.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="SERVICE.NAME=VALUE",
    allow_from_autoenv=False,
    help=f"An option of a service; repeatable. Overrules the variable {ENVIRONMENT_PREFIX}<SERVICE>_<NAME>.",
)
@_setting("--tls-certificate", type=_pem_file, help="This server's certificate chain, a PEM file.")
@_setting("--tls-key", type=_pem_file, help="The certificate's private key, a PEM file.")
@_setting("--insecure", is_flag=True, help="Serve other machines without TLS.")
@_setting("--broker-ca", type=_pem_file, help="Talk TLS to the broker and trust this authority, a PEM file.")
@_setting("--broker-insecure", is_flag=True, help="Talk to a broker on another machine without TLS.")
@_setting(
    "--broker-transport",
    type=click.Choice(TRANSPORTS),
    default="unary",
    show_default=True,
    help="How to charge at the broker: a call for each step, or streams that carry many.",
)
@_setting(
    "--broker-connections",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Connections to the broker, each with a stream; more than one need --broker-transport pipelined.",
)
@_setting("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="What is logged.")
@_setting("--log-style", type=click.Choice(STYLES), default="json", show_default=True, help="How it is logged.")
@_setting("--drain-seconds", type=float, default=10.0, show_default=True, help="How long requests may finish.")
@_setting("--max-concurrent-calls", type=click.IntRange(min=1), help="Refuse more at once; default: no limit.")
def serve_command(*, log_level: str, log_style: str, **flags: Any) -> None:
    """Serve requests and charge their customers through the broker."""
    settings = read_settings(**flags)
    # Before services are loaded, which may make objects of gRPC: afterwards it could deadlock.
    configure_logging(log_level, log_style)
    services = create_services(settings, find_services())
    run_event_loop(serve(settings, services))
