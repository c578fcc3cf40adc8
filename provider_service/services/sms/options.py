"""The service's options, read once at start: which gateway, how it is reached, which prices."""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from provider_service.gateways.sandbox_sms import DEFAULT_OUTBOX, FAILING_RECIPIENT, SandboxSmsGateway
from provider_service.gateways.sms import DEFAULT_TIMEOUT_SECONDS, TIMEOUT_MAXIMUM_SECONDS, SmsGateway
from provider_service.services.service import InvalidOption
from provider_service.services.sms.prices import BUNDLED_PRICES, Prices, load_prices
from provider_service.services.sms.recipients import parse_recipient

Options = Mapping[str, str]

SHARED_OPTIONS = frozenset({"gateway", "prices"})
OPTIONS_BY_GATEWAY = {
    "sandbox": frozenset({"outbox", "fail"}),
    "http": frozenset({"url", "token", "timeout"}),
}


def create_gateway(options: Options) -> SmsGateway:
    """Makes the gateway that `gateway` names. Raises InvalidOption, also for options nothing knows."""
    name = options.get("gateway", "sandbox")
    if name not in OPTIONS_BY_GATEWAY:
        raise InvalidOption("gateway", f"must be one of {', '.join(OPTIONS_BY_GATEWAY)}, not {name!r}")
    _check_names(options, gateway=name)
    return _GATEWAY_FACTORIES[name](options)


def read_prices(options: Options) -> Prices:
    """Loads the price file that `prices` names, else the one beside this module. Raises InvalidOption."""
    return load_prices(Path(options.get("prices", BUNDLED_PRICES)))


def _check_names(options: Options, *, gateway: str) -> None:
    allowed = SHARED_OPTIONS | OPTIONS_BY_GATEWAY[gateway]
    for option in sorted(options.keys() - allowed):
        for other, options_of_other in OPTIONS_BY_GATEWAY.items():
            if option in options_of_other:
                raise InvalidOption(option, f"is for gateway={other}, but gateway is {gateway}")
        raise InvalidOption(option, f"is unknown; with gateway={gateway} there are {', '.join(sorted(allowed))}")


def _create_sandbox_gateway(options: Options) -> SmsGateway:
    return SandboxSmsGateway(outbox=_read_outbox(options), failing_recipients=_read_failing_recipients(options))


def _create_http_gateway(options: Options) -> SmsGateway:
    # An HTTP client takes long to import, and few providers need it.
    from provider_service.gateways.http_sms import HttpSmsGateway  # noqa: PLC0415 - see above

    return HttpSmsGateway(url=_read_url(options), token=_read_token(options), timeout_seconds=_read_timeout(options))


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


def _read_url(options: Options) -> str:
    """Returns the URL. The message of a wrong one does not repeat it: it may hold a secret."""
    if "url" not in options:
        raise InvalidOption("url", "must be given with gateway=http")
    url = options["url"]
    if not _is_http_url(url):
        raise InvalidOption("url", "must be a URL that begins with http:// or https:// and names a host")
    if "@" in urlsplit(url).netloc:
        raise InvalidOption("url", "must hold no user name or password; the option token is for credentials")
    return url


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        host = (url.hostname or "").encode("idna")  # as the name is looked up
        has_port_zero = url.port == 0
    except ValueError:
        return False
    has_spaces = any(map(str.isspace, text))
    return url.scheme in {"http", "https"} and bool(host) and not has_port_zero and not has_spaces


def _read_token(options: Options) -> str | None:
    token = options.get("token")
    if token is None:
        return None
    if not token or not all("!" <= character <= "~" for character in token):
        raise InvalidOption("token", "must be printable ASCII characters without spaces")
    return token


def _read_timeout(options: Options) -> float:
    try:
        timeout_seconds = float(options.get("timeout", DEFAULT_TIMEOUT_SECONDS))
    except ValueError:
        timeout_seconds = 0.0
    if not 0 < timeout_seconds <= TIMEOUT_MAXIMUM_SECONDS:
        raise InvalidOption("timeout", f"must be seconds, more than 0 and at most {TIMEOUT_MAXIMUM_SECONDS:g}")
    return timeout_seconds
