"""client_stub.webhooks.verify: what is believed, and what is not."""

import hashlib
import hmac
import json

import pytest

from client_stub.webhooks import SignatureError, verify

SECRET = "iap_whs_example"
NOW = 1_769_860_800
BODY = b'{"event_id":"evt_1","position":1,"data":{"ledger_credits":4}}'


def signed(body: bytes = BODY, *, secret: str = SECRET, seconds: int = NOW) -> dict[str, str]:
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"iap-signature": f"t={seconds},v1={digest}", "content-type": "application/json"}


def test_a_delivery_that_was_signed_just_now_is_believed() -> None:
    assert verify(SECRET, signed(), BODY, now_seconds=NOW) == json.loads(BODY)


@pytest.mark.parametrize("name", ["Iap-Signature", "IAP-SIGNATURE", "iap-signature"])
def test_a_header_s_name_may_be_in_any_case(name: str) -> None:
    headers = {name: signed()["iap-signature"]}
    assert verify(SECRET, headers, BODY, now_seconds=NOW)["event_id"] == "evt_1"


@pytest.mark.parametrize("late", [-300, 0, 300])
def test_it_is_believed_within_the_tolerance(late: int) -> None:
    assert verify(SECRET, signed(), BODY, now_seconds=NOW + late)


@pytest.mark.parametrize("late", [-301, 301, 10**9])
def test_what_may_be_a_recording_is_refused(late: int) -> None:
    with pytest.raises(SignatureError, match="too long ago"):
        verify(SECRET, signed(), BODY, now_seconds=NOW + late)
    assert verify(SECRET, signed(), BODY, 10**9, now_seconds=NOW + late)


def test_the_present_is_the_clock_s_unless_it_is_given() -> None:
    with pytest.raises(SignatureError, match="too long ago"):
        verify(SECRET, signed(seconds=1), BODY)


def test_another_body_secret_or_time_is_refused() -> None:
    moved = signed()["iap-signature"].replace(f"t={NOW}", f"t={NOW + 1}")
    for secret, headers, body in (
        (SECRET, signed(), BODY.replace(b"4", b"5")),
        (SECRET, signed(), BODY + b" "),
        ("another", signed(), BODY),
        (SECRET, {"iap-signature": moved}, BODY),
        (SECRET, signed(secret="another"), BODY),
    ):
        with pytest.raises(SignatureError, match="not that of this body"):
            verify(secret, headers, body, now_seconds=NOW)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "t=1",
        f"t={NOW},v1=",
        f"t={NOW},v1={'0' * 63}",
        f"t={NOW},v1={'0' * 65}",
        f"t={NOW},v1={'G' * 64}",
        f"t=-1,v1={'0' * 64}",
        f"t={'9' * 5000},v1={'0' * 64}",
        f"v1={'0' * 64},t={NOW}",
        f"t={NOW},v1={chr(0x660) * 64}",
    ],
)
def test_a_signature_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(SignatureError, match="not of the form"):
        verify(SECRET, {"iap-signature": value}, BODY, now_seconds=NOW)


def test_a_delivery_without_a_signature_is_refused() -> None:
    with pytest.raises(SignatureError, match="no iap-signature header"):
        verify(SECRET, {}, BODY, now_seconds=NOW)


@pytest.mark.parametrize("body", [b"", b"[1]", b"nonsense", b"\xff"])
def test_what_is_signed_and_yet_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureError, match="JSON"):
        verify(SECRET, signed(body), body, now_seconds=NOW)
