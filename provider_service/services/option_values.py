"""Reading the kinds of options that several services have. What is wrong is told without a value that may be secret."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from provider_service.services.service import InvalidOption

Options = Mapping[str, str]


def refuse_unknown(
    options: Options, *, gateway: str, shared: frozenset[str], options_by_gateway: Mapping[str, frozenset[str]]
) -> None:
    """Raises InvalidOption for an option that nothing knows, or that is another gateway's."""
    allowed = shared | options_by_gateway[gateway]
    for option in sorted(options.keys() - allowed):
        for other, options_of_other in options_by_gateway.items():
            if option in options_of_other:
                raise InvalidOption(option, f"is for gateway={other}, but gateway is {gateway}")
        raise InvalidOption(option, f"is unknown; with gateway={gateway} there are {', '.join(sorted(allowed))}")


def read_url(options: Options, option: str, *, gateway: str, credentials_option: str) -> str:
    """Returns a URL that the gateway needs. The message of a wrong one does not repeat it."""
    if option not in options:
        raise InvalidOption(option, f"must be given with gateway={gateway}")
    url = options[option]
    if not _is_http_url(url):
        raise InvalidOption(option, "must be a URL that begins with http:// or https:// and names a host")
    if "@" in urlsplit(url).netloc:
        raise InvalidOption(
            option, f"must hold no user name or password; the option {credentials_option} is for credentials"
        )
    return url


def read_credentials(options: Options, option: str) -> str | None:
    """Returns a secret that fits into an HTTP header, or None if there is none."""
    secret = options.get(option)
    if secret is None:
        return None
    if not secret or not all("!" <= character <= "~" for character in secret):
        raise InvalidOption(option, "must be printable ASCII characters without spaces")
    return secret


def read_seconds(options: Options, option: str, *, default_seconds: float, maximum_seconds: float) -> float:
    """Returns a time in seconds, of which there may be fractions."""
    try:
        seconds = float(options.get(option, default_seconds))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= maximum_seconds:
        raise InvalidOption(option, f"must be seconds, more than 0 and at most {maximum_seconds:g}")
    return seconds


def read_whole_number(options: Options, option: str, *, default: int, minimum: int, maximum: int) -> int:
    """Returns a whole number within bounds."""
    text = options.get(option, str(default))
    if not (text.isascii() and text.isdecimal() and minimum <= int(text[:20]) <= maximum):
        raise InvalidOption(option, f"must be a whole number from {minimum} to {maximum}")
    return int(text)


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        host = (url.hostname or "").encode("idna")  # as the name is looked up
        has_port_zero = url.port == 0
    except ValueError:
        return False
    has_spaces = any(map(str.isspace, text))
    return url.scheme in {"http", "https"} and bool(host) and not has_port_zero and not has_spaces
