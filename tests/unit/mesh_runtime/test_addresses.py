import pytest

from mesh_runtime.addresses import Address, is_loopback, parse_address
from mesh_runtime.startup_errors import StartupError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50_051),
        ("[::1]:0", "::1", 0),
        ("localhost:1", "localhost", 1),
        ("broker.example:65535", "broker.example", 65_535),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host=host, port=port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", ":50051", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:-1", "h:65536", "::1:50051", "h:१"],
)
def test_what_is_no_address_is_named_in_the_error(text: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example", "127.0.0.1.example", ""]
)
def test_hosts_that_other_machines_may_reach(host: str) -> None:
    assert not is_loopback(host)
