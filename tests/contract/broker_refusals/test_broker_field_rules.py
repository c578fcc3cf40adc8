"""Every rule that stands on a request's fields is held, and the field is named."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.contract.broker_world.scene import BUILT_RPCS, Scene
from tests.databases import DatabaseKind, only_on

# The amounts, which are edge cases of the ledger, are refused on both.
on_sqlite = only_on(DatabaseKind.SQLITE, reason="the rules are checked before anything is asked of the database")

Spoil = Callable[[Any], object]

WITH_REQUEST_ID = [
    "Reserve",
    "Capture",
    "Release",
    "Extend",
    "Charge",
    "Refund",
    "OpenAccount",
    "RotateAccountToken",
    "CreateService",
    "CreatePack",
    "RegisterProvider",
    "RegisterCustomer",
    "IssueKey",
    "GrantCredits",
    "CreatePurchase",
    "CompleteSandboxPayment",
    "RefundPurchase",
    "CreateWebhook",
]
WITH_ACCOUNT_TOKEN = [
    "Reserve",
    "Charge",
    "CheckCredits",
    "ListReservations",
    "GetBalance",
    "ListEntries",
    "CreatePurchase",
    "ListPurchases",
]
WITH_PAGES = [
    "ListReservations",
    "ListEntries",
    "ListServices",
    "ListPacks",
    "ListKeys",
    "ListPurchases",
    "ListPaymentNotices",
    "ListOwedRefunds",
    "ListEvents",
    "ListWebhooks",
]
# Would change what the scene's other tests need, were they to name something that exists.
UNHEARD = {
    "Capture": "reservation_id",
    "Release": "reservation_id",
    "Extend": "reservation_id",
    "Refund": "reservation_id",
    "ArchivePack": "pack_id",
    "CompleteSandboxPayment": "purchase_id",
    "RefundPurchase": "purchase_id",
    "RotateAccountToken": "account_id",
    "RevokeKey": "key_id",
    "SuspendAccount": "account_id",
    "SuspendProvider": "provider_id",
    "CreatePayout": "provider_id",
    "MarkPayoutPaid": "payout_id",
    "MarkPayoutFailed": "payout_id",
    "DeleteWebhook": "webhook_id",
    "MarkRefundPaid": "refund_id",
}
OWNERS_AND_KEYS = [
    ("RotateAccountToken", "account_id"),
    ("GrantCredits", "account_id"),
    ("SuspendAccount", "account_id"),
    ("ResumeAccount", "account_id"),
    ("RevokeKey", "key_id"),
    ("IssueKey", "provider_id"),
    ("IssueKey", "customer_id"),
    ("ListKeys", "provider_id"),
    ("ListKeys", "customer_id"),
    ("SuspendProvider", "provider_id"),
    ("ResumeProvider", "provider_id"),
    ("SetCommission", "provider_id"),
    ("SetLowBalanceAlert", "account_id"),
    ("DeleteWebhook", "webhook_id"),
]
LONG = "x" * 201
TOO_MANY_CREDITS = 10**12 + 1


async def assert_field_refused(scene: Scene, rpc: str, spoil: Spoil, *fields: str) -> None:
    request = scene.request(rpc)
    spoil(request)
    refusal = await scene.refused(rpc, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert refusal.fields == list(fields)
    assert refusal.metadata == {"field": fields[0]}


def put(**values: Any) -> Spoil:
    def spoil(request: Any) -> None:
        for name, value in values.items():
            setattr(request, name, value)

    return spoil


@on_sqlite
# WatchEvents answers nothing until something happens.
@pytest.mark.parametrize("rpc", [rpc for rpc in BUILT_RPCS if rpc != "WatchEvents"])
async def test_the_request_that_the_others_spoil_breaks_no_rule(scene: Scene, rpc: str) -> None:
    request = scene.request(rpc)
    if rpc in UNHEARD:
        # An unknown resource comes after the field rules.
        setattr(request, UNHEARD[rpc], "unknown")
        refusal = await scene.refused(rpc, request)
        assert refusal.reason.endswith("_NOT_FOUND")
    else:
        scene.expect_movement()
        await scene.world.call(scene.world.stubs.method(rpc), request, scene.key(rpc))


@on_sqlite
@pytest.mark.parametrize("rpc", WITH_REQUEST_ID)
@pytest.mark.parametrize(
    "request_id",
    [
        "",
        "1",
        "not-a-uuid",
        "6ba7b8109dad11d180b400c04fd430c8",
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8\n",
        " 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    ],
)
async def test_a_request_id_that_is_no_uuid_is_refused(scene: Scene, rpc: str, request_id: str) -> None:
    await assert_field_refused(scene, rpc, put(request_id=request_id), "request_id")


@on_sqlite
@pytest.mark.parametrize("rpc", WITH_ACCOUNT_TOKEN)
@pytest.mark.parametrize("token", ["", LONG, "a\0b"])
async def test_an_account_token_has_1_to_200_characters_and_no_nul(scene: Scene, rpc: str, token: str) -> None:
    await assert_field_refused(scene, rpc, put(account_token=token), "account_token")


@pytest.mark.parametrize("rpc", ["GetBalance", "ListEntries", "CreatePurchase", "ListPurchases"])
async def test_one_way_of_naming_the_account_must_be_given(scene: Scene, rpc: str) -> None:
    await assert_field_refused(scene, rpc, lambda request: request.ClearField("account_token"), "account")


@on_sqlite
@pytest.mark.parametrize("rpc", ["Capture", "Release", "Extend", "Refund"])
@pytest.mark.parametrize("reservation_id", ["", LONG, "a\0b"])
async def test_a_reservation_id_has_1_to_200_characters_and_no_nul(scene: Scene, rpc: str, reservation_id: str) -> None:
    await assert_field_refused(scene, rpc, put(reservation_id=reservation_id), "reservation_id")


@pytest.mark.parametrize("rpc", ["Reserve", "Charge", "Refund", "CheckCredits", "CreatePack", "GrantCredits"])
@pytest.mark.parametrize("credits_asked", [0, -1, TOO_MANY_CREDITS, 2**63 - 1, -(2**63)])
async def test_credits_are_from_1_to_10_to_the_12th(scene: Scene, rpc: str, credits_asked: int) -> None:
    await assert_field_refused(scene, rpc, put(credits=credits_asked), "credits")


@pytest.mark.parametrize("credits_asked", [-1, TOO_MANY_CREDITS, 2**63 - 1, -(2**63)])
async def test_captured_credits_are_from_0_to_10_to_the_12th(scene: Scene, credits_asked: int) -> None:
    await assert_field_refused(scene, "Capture", put(credits=credits_asked), "credits")


@pytest.mark.parametrize("credits_asked", [-1, TOO_MANY_CREDITS, 2**63 - 1, -(2**63)])
async def test_additional_credits_are_from_0_to_10_to_the_12th(scene: Scene, credits_asked: int) -> None:
    spoil = put(additional_credits=credits_asked)
    if credits_asked > 0:
        await assert_field_refused(scene, "Extend", spoil, "additional_credits")
    else:
        await assert_field_refused(scene, "Extend", spoil, "ttl", "additional_credits")


async def test_an_extension_must_give_time_or_credits(scene: Scene) -> None:
    await assert_field_refused(scene, "Extend", put(additional_credits=0), "ttl")


@pytest.mark.parametrize("ttl", [{"seconds": 0}, {"nanos": 999_999_999}, {"seconds": 2_592_001}, {"seconds": -1}])
async def test_a_life_is_extended_by_1_second_to_30_days(scene: Scene, ttl: dict[str, int]) -> None:
    await assert_field_refused(scene, "Extend", lambda request: request.ttl.MergeFrom(Duration(**ttl)), "ttl")


@pytest.mark.parametrize("overlap", [{"seconds": -1}, {"nanos": -1}, {"seconds": 2_592_000, "nanos": 1}])
async def test_an_overlap_is_at_most_30_days(scene: Scene, overlap: dict[str, int]) -> None:
    spoil: Spoil = lambda request: request.overlap.MergeFrom(Duration(**overlap))  # noqa: E731
    await assert_field_refused(scene, "RotateAccountToken", spoil, "overlap")


@pytest.mark.parametrize("kind", [1, 4, -1])
async def test_credits_are_granted_as_trial_or_promotional(scene: Scene, kind: int) -> None:
    await assert_field_refused(scene, "GrantCredits", put(kind=kind), "kind")


@pytest.mark.parametrize("priority", [-1, 1_001])
async def test_a_priority_is_from_0_to_1000(scene: Scene, priority: int) -> None:
    await assert_field_refused(scene, "GrantCredits", put(priority=priority), "priority")


async def test_a_grant_does_not_expire_before_1970(scene: Scene) -> None:
    spoil: Spoil = lambda request: setattr(request.expire_time, "seconds", -1)  # noqa: E731
    await assert_field_refused(scene, "GrantCredits", spoil, "expire_time")


@pytest.mark.parametrize("rate", [-1, 10_001])
async def test_a_commission_is_from_0_to_10_000_basis_points(scene: Scene, rate: int) -> None:
    await assert_field_refused(scene, "SetCommission", put(commission_basis_points=rate), "commission_basis_points")


async def test_a_key_needs_an_owner(scene: Scene) -> None:
    await assert_field_refused(scene, "IssueKey", lambda request: request.ClearField("provider_id"), "owner")
    await assert_field_refused(scene, "IssueKey", put(operator=False), "operator")
    await assert_field_refused(scene, "ListKeys", put(operator=False), "operator")


@on_sqlite
@pytest.mark.parametrize(
    ("rpc", "field", "longest"),
    [
        ("Reserve", "description", 500),
        ("Charge", "description", 500),
        ("Release", "reason", 500),
        ("Refund", "reason", 500),
        ("GrantCredits", "reason", 500),
        ("SuspendAccount", "reason", 500),
        ("SuspendProvider", "reason", 500),
        ("IssueKey", "title", 100),
        ("CreateService", "title", 100),
        ("CreateService", "description", 2_000),
        ("CreateService", "unit_name", 40),
        ("CreatePack", "title", 100),
        ("RegisterProvider", "name", 100),
        ("RegisterCustomer", "name", 100),
    ],
)
async def test_texts_are_neither_too_long_nor_hold_nul(scene: Scene, rpc: str, field: str, longest: int) -> None:
    await assert_field_refused(scene, rpc, put(**{field: "ü" * (longest + 1)}), field)
    await assert_field_refused(scene, rpc, put(**{field: "a\0b"}), field)


@on_sqlite
@pytest.mark.parametrize(
    ("rpc", "field"),
    [
        ("CreateService", "title"),
        ("CreatePack", "title"),
        ("CreatePack", "service"),
        ("OpenAccount", "service"),
        ("GetService", "service"),
        ("ListPacks", "service"),
        ("RegisterProvider", "name"),
        ("RegisterCustomer", "name"),
        ("ArchivePack", "pack_id"),
        ("CreatePurchase", "pack_id"),
        ("CompleteSandboxPayment", "purchase_id"),
        ("GetPurchase", "purchase_id"),
        ("RefundPurchase", "purchase_id"),
        *OWNERS_AND_KEYS,
    ],
)
async def test_a_required_text_must_be_given(scene: Scene, rpc: str, field: str) -> None:
    await assert_field_refused(scene, rpc, put(**{field: ""}), field)


@on_sqlite
@pytest.mark.parametrize(
    ("rpc", "field"),
    [("OpenAccount", "service"), ("GetService", "service"), ("ListPacks", "service"), ("CreatePack", "service")],
)
async def test_a_name_of_a_service_has_at_most_63_characters(scene: Scene, rpc: str, field: str) -> None:
    await assert_field_refused(scene, rpc, put(**{field: "s" * 64}), field)


@on_sqlite
@pytest.mark.parametrize(
    ("rpc", "field"),
    [
        ("ArchivePack", "pack_id"),
        ("CreatePurchase", "pack_id"),
        ("CompleteSandboxPayment", "purchase_id"),
        ("GetPurchase", "purchase_id"),
        ("RefundPurchase", "purchase_id"),
        *OWNERS_AND_KEYS,
    ],
)
async def test_an_id_has_at_most_200_characters(scene: Scene, rpc: str, field: str) -> None:
    await assert_field_refused(scene, rpc, put(**{field: LONG}), field)


@on_sqlite
@pytest.mark.parametrize("rpc", WITH_PAGES)
async def test_a_page_size_is_not_negative(scene: Scene, rpc: str) -> None:
    await assert_field_refused(scene, rpc, put(page_size=-1), "page_size")


@on_sqlite
@pytest.mark.parametrize("rpc", WITH_PAGES)
@pytest.mark.parametrize("token", ["garbage", "e30=", "W10=", "bnVsbA==", "MQ==", "ÿ", "=", "x" * 501])
async def test_a_garbled_page_token_is_refused(scene: Scene, rpc: str, token: str) -> None:
    await assert_field_refused(scene, rpc, put(page_token=token), "page_token")


@pytest.mark.parametrize("state", [5, -1, 2**31 - 1])
async def test_a_state_to_list_must_be_one_of_the_contract(scene: Scene, state: int) -> None:
    await assert_field_refused(scene, "ListReservations", put(state=state), "state")


@pytest.mark.parametrize("outcome", [0, 3, -1])
async def test_a_sandbox_outcome_must_be_given(scene: Scene, outcome: int) -> None:
    await assert_field_refused(scene, "CompleteSandboxPayment", put(outcome=outcome), "outcome")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({str(number): "" for number in range(33)}, "metadata"),
        ({"": "value"}, 'metadata[""]'),
        ({"k" * 65: "value"}, f'metadata["{"k" * 65}"]'),
        ({"key": "v" * 501}, 'metadata["key"]'),
        ({"k\0": "value"}, 'metadata["k\\u0000"]'),
        ({"key": "v\0"}, 'metadata["key"]'),
    ],
)
@pytest.mark.parametrize("rpc", ["Reserve", "Charge"])
async def test_labels_are_few_short_and_without_nul(
    scene: Scene, rpc: str, metadata: dict[str, str], field: str
) -> None:
    await assert_field_refused(scene, rpc, lambda request: request.metadata.update(metadata), field)


@pytest.mark.parametrize(
    ("reservation_id", "request_id", "account_token", "fields"),
    [
        ("", "", "", ["reservation_id"]),
        ("rsv", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "", ["reservation_id"]),
        ("rsv", "", "token", ["reservation_id"]),
        ("", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "", ["reservation_id"]),
        ("", "", "token", ["reservation_id"]),
        ("", "no-uuid", "token", ["request_id"]),
        (LONG, "", "", ["reservation_id"]),
    ],
)
async def test_a_reservation_is_named_in_exactly_one_way(
    scene: Scene, reservation_id: str, request_id: str, account_token: str, fields: list[str]
) -> None:
    spoil = put(reservation_id=reservation_id, request_id=request_id, account_token=account_token)
    await assert_field_refused(scene, "GetReservation", spoil, *fields)


async def test_every_broken_field_is_named(scene: Scene) -> None:
    spoil = put(request_id="no", account_token="", credits=0, description="\0")
    await assert_field_refused(scene, "Reserve", spoil, "request_id", "account_token", "credits", "description")


@pytest.mark.parametrize("outcome", [5, -1, 2**31 - 1])
async def test_an_outcome_to_list_must_be_one_of_the_contract(scene: Scene, outcome: int) -> None:
    await assert_field_refused(scene, "ListPaymentNotices", put(outcome=outcome), "outcome")


@pytest.mark.parametrize("purchase_id", [LONG, "a\0b"])
async def test_a_purchase_to_list_notices_of_has_at_most_200_characters_and_no_nul(
    scene: Scene, purchase_id: str
) -> None:
    await assert_field_refused(scene, "ListPaymentNotices", put(purchase_id=purchase_id), "purchase_id")


@pytest.mark.parametrize("token", [LONG, "a\0b"])
async def test_a_token_to_read_a_purchase_with_has_at_most_200_characters_and_no_nul(scene: Scene, token: str) -> None:
    await assert_field_refused(scene, "GetPurchase", put(account_token=token), "account_token")


@pytest.mark.parametrize("reason", ["x" * 501, "a\0b"])
async def test_the_reason_of_a_purchase_s_refund_has_at_most_500_characters_and_no_nul(
    scene: Scene, reason: str
) -> None:
    await assert_field_refused(scene, "RefundPurchase", put(reason=reason), "reason")
