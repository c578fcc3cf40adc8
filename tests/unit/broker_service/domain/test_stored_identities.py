"""What each command's rows are called, and how a replay is told: stored, so it must never come out differently."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.commands import Capture, Charge, Extend, GrantCredits, Refund, Release, Reserve, RotateToken
from broker_service.domain.fingerprints import Parameter, fingerprint
from broker_service.domain.identities import account_id_for, event_id_for, grant_id_for, purchase_refund_id_for
from broker_service.domain.purchase_commands import (
    CompleteSandboxPayment,
    PackTerms,
    RefundPurchase,
    SettleRefund,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.records import GrantKind, PaymentNoticeKind

REQUEST = "0b6f5b1e-7d5c-4d3e-9f1a-3c2b1a000000"
ACCOUNT = "acc_0607bf97cb0eeadcd18283c5"
RESERVATION = "rsv_0607bf97cb0eeadcd18283c5_d85c697a6b7d3fbbbb6bdfec"
MINUTE = timedelta(minutes=1)
TERMS = PackTerms("pck_1", "sms", "prv_p", "a title", 100, None, "EUR", 501, 2_500, False, False, False)

RESERVE = Reserve(REQUEST, ACCOUNT, "prv_p", False, 4, MINUTE, MINUTE, MINUTE, "a text", {"job": "7"})
CAPTURE = Capture(REQUEST, ACCOUNT, "prv_p", RESERVATION, 3, True)
RELEASE = Release(REQUEST, ACCOUNT, "prv_p", RESERVATION, "a reason")
CHARGE = Charge(REQUEST, ACCOUNT, "prv_p", False, 4, "a text", {"job": "7"})
EXTEND = Extend(REQUEST, ACCOUNT, "prv_p", False, RESERVATION, MINUTE, MINUTE, 2)
REFUND = Refund(REQUEST, ACCOUNT, "prv_p", RESERVATION, 1, "a reason")
GIFT = GrantCredits(REQUEST, ACCOUNT, 5, GrantKind.TRIAL, 7, datetime(2026, 2, 1, tzinfo=UTC), "a reason")
ROTATION = RotateToken(REQUEST, ACCOUNT, "cus_c", MINUTE, "hash")
PURCHASE = StartPurchase(REQUEST, ACCOUNT, TERMS, "https://example.com")
PAYMENT = CompleteSandboxPayment(REQUEST, ACCOUNT, "pur_x", True)
PURCHASE_REFUND = RefundPurchase(REQUEST, ACCOUNT, "pur_x", "a reason")
SETTLEMENT = SettleRefund(REQUEST, ACCOUNT, "pur_x", "rfd_x", "a reference")
NOTICE = TakePaymentNotice(ACCOUNT, "stripe", "evt_1", PaymentNoticeKind.REFUND_FAILED, "pur_x", "rfd_x")


@pytest.mark.parametrize(
    ("command", "name", "identity"),
    [
        (RESERVE, "reservation_id", RESERVATION),
        (CHARGE, "reservation_id", "rsv_0607bf97cb0eeadcd18283c5_ba1356b9b7d7bdd9c03e62e1"),
        (PURCHASE, "purchase_id", "pur_0607bf97cb0eeadcd18283c5_0514585d4ab1f6d4a66a3105"),
        (GIFT, "grant_id", "grt_67ace98c1505e05332d9ebbb"),
        (CAPTURE, "operation_id", "ope_0607bf97cb0eeadcd18283c5_bbdac415c66c46138d02dcce"),
        (RELEASE, "operation_id", "ope_0607bf97cb0eeadcd18283c5_719cee4d6a0a470b25ade506"),
        (EXTEND, "operation_id", "ope_0607bf97cb0eeadcd18283c5_bd12a4d16d2cc270aae7afcd"),
        (REFUND, "operation_id", "ope_0607bf97cb0eeadcd18283c5_39a2b459c5453c1e472cbeb9"),
        (GIFT, "operation_id", "ope_0607bf97cb0eeadcd18283c5_7e143d653e3dfb622d16358c"),
        (ROTATION, "operation_id", "ope_0607bf97cb0eeadcd18283c5_62a69df3567b090747d87d5a"),
        (PAYMENT, "operation_id", "ope_0607bf97cb0eeadcd18283c5_9a2cf8618ea783792582c974"),
        (PURCHASE_REFUND, "refund_id", "rfd_0607bf97cb0eeadcd18283c5_12974fccc2484faf506bb48e"),
        (PURCHASE_REFUND, "grant_id", "grt_4294b8b637f57594fea2fd55"),
        (SETTLEMENT, "operation_id", "ope_0607bf97cb0eeadcd18283c5_1d48aece45410a96049e7a83"),
        (NOTICE, "notice_id", "ntc_294f9cb36c8bb26905081236"),
        (NOTICE, "grant_id", "grt_4294b8b637f57594fea2fd55"),
    ],
)
def test_the_rows_of_a_request_are_called_what_they_were_always_called(
    command: Struct, name: str, identity: str
) -> None:
    assert getattr(replace(command), name) == identity


def test_accounts_and_bought_grants_are_called_what_they_were_always_called() -> None:
    assert account_id_for("cus_c", REQUEST) == ACCOUNT
    assert grant_id_for("pur_x") == "grt_4294b8b637f57594fea2fd55"


def test_chargebacks_and_events_are_called_what_they_were_always_called() -> None:
    assert (
        purchase_refund_id_for(ACCOUNT, "Chargeback", "pur_x")
        == "rfd_0607bf97cb0eeadcd18283c5_960249ab9557f1f0d356a8e1"
    )
    assert event_id_for("purchase.paid", "pur_x") == "evt_2778eebc103648bca0fc351e"


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        (RESERVE, (4, 60_000_000, "a text", {"job": "7"})),
        (replace(RESERVE, ttl=None), (4, None, "a text", {"job": "7"})),
        (CAPTURE, (RESERVATION, 3, True)),
        (RELEASE, (RESERVATION, "a reason")),
        (CHARGE, (4, "a text", {"job": "7"})),
        (EXTEND, (RESERVATION, 60_000_000, 2)),
        (replace(EXTEND, ttl=None), (RESERVATION, None, 2)),
        (REFUND, (RESERVATION, 1, "a reason")),
        (GIFT, (5, "TRIAL", 7, "2026-02-01T00:00:00+00:00", "a reason")),
        (replace(GIFT, expire_time=None), (5, "TRIAL", 7, None, "a reason")),
        (ROTATION, (60_000_000,)),
        (PURCHASE, ("pck_1", "https://example.com")),
        (PAYMENT, ("pur_x", True)),
        (PURCHASE_REFUND, ("pur_x", "a reason")),
        (SETTLEMENT, ("rfd_x", "a reference")),
    ],
)
def test_a_replay_is_told_by_the_parameters_it_was_always_told_by(
    command: Reserve, parameters: tuple[Parameter, ...]
) -> None:
    assert replace(command).fingerprint == fingerprint(*parameters)
