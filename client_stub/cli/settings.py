"""What every `iap` command can be told: which servers, which account, how to print."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from client_stub.channel import TlsOptions

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])

_LONGEST_TIMEOUT_SECONDS: Final = 86_400
_META_KEY: Final = "client_stub.cli.settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The shared options of one command line."""

    broker: str
    provider: str
    account_token: str | None
    account_id: str | None
    customer_key: str | None
    provider_key: str | None
    operator_key: str | None
    tls: TlsOptions | None
    insecure: bool
    as_json: bool
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChoice:
    """One account and what opens it: its token, or its id and the customer's key."""

    account_id: str | None = None
    account_token: str | None = None
    key: str | None = None


def shared_options(*, hidden: bool, own_provider: bool = False) -> Callable[[CommandFunction], CommandFunction]:
    """Give a command the shared options; they may stand before the subcommand's name or after it.

    With `own_provider` the command has a --provider of its own, and the shared one stands before its name only.
    """
    provider = _option(
        "--provider", metavar="TARGET", default="127.0.0.1:50052", envvar="IAP_PROVIDER", help="The provider."
    )
    options = (
        _option("--broker", metavar="TARGET", default="127.0.0.1:50051", envvar="IAP_BROKER", help="The broker."),
        *([] if own_provider else [provider]),
        _option("--account-token", metavar="TOKEN", envvar="IAP_ACCOUNT_TOKEN", help="The account, by its token."),
        _option(
            "--account-id",
            metavar="ID",
            help="The account, by its id and the customer's key, instead of the token.",
        ),
        _option("--customer-key", metavar="KEY", envvar="IAP_CUSTOMER_KEY", help="The customer's key."),
        _option("--provider-key", metavar="KEY", envvar="IAP_PROVIDER_KEY", help="The provider's key."),
        _option("--operator-key", metavar="KEY", envvar="IAP_OPERATOR_KEY", help="The operator's key."),
        _option("--tls", is_flag=True, envvar="IAP_TLS", help="Use TLS and trust the well-known authorities."),
        _option(
            "--tls-ca",
            metavar="FILE",
            type=click.Path(path_type=Path),
            envvar="IAP_TLS_CA",
            help="Use TLS and trust these authorities (PEM).",
        ),
        _option("--insecure", is_flag=True, envvar="IAP_INSECURE", help="Allow plaintext to other machines than this."),
        _option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables."),
        _option(
            "--timeout",
            "timeout_seconds",
            metavar="SECONDS",
            type=click.FloatRange(min=0, min_open=True, max=_LONGEST_TIMEOUT_SECONDS),
            default=10.0,
            envvar="IAP_TIMEOUT",
            help="How long to wait for each answer, and for a server that is not up yet.",
        ),
    )

    def decorate(function: CommandFunction) -> CommandFunction:
        for option in reversed(options):
            function = option(hidden)(function)
        return function

    return decorate


def current_settings() -> Settings:
    """Return the settings of the command that is running."""
    values = dict(click.get_current_context().meta[_META_KEY])
    ca_path, use_tls = values.pop("tls_ca"), values.pop("tls")
    return Settings(tls=TlsOptions(ca_path=ca_path) if use_tls or ca_path else None, **values)


def choose_account(settings: Settings) -> AccountChoice:
    """Return the account the command is about; UsageError when the options name none."""
    if settings.account_id is not None:
        if settings.customer_key is None:
            raise click.UsageError("--account-id goes with the customer's key: --customer-key or IAP_CUSTOMER_KEY")
        return AccountChoice(account_id=settings.account_id, key=settings.customer_key)
    return AccountChoice(account_token=require_account_token(settings))


def require_customer_key(settings: Settings) -> str:
    """Return the customer's key; UsageError when there is none."""
    if settings.customer_key is None:
        raise click.UsageError("this takes the customer's key: --customer-key or IAP_CUSTOMER_KEY")
    return settings.customer_key


def require_provider_key(settings: Settings) -> str:
    """Return the provider's key; UsageError when there is none."""
    if settings.provider_key is None:
        raise click.UsageError("this takes the provider's key: --provider-key or IAP_PROVIDER_KEY")
    return settings.provider_key


def require_operator_key(settings: Settings) -> str:
    """Return the operator's key; UsageError when there is none."""
    if settings.operator_key is None:
        raise click.UsageError("this takes the operator's key: --operator-key or IAP_OPERATOR_KEY")
    return settings.operator_key


def require_figures_key(settings: Settings) -> str:
    """Return the key that shows a provider's figures: the provider's, else the operator's; UsageError without both."""
    key = settings.provider_key or settings.operator_key
    if key is None:
        raise click.UsageError(
            "this takes the provider's key, --provider-key or IAP_PROVIDER_KEY, or the operator's, "
            "--operator-key or IAP_OPERATOR_KEY"
        )
    return key


def require_account_token(settings: Settings) -> str:
    """Return the account token; UsageError when there is none."""
    if settings.account_token is None:
        raise click.UsageError("no account: give its token with --account-token or IAP_ACCOUNT_TOKEN")
    return settings.account_token


def _option(*declarations: str, **attributes: Any) -> Callable[[bool], Callable[[CommandFunction], CommandFunction]]:
    def with_visibility(hidden: bool) -> Callable[[CommandFunction], CommandFunction]:
        return click.option(
            *declarations,
            **attributes,
            hidden=hidden,
            expose_value=False,
            show_envvar=True,
            show_default=attributes.get("default") is not None,
            callback=_remember,
        )

    return with_visibility


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep an option's value: what is written on the command line wins, the last of it first."""
    values = context.meta.setdefault(_META_KEY, {})
    name = parameter.name
    if name not in values or context.get_parameter_source(str(name)) is ParameterSource.COMMANDLINE:
        values[name] = value
