"""Who may call what: keys that are missing, unknown, of the wrong kind, or somebody else's."""

from typing import Any

import grpc
import pytest
from iap.broker.v1 import account_pb2, broker_pb2, catalog_pb2, purchase_pb2

from tests.contract.broker_world.refusals import Refusal, refusal_of
from tests.contract.broker_world.scene import (
    ACCOUNT_RPCS,
    ANY_KEY_RPCS,
    BUILT_RPCS,
    CUSTOMER_RPCS,
    OPEN_RPCS,
    OPERATOR_RPCS,
    PROVIDER_RPCS,
    PURCHASE_RPCS,
    SETTLEMENT_RPCS,
    Scene,
)
from tests.contract.broker_world.world import World, answer_of, new_id

KEYED_RPCS = (*PROVIDER_RPCS, *CUSTOMER_RPCS, *OPERATOR_RPCS)
BY_ACCOUNT_ID = ACCOUNT_RPCS


def by_account_id(scene: Scene, rpc: str) -> Any:
    request = scene.request(rpc)
    request.account_id = scene.account.id
    return request


def assert_denied(refusal: Refusal) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert refusal.metadata["required"]


@pytest.mark.parametrize("rpc", [*KEYED_RPCS, *SETTLEMENT_RPCS, *PURCHASE_RPCS, *ANY_KEY_RPCS])
async def test_a_call_that_needs_a_key_is_refused_without_one(scene: Scene, rpc: str) -> None:
    refusal = await scene.refused(rpc, scene.request(rpc), key="")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING")
    assert refusal.metadata == {}


@pytest.mark.parametrize("rpc", BY_ACCOUNT_ID)
async def test_an_account_named_by_id_needs_a_key(scene: Scene, rpc: str) -> None:
    refusal = await scene.refused(rpc, by_account_id(scene, rpc), key="")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING")


@pytest.mark.parametrize("rpc", BUILT_RPCS)
async def test_a_key_that_is_unknown_or_malformed_is_refused_everywhere(scene: Scene, rpc: str) -> None:
    method = scene.world.stubs.method(rpc)
    for header in ("Bearer unknown", "Bearer ", "Bearer", "", "Basic dXNlcjpwYXNz", "unknown", "bearer  a b"):
        refusal = await refusal_of(answer_of(method(scene.request(rpc), metadata=(("authorization", header),))))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID"), header
        assert refusal.metadata == {}, header


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_bearer_in_any_case(scene: Scene, scheme: str) -> None:
    method = scene.world.stubs.broker.CheckCredits
    header = f"{scheme} {scene.world.provider.key}"
    assert (await method(scene.request("CheckCredits"), metadata=(("authorization", header),))).sufficient


async def test_a_key_without_its_scheme_is_refused(scene: Scene) -> None:
    method = scene.world.stubs.broker.CheckCredits
    header = (("authorization", scene.world.provider.key),)
    assert (await refusal_of(method(scene.request("CheckCredits"), metadata=header))).reason == "CREDENTIALS_INVALID"


async def test_an_account_token_is_no_key(scene: Scene) -> None:
    refusal = await scene.refused("GetBalance", by_account_id(scene, "GetBalance"), scene.account.token)
    assert refusal.reason == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("rpc", ["Reserve", "Charge", "CheckCredits", "ListReservations", *ACCOUNT_RPCS])
async def test_a_key_is_no_account_token(scene: Scene, rpc: str) -> None:
    for secret in (scene.world.provider.key, scene.account.customer.key):
        request = scene.request(rpc)
        request.account_token = secret
        refusal = await scene.refused(rpc, request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
        assert refusal.resource[0] == "account"
        assert secret not in f"{refusal.message}{refusal.metadata}{refusal.others}", "a secret is never repeated"


async def test_a_revoked_key_is_refused(forgetful_world: World) -> None:
    world = forgetful_world
    account = await world.new_account()
    provider = await world.new_provider()
    service = await world.new_service(provider=provider)
    world.running.sql("UPDATE keys SET revoke_time = create_time WHERE owner_id = ?", provider.id)
    refusal = await refusal_of(world.reserve(account, 1, key=provider.key))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
    found = await world.call(world.stubs.catalog.GetService, catalog_pb2.GetServiceRequest(service=service))
    assert found.service.provider_id == provider.id


@pytest.mark.parametrize("rpc", KEYED_RPCS)
async def test_a_key_of_the_wrong_kind_is_denied(scene: Scene, rpc: str) -> None:
    world = scene.world
    keys = {"operator": world.running.operator_key, "provider": world.provider.key, "cust": scene.account.customer.key}
    wrong = [key for key in keys.values() if key != scene.key(rpc)]
    assert len(wrong) == 2
    for key in wrong:
        assert_denied(await scene.refused(rpc, scene.request(rpc), key))


@pytest.mark.parametrize("rpc", ["Reserve", "Charge", "CheckCredits", "ListReservations"])
async def test_a_provider_cannot_use_the_token_of_another_s_service(scene: Scene, rpc: str) -> None:
    assert_denied(await scene.refused(rpc, scene.request(rpc), scene.world.rival.key))


async def test_a_provider_cannot_look_for_reservations_with_the_token_of_another_s_service(scene: Scene) -> None:
    request = broker_pb2.GetReservationRequest(request_id=new_id(), account_token=scene.account.token)
    assert_denied(await scene.refused("GetReservation", request, scene.world.rival.key))


@pytest.mark.parametrize("rpc", ["UpdateService", "CreatePack", "ArchivePack"])
async def test_a_provider_cannot_change_another_s_goods(scene: Scene, rpc: str) -> None:
    assert_denied(await scene.refused(rpc, scene.request(rpc), scene.world.rival.key))
    listed = await scene.world.call(
        scene.world.stubs.catalog.ListPacks, catalog_pb2.ListPacksRequest(service=scene.account.service, page_size=1000)
    )
    assert scene.pack_id in [pack.pack_id for pack in listed.packs]


@pytest.mark.parametrize("rpc", BY_ACCOUNT_ID)
async def test_a_customer_cannot_use_another_s_account(scene: Scene, rpc: str) -> None:
    stranger = await scene.world.new_customer()
    assert_denied(await scene.refused(rpc, by_account_id(scene, rpc), stranger.key))


@pytest.mark.parametrize("rpc", BY_ACCOUNT_ID)
async def test_a_provider_cannot_name_an_account_by_its_id(scene: Scene, rpc: str) -> None:
    assert_denied(await scene.refused(rpc, by_account_id(scene, rpc), scene.world.provider.key))


async def test_a_customer_cannot_rotate_the_token_of_another_s_account(scene: Scene) -> None:
    stranger = await scene.world.new_customer()
    assert_denied(await scene.refused("RotateAccountToken", scene.request("RotateAccountToken"), stranger.key))


async def test_an_operator_does_not_buy_for_customers(scene: Scene) -> None:
    request = by_account_id(scene, "CreatePurchase")
    assert_denied(await scene.refused("CreatePurchase", request, scene.world.running.operator_key))


@pytest.mark.parametrize("rpc", PURCHASE_RPCS)
async def test_a_provider_neither_reads_nor_refunds_purchases(scene: Scene, rpc: str) -> None:
    assert_denied(await scene.refused(rpc, scene.request(rpc), scene.world.provider.key))


@pytest.mark.parametrize("key", ["customer", "operator"])
async def test_a_purchase_is_shown_to_its_customer_and_to_the_operator(scene: Scene, key: str) -> None:
    keys = {"customer": scene.account.customer.key, "operator": scene.world.running.operator_key}
    request = scene.request("GetPurchase")
    shown = await scene.world.call(scene.world.stubs.purchases.GetPurchase, request, keys[key])
    assert shown.purchase.purchase_id == scene.purchase_id


async def test_an_account_token_shows_the_account_s_purchases_and_no_others(scene: Scene) -> None:
    world = scene.world
    request = purchase_pb2.GetPurchaseRequest(purchase_id=scene.purchase_id, account_token=scene.account.token)
    shown = await world.call(world.stubs.purchases.GetPurchase, request)
    assert shown.purchase.purchase_id == scene.purchase_id
    request.account_token = (await world.new_account()).token
    refusal = await scene.refused("GetPurchase", request, key="")
    assert (refusal.reason, refusal.resource) == ("PURCHASE_NOT_FOUND", ("purchase", scene.purchase_id))
    request.account_token = "unknown"
    assert (await scene.refused("GetPurchase", request, key="")).reason == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize("rpc", OPEN_RPCS)
async def test_whoever_calls_is_let_in_where_no_key_is_needed(scene: Scene, rpc: str) -> None:
    request = scene.request(rpc)
    if rpc == "CompleteSandboxPayment":
        request.purchase_id = (await scene.world.purchase(scene.account, scene.pack_id)).purchase_id
        request.outcome = purchase_pb2.SANDBOX_OUTCOME_FAILED
    for key in ("", scene.world.rival.key, scene.account.customer.key):
        await scene.world.call(scene.world.stubs.method(rpc), request, key)


async def test_a_customer_s_key_opens_its_account_by_id(scene: Scene) -> None:
    world, account = scene.world, scene.account
    by_id = account_pb2.GetBalanceRequest(account_id=account.id)
    found = await world.call(world.stubs.accounts.GetBalance, by_id, account.customer.key)
    assert found == await world.holdings(account)
