from pathlib import Path

import pytest

from client_stub.channel import TlsOptions, open_channel
from client_stub.credentials import bearer_metadata
from client_stub.errors import ConfigurationError
from client_stub.targets import parse_target


@pytest.mark.parametrize(
    ("text", "loopback", "several_servers"),
    [
        ("127.0.0.1:50051", True, False),
        ("127.8.9.10:1", True, False),
        ("localhost:50051", True, False),
        ("[::1]:50051", True, False),
        ("broker:50051", False, False),
        ("10.0.0.1:65535", False, False),
        ("[2001:db8::1]:50051", False, False),
        ("dns:///broker.example:50051", False, True),
        ("dns://10.0.0.53/broker.example:50051", False, True),
        ("dns:///localhost:50051", True, True),
        ("ipv4:127.0.0.1:50051", True, False),
        ("ipv4:127.0.0.1:50051,127.0.0.1:50052", True, True),
        ("ipv4:127.0.0.1:50051,10.0.0.1:50051", False, True),
        ("ipv6:[::1]:50051,[::1]:50052", True, True),
        ("unix:/run/iap.sock", True, False),
        ("unix:///run/iap.sock", True, False),
    ],
)
def test_a_target_is_understood(text: str, loopback: bool, several_servers: bool) -> None:
    target = parse_target(text)
    assert (target.name, target.loopback, target.several_servers) == (text, loopback, several_servers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "broker",
        ":50051",
        "broker:",
        "broker:http",
        "broker:0",
        "broker:65536",
        "http://broker:50051",
        "dns:///broker",
        "ipv4:",
        "ipv4:127.0.0.1:50051,",
        "unix:",
        "::1:50051",
        "bro ker:50051",
    ],
)
def test_a_wrong_target_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="invalid target") as caught:
        parse_target(text)
    assert repr(text) in str(caught.value)


async def test_plaintext_to_other_machines_has_to_be_allowed() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot connect to broker\.example:50051 without TLS"):
        open_channel("broker.example:50051")
    await open_channel("broker.example:50051", insecure=True).close()


async def test_tls_and_plaintext_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        open_channel("127.0.0.1:50051", tls=TlsOptions(), insecure=True)


async def test_tls_files_are_checked_before_the_first_call(tmp_path: Path) -> None:
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"cannot read CA certificate .*missing\.pem: No such file"):
        open_channel("broker:1", tls=TlsOptions(ca_path=missing))
    with pytest.raises(ConfigurationError, match=r"cannot use CA certificate .*wrong\.pem: not PEM"):
        open_channel("broker:1", tls=TlsOptions(ca_path=wrong))
    with pytest.raises(ConfigurationError, match="go together"):
        open_channel("broker:1", tls=TlsOptions(key_path=wrong))


def test_a_key_becomes_a_bearer_token() -> None:
    assert bearer_metadata("key_1") == (("authorization", "Bearer key_1"),)
    assert bearer_metadata(None) == ()


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        bearer_metadata(key)
    assert not key or key not in str(caught.value)
