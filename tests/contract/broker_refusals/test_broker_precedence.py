"""Which error is answered when several apply.

Credentials, field rules, existence, permission, replay, suspension, state, amounts, credits.
"""

from datetime import timedelta

import pytest
from iap.broker.v1 import account_pb2, broker_pb2, purchase_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.scene import (
    ACCOUNT_RPCS,
    ANY_KEY_RPCS,
    CUSTOMER_RPCS,
    OPERATOR_RPCS,
    PROVIDER_RPCS,
    Scene,
)
from tests.contract.broker_world.world import World, new_id

# AuditLedger's request has no field to break.
KEYED_RPCS = tuple(rpc for rpc in (*PROVIDER_RPCS, *CUSTOMER_RPCS, *OPERATOR_RPCS) if rpc != "AuditLedger")


def break_a_field_rule(request: object) -> None:
    names = ("request_id", "account_token", "reservation_id", "pack_id", "account_id", "key_id", "provider_id")
    for name in (*names, "purchase_id"):
        if hasattr(request, name):
            setattr(request, name, "x" * 201)
            return
    if hasattr(request, "types"):
        request.types.append("")
    elif hasattr(request, "webhook_id"):
        request.webhook_id = ""
    elif hasattr(request, "page_size"):
        request.page_size = -1
    else:
        request.ClearField("service")  # type: ignore[attr-defined]  # UpdateService


@pytest.mark.parametrize("rpc", [*KEYED_RPCS, *ANY_KEY_RPCS])
@pytest.mark.parametrize(("key", "reason"), [("", "CREDENTIALS_MISSING"), ("unknown", "CREDENTIALS_INVALID")])
async def test_credentials_come_before_field_rules(scene: Scene, rpc: str, key: str, reason: str) -> None:
    request = scene.request(rpc)
    break_a_field_rule(request)
    assert (await scene.refused(rpc, request, key)).reason == reason


@pytest.mark.parametrize("rpc", ACCOUNT_RPCS)
@pytest.mark.parametrize(("key", "reason"), [("", "CREDENTIALS_MISSING"), ("unknown", "CREDENTIALS_INVALID")])
async def test_credentials_of_an_account_named_by_id_come_before_field_rules(
    scene: Scene, rpc: str, key: str, reason: str
) -> None:
    request = scene.request(rpc)
    request.account_id = "x" * 201
    assert (await scene.refused(rpc, request, key)).reason == reason


@pytest.mark.parametrize("rpc", KEYED_RPCS)
async def test_field_rules_come_before_the_kind_of_key(scene: Scene, rpc: str) -> None:
    request = scene.request(rpc)
    break_a_field_rule(request)
    wrong_key = scene.world.provider.key if rpc not in PROVIDER_RPCS else scene.account.customer.key
    assert (await scene.refused(rpc, request, wrong_key)).reason == "INVALID_ARGUMENT"


@pytest.mark.parametrize("rpc", ["Reserve", "Charge", "CheckCredits", "ListReservations"])
async def test_a_bad_field_comes_before_an_unknown_account(scene: Scene, rpc: str) -> None:
    request = scene.request(rpc)
    request.account_token = "unknown"
    if rpc == "ListReservations":
        request.page_size = -1
    else:
        request.credits = 0
    assert (await scene.refused(rpc, request)).reason == "INVALID_ARGUMENT"


async def test_a_price_too_fine_comes_before_an_unknown_service(scene: Scene) -> None:
    request = scene.request("CreatePack")
    request.service = "unknown"
    request.price.nanos = 1
    assert (await scene.refused("CreatePack", request)).reason == "INVALID_ARGUMENT"


async def test_a_garbled_page_token_comes_before_an_unknown_service(scene: Scene) -> None:
    request = scene.request("ListPacks")
    request.service, request.page_token = "unknown", "garbled"
    assert (await scene.refused("ListPacks", request)).reason == "INVALID_ARGUMENT"


async def test_an_unknown_field_of_a_mask_comes_before_an_unknown_service(scene: Scene) -> None:
    request = scene.request("UpdateService")
    request.service.service = "unknown"
    request.update_mask.paths[:] = ["service"]
    assert (await scene.refused("UpdateService", request)).reason == "INVALID_ARGUMENT"


async def test_an_unknown_pack_comes_before_another_customer_s_account(scene: Scene) -> None:
    stranger = await scene.world.new_customer()
    request = purchase_pb2.CreatePurchaseRequest(request_id=new_id(), pack_id="unknown", account_id=scene.account.id)
    assert (await scene.refused("CreatePurchase", request, stranger.key)).reason == "PACK_NOT_FOUND"


async def test_permission_comes_before_credits_and_suspension(world: World) -> None:
    account = await world.new_account(trial_credits=1)
    world.suspend_account(account)
    assert (await refusal_of(world.reserve(account, 2, key=world.rival.key))).reason == "PERMISSION_DENIED"


async def test_existence_comes_before_replay(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    await world.capture(await world.reserved(account, 5), request_id=request_id)
    refusal = await refusal_of(world.capture(f"rsv_{'a' * 24}_{'b' * 24}", request_id=request_id))
    assert refusal.reason == "RESERVATION_NOT_FOUND"


async def test_another_provider_s_replay_finds_nothing(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5)
    await world.capture(reservation_id, request_id=request_id)
    refusal = await refusal_of(world.capture(reservation_id, request_id=request_id, key=world.rival.key))
    assert refusal.reason == "RESERVATION_NOT_FOUND"


async def test_a_reused_request_id_comes_before_suspension_and_credits(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    await world.reserve(account, 5, request_id=request_id)
    world.suspend_account(account)
    assert (await refusal_of(world.reserve(account, 101, request_id=request_id))).reason == "REQUEST_ID_REUSED"


async def test_a_reused_request_id_comes_before_the_state_and_amounts(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    reservation_id = await world.reserved(account, 5)
    await world.capture(reservation_id, 5, request_id=request_id)
    assert (await refusal_of(world.capture(reservation_id, 6, request_id=request_id))).reason == "REQUEST_ID_REUSED"


async def test_a_reused_request_id_comes_before_an_archived_pack(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    first, second = [await world.new_pack(account.service) for _ in range(2)]
    await world.purchase(account, first.pack_id, request_id=request_id)
    await world.archive(second.pack_id)
    refusal = await refusal_of(world.purchase(account, second.pack_id, request_id=request_id))
    assert refusal.reason == "REQUEST_ID_REUSED"


async def test_a_reused_request_id_comes_before_a_retired_service(world: World) -> None:
    customer, request_id = await world.new_customer(), new_id()
    first, second = [await world.new_service() for _ in range(2)]
    request = account_pb2.OpenAccountRequest(request_id=request_id, service=first)
    await world.call(world.stubs.accounts.OpenAccount, request, customer.key)
    await world.retire(second)
    request.service = second
    refusal = await refusal_of(world.call(world.stubs.accounts.OpenAccount, request, customer.key))
    assert refusal.reason == "REQUEST_ID_REUSED"


async def test_a_ttl_above_the_service_s_comes_before_suspension_and_credits(world: World) -> None:
    service = await world.new_service(trial_credits=1, max_ttl=timedelta(seconds=60))
    account = await world.new_account(service=service)
    too_long = timedelta(seconds=61)
    assert (await refusal_of(world.reserve(account, 2, ttl=too_long))).reason == "INVALID_ARGUMENT"
    world.suspend_account(account)
    assert (await refusal_of(world.reserve(account, 1, ttl=too_long))).reason == "INVALID_ARGUMENT"


async def test_suspension_comes_before_credits(world: World) -> None:
    account = await world.new_account(trial_credits=1)
    world.suspend_account(account)
    assert (await refusal_of(world.reserve(account, 2))).reason == "ACCOUNT_SUSPENDED"


async def test_suspension_comes_before_the_state_of_a_pack(world: World) -> None:
    account = await world.new_account()
    archived = await world.archive((await world.new_pack(account.service)).pack_id)
    foreign = await world.new_pack(await world.new_service())
    world.suspend_account(account)
    for pack in (archived, foreign):
        assert (await refusal_of(world.purchase(account, pack.pack_id))).reason == "ACCOUNT_SUSPENDED"


async def test_the_state_comes_before_the_amount(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    await world.release(reservation_id)
    assert (await refusal_of(world.capture(reservation_id, 6))).reason == "RESERVATION_RELEASED"


async def test_a_resolved_reservation_is_told_after_its_time_as_before(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=timedelta(seconds=1))
    await world.release(reservation_id)
    world.clock.move(timedelta(seconds=2))
    assert (await refusal_of(world.capture(reservation_id))).reason == "RESERVATION_RELEASED"
    assert (await world.reservation(reservation_id)).state == broker_pb2.RESERVATION_STATE_RELEASED
