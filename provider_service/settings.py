"""The provider's settings: read once from flags and environment, checked before anything starts."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from client_stub.broker import Transport
from client_stub.channel import TlsOptions
from mesh_runtime.addresses import Address, parse_address
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.tls import ServerTls

ENVIRONMENT_PREFIX: Final = "IAP_PROVIDER_"
SETTING_NAMES: Final = (
    "listen",
    "broker",
    "key",
    "journal",
    "journal_days",
    "services",
    "service",
    "option",
    "tls_certificate",
    "tls_key",
    "insecure",
    "broker_ca",
    "broker_insecure",
    "broker_transport",
    "broker_connections",
    "log_level",
    "log_style",
    "drain_seconds",
    "max_concurrent_calls",
)
NO_JOURNAL: Final = "none"
_DRAIN_SECONDS_MAXIMUM: Final = 3600
_SETTING_VARIABLES: Final = frozenset(ENVIRONMENT_PREFIX + name.upper() for name in SETTING_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this provider listens, which broker it works with, and what it sells.

    `journal_url` None: what becomes of requests is kept in memory alone.
    `service_names` None: every service there is, or only those that `service_references` name as MODULE:FUNCTION.
    `options` are those given as flags, by service and option name; `environment` holds those variables that may be
    options of services.
    """

    listen: Address
    broker: str
    key: str = field(repr=False)
    journal_url: str | None = field(default=None, repr=False)
    journal_kept: timedelta = timedelta(days=30)
    service_names: tuple[str, ...] | None = None
    service_references: tuple[str, ...] = ()
    options: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ServerTls | None = None
    insecure: bool = False
    broker_tls: TlsOptions | None = None
    broker_insecure: bool = False
    broker_transport: Transport = "unary"
    broker_connections: int = 1
    drain_seconds: float = 10.0
    max_concurrent_calls: int | None = None


def read_settings(
    *,
    listen: str,
    broker: str,
    key: str | None,
    journal: str,
    journal_days: int,
    services: str | None,
    service_references: Iterable[str],
    options: Iterable[str],
    tls_certificate: Path | None,
    tls_key: Path | None,
    insecure: bool,
    broker_ca: Path | None,
    broker_insecure: bool,
    broker_transport: Transport,
    broker_connections: int,
    drain_seconds: float,
    max_concurrent_calls: int | None,
) -> Settings:
    """Checks what the command line and the environment gave. Raises StartupError."""
    if not key:
        raise StartupError(f"a provider key is needed: set {ENVIRONMENT_PREFIX}KEY")
    # Written so that "not a number" is refused too.
    if not 0 <= drain_seconds <= _DRAIN_SECONDS_MAXIMUM:
        raise StartupError(f"--drain-seconds must be from 0 to {_DRAIN_SECONDS_MAXIMUM}")
    if broker_connections > 1 and broker_transport != "pipelined":
        raise StartupError("--broker-connections above 1 needs --broker-transport pipelined")
    return Settings(
        listen=parse_address(listen),
        broker=broker,
        key=key,
        journal_url=None if journal == NO_JOURNAL else journal,
        journal_kept=timedelta(days=journal_days),
        service_names=_read_service_names(services),
        service_references=tuple(_read_reference(reference) for reference in dict.fromkeys(service_references)),
        options=dict(_read_option(option) for option in options),
        environment=_read_environment(os.environ),
        tls=_read_tls(tls_certificate, tls_key),
        insecure=insecure,
        broker_tls=None if broker_ca is None else TlsOptions(ca_path=broker_ca),
        broker_insecure=broker_insecure,
        broker_transport=broker_transport,
        broker_connections=broker_connections,
        drain_seconds=drain_seconds,
        max_concurrent_calls=max_concurrent_calls,
    )


def options_of(service: str, settings: Settings, known_services: Collection[str]) -> dict[str, str]:
    """Returns the options of one service: those of the environment, then those given as flags, which win.

    A variable belongs to the service with the longest name that it begins with.
    """
    options = {}
    prefixes = {_variable_prefix(known): known for known in known_services}
    for variable, value in settings.environment.items():
        fitting = [prefix for prefix in prefixes if variable.startswith(prefix)]
        if fitting and prefixes[max(fitting, key=len)] == service:
            options[variable.removeprefix(_variable_prefix(service)).lower()] = value
    options.update({name: value for (owner, name), value in settings.options.items() if owner == service})
    return options


def _variable_prefix(service: str) -> str:
    return f"{ENVIRONMENT_PREFIX}{service.upper().replace('-', '_')}_"


def _read_service_names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise StartupError("--services must be names with commas between them, such as sms,fax")
    return names


def _read_reference(text: str) -> str:
    module, colon, function = text.strip().partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise StartupError(f"--service must be MODULE:FUNCTION, such as rot13:rot13, not {text!r}")
    return f"{module}:{function}"


def _read_option(text: str) -> tuple[tuple[str, str], str]:
    """Reads SERVICE.NAME=VALUE. What is wrong is shown without the value, which may be a secret."""
    name, equals, value = text.partition("=")
    service, dot, option = name.strip().partition(".")
    if not (equals and dot and service and option):
        shown = f", not {name!r} and a value" if equals else ""
        raise StartupError(f"--option must be SERVICE.NAME=VALUE, such as sms.gateway=http{shown}")
    return (service, option), value


def _read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that may be options. Whatever fits no service is let be: orchestrators set some too."""
    return {
        variable: value
        for variable, value in environment.items()
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in _SETTING_VARIABLES and value
    }


def _read_tls(certificate: Path | None, key: Path | None) -> ServerTls | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise StartupError("--tls-certificate and --tls-key go together")
    return ServerTls(certificate_path=certificate, key_path=key)
