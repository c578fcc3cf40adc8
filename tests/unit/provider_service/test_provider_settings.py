from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mesh_runtime.startup_errors import StartupError
from provider_service.settings import Settings, options_of, read_settings

DEFAULTS: Mapping[str, Any] = {
    "listen": "127.0.0.1:0",
    "broker": "127.0.0.1:50051",
    "key": "provider-key",
    "journal": "none",
    "journal_days": 30,
    "services": None,
    "service_references": (),
    "options": (),
    "tls_certificate": None,
    "tls_key": None,
    "insecure": False,
    "broker_ca": None,
    "broker_insecure": False,
    "broker_transport": "unary",
    "broker_connections": 1,
    "drain_seconds": 10.0,
    "max_concurrent_calls": None,
}


def read(**flags: Any) -> Settings:
    return read_settings(**{**DEFAULTS, **flags})


def options(service: str, *flags: str) -> dict[str, str]:
    return options_of(service, read(options=flags), known_services=["sms", "sms-bulk", "log"])


def test_options_come_from_flags_and_the_environment_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAP_PROVIDER_SMS_GATEWAY", "sandbox")
    monkeypatch.setenv("IAP_PROVIDER_SMS_URL", "http://example.com/a=b")
    assert options("sms", "sms.gateway=http", "sms.token=a=b") == {
        "gateway": "http",
        "url": "http://example.com/a=b",
        "token": "a=b",
    }


def test_a_variable_belongs_to_the_longest_name_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAP_PROVIDER_SMS_BULK_GATEWAY", "http")
    assert options("sms") == {}
    assert options("sms-bulk") == {"gateway": "http"}


def test_settings_and_empty_variables_are_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAP_PROVIDER_LOG_LEVEL", "info")
    monkeypatch.setenv("IAP_PROVIDER_LOG_FILE", "x")
    monkeypatch.setenv("IAP_PROVIDER_SMS_TOKEN", "")
    assert options("log") == {"file": "x"}
    assert options("sms") == {}


def test_variables_of_nobody_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAP_PROVIDER_SERVICE_HOST", "10.0.0.1")
    assert options("sms") == {}


def test_services_are_a_list_without_repetition() -> None:
    assert read(services="sms, fax,sms,").service_names == ("sms", "fax")
    assert read().service_names is None


def test_secrets_do_not_show() -> None:
    shown = repr(read(key="secret-key", options=["sms.token=secret-token"]))
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"key": None}, "IAP_PROVIDER_KEY"),
        ({"key": ""}, "IAP_PROVIDER_KEY"),
        ({"services": " , "}, "--services"),
        ({"service_references": ["shop.greetings"]}, "--service must be MODULE:FUNCTION, such as rot13:rot13, not"),
        ({"service_references": [":f"]}, "--service must be"),
        ({"service_references": ["a/b.py:c"]}, "--service must be"),
        ({"options": ["sms"]}, "--option must be"),
        ({"options": ["sms=secret"]}, "not 'sms' and a value"),
        ({"options": [".a=secret"]}, "--option must be"),
        ({"options": ["sms.=secret"]}, "--option must be"),
        ({"tls_certificate": Path("a.pem")}, "go together"),
        ({"tls_key": Path("a.pem")}, "go together"),
        ({"drain_seconds": -1.0}, "--drain-seconds"),
        ({"drain_seconds": float("nan")}, "--drain-seconds"),
        ({"drain_seconds": float("inf")}, "--drain-seconds"),
        ({"listen": "50052"}, "invalid address"),
    ],
)
def test_a_wrong_setting_is_named_without_its_secret(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError, match=message) as caught:
        read(**flags)
    assert "secret" not in str(caught.value)


def test_several_connections_to_the_broker_are_for_streams() -> None:
    assert read(broker_transport="pipelined", broker_connections=3).broker_connections == 3
    with pytest.raises(StartupError, match="--broker-transport pipelined"):
        read(broker_connections=3)
