"""Which addresses a page may lead to."""

import pytest

from broker_service.transport.http.origins import host_of, web_url


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "http://127.0.0.1:8000/back?a=b#c",
        "https://[::1]:8443/",
        "HTTPS://SHOP.EXAMPLE/",
        "https://käse.example/ö",
        "https://user@shop.example/",
    ],
)
def test_a_web_address_is_kept_as_it_is(url: str) -> None:
    assert web_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "/path",
        "https://",
        "https:///path",
        "https:evil.example",
        "https://a b/",
        "https://a\nb/",
        "https://a\tb/",
        "https://a\\b/",
        "https://[::1",
        "https://a:99999/",
        "https://a:0/",
        "https://a:x/",
        "ftp://a/",
        "\x00https://a/",
        " https://a/",
    ],
)
def test_anything_else_is_nothing(url: str) -> None:
    assert web_url(url) == ""


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://shop.example/back", "shop.example"),
        ("https://Shop.Example:8443/", "shop.example"),
        ("https://bank.example@evil.example/", "evil.example"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example"),
        ("https://a..example/", "a..example"),
        ("http://[::1]:8080/", "::1"),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_the_host_that_a_person_reads_is_the_one_that_is_asked(url: str, host: str) -> None:
    assert host_of(url) == host
