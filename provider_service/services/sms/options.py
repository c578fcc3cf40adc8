"""The service's options, read once at start: which gateway, how it is reached, which prices."""

from collections.abc import Callable, Mapping
from pathlib import Path

from provider_service.gateways.http_sms import (
    DEFAULT_TIMEOUT_SECONDS,
    TIMEOUT_MAXIMUM_SECONDS,
    HttpSmsGateway,
)
from provider_service.gateways.sandbox_sms import DEFAULT_OUTBOX, FAILING_RECIPIENT, SandboxSmsGateway
from provider_service.gateways.sms import SmsGateway
from provider_service.services.option_values import Options, read_credentials, read_seconds, read_url, refuse_unknown
from provider_service.services.service import InvalidOption
from provider_service.services.sms.prices import BUNDLED_PRICES, Prices, load_prices
from provider_service.services.sms.recipients import parse_recipient

SHARED_OPTIONS = frozenset({"gateway", "prices"})
OPTIONS_BY_GATEWAY: Mapping[str, frozenset[str]] = {
    "sandbox": frozenset({"outbox", "fail"}),
    "http": frozenset({"url", "token", "timeout"}),
}


def create_gateway(options: Options) -> SmsGateway:
    """Makes the gateway that `gateway` names. Raises InvalidOption, also for options nothing knows."""
    name = options.get("gateway", "sandbox")
    if name not in OPTIONS_BY_GATEWAY:
        raise InvalidOption("gateway", f"must be one of {', '.join(OPTIONS_BY_GATEWAY)}, not {name!r}")
    refuse_unknown(options, gateway=name, shared=SHARED_OPTIONS, options_by_gateway=OPTIONS_BY_GATEWAY)
    return _GATEWAY_FACTORIES[name](options)


def read_prices(options: Options) -> Prices:
    """Loads the price file that `prices` names, else the one beside this module. Raises InvalidOption."""
    return load_prices(Path(options.get("prices", BUNDLED_PRICES)))


def _create_sandbox_gateway(options: Options) -> SmsGateway:
    return SandboxSmsGateway(outbox=_read_outbox(options), failing_recipients=_read_failing_recipients(options))


def _create_http_gateway(options: Options) -> SmsGateway:
    return HttpSmsGateway(
        url=read_url(options, "url", gateway="http", credentials_option="token"),
        token=read_credentials(options, "token"),
        timeout_seconds=read_seconds(
            options, "timeout", default_seconds=DEFAULT_TIMEOUT_SECONDS, maximum_seconds=TIMEOUT_MAXIMUM_SECONDS
        ),
    )


_GATEWAY_FACTORIES: Mapping[str, Callable[[Options], SmsGateway]] = {
    "sandbox": _create_sandbox_gateway,
    "http": _create_http_gateway,
}


def _read_outbox(options: Options) -> Path:
    outbox = Path(options.get("outbox", DEFAULT_OUTBOX))
    if outbox.is_dir():
        raise InvalidOption("outbox", f"must be a file, but {outbox} is a directory")
    return outbox


def _read_failing_recipients(options: Options) -> frozenset[str]:
    numbers = [number.strip() for number in options.get("fail", FAILING_RECIPIENT).split(",")]
    try:
        return frozenset(parse_recipient(number).number for number in numbers if number)
    except ValueError as error:
        raise InvalidOption("fail", f"must be phone numbers with commas between them, each of which {error}") from None
