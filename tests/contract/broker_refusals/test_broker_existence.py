"""What does not exist, or not for this caller."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from iap.broker.v1 import broker_pb2, purchase_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.scene import SETTLEMENT_RPCS, Scene
from tests.contract.broker_world.world import World, new_id, new_name

RESERVATION_RPCS = ["Capture", "Release", "Extend", "Refund", "GetReservation"]


async def assert_not_found(scene: Scene, rpc: str, kind: str, field: str, name: str, *, key: str | None = None) -> None:
    request = scene.request(rpc)
    setattr(request, field, name)
    refusal = await scene.refused(rpc, request, key)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, f"{kind.upper()}_NOT_FOUND")
    assert refusal.resource == (kind, name)
    assert refusal.metadata == {"service" if kind == "service" else f"{kind}_id": name}


@pytest.mark.parametrize("rpc", ["GetService", "ListPacks", "OpenAccount", "CreatePack"])
async def test_an_unknown_service_is_not_found(scene: Scene, rpc: str) -> None:
    await assert_not_found(scene, rpc, "service", "service", new_name())


async def test_an_unknown_service_cannot_be_updated(scene: Scene) -> None:
    request = scene.request("UpdateService")
    request.service.service = name = new_name()
    refusal = await scene.refused("UpdateService", request)
    assert (refusal.reason, refusal.resource) == ("SERVICE_NOT_FOUND", ("service", name))


@pytest.mark.parametrize("rpc", ["ArchivePack", "CreatePurchase"])
@pytest.mark.parametrize("name", ["pck_unknown", "unknown", "'; DROP TABLE packs; --", "p" * 200])
async def test_an_unknown_pack_is_not_found(scene: Scene, rpc: str, name: str) -> None:
    await assert_not_found(scene, rpc, "pack", "pack_id", name)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "unknown",
        lambda _: "pur__",
        lambda it: it[:-1],
        lambda it: it + "a",
        lambda it: it.upper(),
        lambda it: it.replace("pur_", "rsv_"),
        lambda it: f"pur_{'a' * 24}_{it.split('_')[2]}",
        lambda it: f"pur_{'😀' * 24}_x",
    ],
)
@pytest.mark.parametrize("rpc", ["CompleteSandboxPayment", "GetPurchase", "RefundPurchase"])
async def test_an_unknown_purchase_is_not_found(scene: Scene, rpc: str, change: Callable[[str], str]) -> None:
    await assert_not_found(scene, rpc, "purchase", "purchase_id", change(scene.purchase_id))


@pytest.mark.parametrize("rpc", ["GetPurchase", "RefundPurchase"])
async def test_another_customer_s_purchase_is_told_from_an_unknown_one_by_nothing(scene: Scene, rpc: str) -> None:
    stranger = await scene.world.new_customer()
    await assert_not_found(scene, rpc, "purchase", "purchase_id", scene.purchase_id, key=stranger.key)


@pytest.mark.parametrize("rpc", RESERVATION_RPCS)
@pytest.mark.parametrize(
    "change",
    [
        lambda _: "unknown",
        lambda _: "rsv__",
        lambda _: "_" * 200,
        lambda _: "😀" * 200,
        lambda it: it[:-1],
        lambda it: it.upper(),
        lambda it: it.replace("rsv_", "pur_"),
        lambda it: f"rsv_{'a' * 24}_{it.split('_')[2]}",
        lambda it: f"rsv_{'😀' * 24}_x",
    ],
)
async def test_an_unknown_reservation_is_not_found(scene: Scene, rpc: str, change: Callable[[str], str]) -> None:
    await assert_not_found(scene, rpc, "reservation", "reservation_id", change(scene.reservation_id))


@pytest.mark.parametrize("rpc", RESERVATION_RPCS)
async def test_another_provider_s_reservation_is_told_from_an_unknown_one_by_nothing(scene: Scene, rpc: str) -> None:
    rival = scene.world.rival.key
    await assert_not_found(scene, rpc, "reservation", "reservation_id", scene.reservation_id, key=rival)


async def test_a_reservation_that_no_request_made_is_not_found(scene: Scene) -> None:
    request = broker_pb2.GetReservationRequest(request_id=new_id(), account_token=scene.account.token)
    refusal = await scene.refused("GetReservation", request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "RESERVATION_NOT_FOUND")
    assert refusal.resource[0] == "reservation"


async def test_a_reservation_is_found_by_its_request_in_either_case(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reserved = await world.reserve(account, 5, request_id=request_id, metadata={"job": "7"}, description="Seven")
    for written in (request_id, request_id.upper()):
        request = broker_pb2.GetReservationRequest(request_id=written, account_token=account.token)
        found = await world.call(world.stubs.broker.GetReservation, request, world.provider.key)
        assert found.reservation == reserved.reservation
    assert dict(reserved.reservation.metadata) == {"job": "7"}
    assert reserved.reservation.description == "Seven"


async def test_another_account_s_request_finds_nothing(world: World) -> None:
    account, other = await world.new_account(), await world.new_account()
    request_id = new_id()
    await world.reserve(account, 5, request_id=request_id)
    request = broker_pb2.GetReservationRequest(request_id=request_id, account_token=other.token)
    refusal = await refusal_of(world.call(world.stubs.broker.GetReservation, request, world.provider.key))
    assert refusal.reason == "RESERVATION_NOT_FOUND"


@pytest.mark.parametrize("rpc", ["Reserve", "Charge", "CheckCredits", "ListReservations", "GetBalance", "ListEntries"])
@pytest.mark.parametrize("token", ["unknown", "iap_acct_unknown", "😀" * 200])
async def test_an_unknown_account_token_is_not_found(scene: Scene, rpc: str, token: str) -> None:
    request: Any = scene.request(rpc)
    request.account_token = token
    refusal = await scene.refused(rpc, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
    assert refusal.resource[0] == "account"
    assert "account_id" not in refusal.metadata


@pytest.mark.parametrize("rpc", ["GrantCredits", "SuspendAccount", "ResumeAccount"])
@pytest.mark.parametrize("name", ["acc_unknown", "unknown", "😀" * 200, f"acc_{'a' * 24}", "rsv_x"])
async def test_an_unknown_account_is_not_found_for_the_operator(scene: Scene, rpc: str, name: str) -> None:
    await assert_not_found(scene, rpc, "account", "account_id", name)


@pytest.mark.parametrize(
    "rpc", ["SuspendProvider", "ResumeProvider", "SetCommission", "IssueKey", "CreatePayout", *SETTLEMENT_RPCS]
)
@pytest.mark.parametrize("name", ["unknown", "😀" * 200])
async def test_an_unknown_provider_is_not_found(scene: Scene, rpc: str, name: str) -> None:
    await assert_not_found(scene, rpc, "provider", "provider_id", name)


@pytest.mark.parametrize("rpc", ["MarkPayoutPaid", "MarkPayoutFailed"])
@pytest.mark.parametrize("name", ["unknown", "pay_unknown", "'; DROP TABLE payouts; --", "😀" * 200])
async def test_an_unknown_payout_is_not_found(scene: Scene, rpc: str, name: str) -> None:
    await assert_not_found(scene, rpc, "payout", "payout_id", name)


@pytest.mark.parametrize("name", ["unknown", "rfd_unknown", f"rfd_{'a' * 24}_{'b' * 24}", "😀" * 200])
async def test_an_unknown_refund_is_not_found(scene: Scene, name: str) -> None:
    await assert_not_found(scene, "MarkRefundPaid", "refund", "refund_id", name)


async def test_a_customer_that_is_unknown_or_a_provider_is_not_found(scene: Scene) -> None:
    for name in ("unknown", scene.world.provider.id):
        await assert_not_found(scene, "IssueKey", "customer", "customer_id", name)


@pytest.mark.parametrize("name", ["unknown", "key_unknown", "'; DROP TABLE keys; --"])
async def test_an_unknown_key_is_not_found(scene: Scene, name: str) -> None:
    await assert_not_found(scene, "RevokeKey", "key", "key_id", name)


@pytest.mark.parametrize("rpc", ["GetBalance", "ListEntries", "CreatePurchase", "RotateAccountToken"])
async def test_an_unknown_account_id_is_not_found(scene: Scene, rpc: str) -> None:
    customer = scene.account.customer.key
    await assert_not_found(scene, rpc, "account", "account_id", "acc_unknown", key=customer)


async def test_a_purchase_of_nothing_is_refused_for_whoever_asks(scene: Scene) -> None:
    request = purchase_pb2.CompleteSandboxPaymentRequest(
        request_id=new_id(), purchase_id=scene.reservation_id, outcome=purchase_pb2.SANDBOX_OUTCOME_FAILED
    )
    assert (await scene.refused("CompleteSandboxPayment", request)).reason == "PURCHASE_NOT_FOUND"
