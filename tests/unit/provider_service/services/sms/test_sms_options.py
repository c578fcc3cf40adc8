from pathlib import Path

import pytest

from provider_service.services.service import InvalidOption, Service, ServiceFactory
from provider_service.services.sms import create_service

HTTP = {"gateway": "http", "url": "https://sms.example/send"}

factory: ServiceFactory = create_service


def test_no_option_is_needed() -> None:
    service: Service = factory({})
    assert (service.name, service.title, service.unit_name) == ("sms", "Text messages", "segment")


@pytest.mark.parametrize(
    "options",
    [
        {"gateway": "sandbox", "outbox": "var/other.txt", "fail": ""},
        {"fail": "+12025550199, +61491570156"},
        HTTP,
        HTTP | {"token": "s3cret~", "timeout": "60"},
        HTTP | {"url": "http://127.0.0.1:8080/send?route=1", "timeout": "0.001"},
        HTTP | {"url": "HTTP://[::1]:8080"},
        HTTP | {"url": "https://sms-straße.example./"},
    ],
)
def test_right_options_are_taken(options: dict[str, str]) -> None:
    factory(options)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"gateway": "smpp"}, "gateway must be one of sandbox, http, not 'smpp'"),
        (
            {"colour": "red"},
            "colour is unknown; with gateway=sandbox there are fail, gateway, outbox, prices",
        ),
        (
            HTTP | {"colour": "red"},
            "colour is unknown; with gateway=http there are gateway, prices, timeout, token, url",
        ),
        ({"url": "https://sms.example"}, "url is for gateway=http, but gateway is sandbox"),
        (HTTP | {"fail": ""}, "fail is for gateway=sandbox, but gateway is http"),
        ({"gateway": "http"}, "url must be given with gateway=http"),
        (
            {"fail": "+12025550199,12025550199"},
            "fail must be phone numbers with commas between them, each of which must be a phone number in "
            "E.164 form, such as +12025550143",
        ),
        (
            {"prices": "/missing.toml"},
            "prices names /missing.toml, which cannot be read: No such file or directory",
        ),
    ],
)
def test_a_wrong_option_is_named_in_one_line(options: dict[str, str], line: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        factory(options)
    assert str(caught.value) == f"option {line}"


def test_an_outbox_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    for outbox in (str(tmp_path), ""):
        with pytest.raises(InvalidOption, match=r"^option outbox must be a file, but .* is a directory$"):
            factory({"outbox": outbox})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sms.example",
        "//sms.example",
        "ftp://sms.example",
        "file:///etc/passwd",
        "http://",
        "https://:80/",
        "http://sms.example:0",
        "http://sms.example:65536",
        "http://sms.example:x",
        "http://[::1",
        "http://sms..example",
        "http://a b/",
        " http://sms.example",
        "http://sms.example/\n",
    ],
)
def test_a_url_is_http_with_a_host(url: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        factory(HTTP | {"url": url})
    assert str(caught.value) == "option url must be a URL that begins with http:// or https:// and names a host"


def test_a_url_holds_no_credentials() -> None:
    with pytest.raises(InvalidOption, match=r"^option url must hold no user name or password") as caught:
        factory(HTTP | {"url": "https://user:s3cret@sms.example"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "s3cret ", "s3cret\r\nX-Other: 1", "s3crét"])
def test_a_token_fits_into_a_header_and_is_not_repeated(token: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        factory(HTTP | {"token": token})
    assert str(caught.value) == "option token must be printable ASCII characters without spaces"


@pytest.mark.parametrize("timeout", ["", "soon", "0", "-1", "60.001", "nan", "inf"])
def test_a_timeout_is_at_most_a_minute(timeout: str) -> None:
    with pytest.raises(InvalidOption, match=r"^option timeout must be seconds, more than 0 and at most 60$"):
        factory(HTTP | {"timeout": timeout})
