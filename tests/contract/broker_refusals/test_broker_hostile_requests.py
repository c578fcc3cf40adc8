"""Requests that no honest client sends, and the largest that one may send."""

import base64
import json
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from iap.broker.v1 import broker_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.scene import Scene
from tests.contract.broker_world.world import World, new_id


async def first_page_token(scene: Scene, rpc: str) -> str:
    """Returns an honest token of a list's first page, having made sure that there is a second."""
    world = scene.world
    scene.expect_movement()
    await world.reserved(scene.account, 1)
    await world.capture(await world.reserved(scene.account, 1))
    await world.new_pack(scene.account.service)
    await world.new_service()
    request = scene.request(rpc)
    request.page_size = 1
    token: str = (await world.call(world.stubs.method(rpc), request, scene.key(rpc))).next_page_token
    assert token
    return token


def forge(token: str, cursor: list[Any]) -> str:
    """Returns a token of the same request, going on somewhere else."""
    fingerprint, _ = json.loads(base64.urlsafe_b64decode(token))
    return base64.urlsafe_b64encode(json.dumps([fingerprint, cursor]).encode()).decode()


@pytest.mark.parametrize(
    ("rpc", "cursor"),
    [
        ("ListReservations", [10**30, "x"]),
        ("ListReservations", [-(10**30), "x"]),
        ("ListReservations", [2**63, "x"]),
        ("ListReservations", [1, "\ud800"]),
        ("ListEntries", [10**30]),
        ("ListEntries", [2**63]),
        ("ListPacks", [2**63, "x"]),
        ("ListPacks", [1, "\ud800"]),
        ("ListServices", ["\ud800"]),
        ("ListServices", [1]),
        ("ListEntries", [True]),
        ("ListEntries", [1.5]),
        ("ListEntries", [1, 2]),
        ("ListEntries", []),
    ],
)
async def test_a_forged_page_token_is_an_invalid_field_and_no_bug(scene: Scene, rpc: str, cursor: list[Any]) -> None:
    request = scene.request(rpc)
    request.page_token = forge(await first_page_token(scene, rpc), cursor)
    method = scene.world.stubs.method(rpc)
    refusal = await refusal_of(scene.world.call(method, request, scene.key(rpc)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert refusal.fields == ["page_token"]


@pytest.mark.parametrize("token", ["[" * 370, "NaN", "[[],[]]", '{"a":1,"b":[1]}', "1e999", "[1,[1]]"])
async def test_a_page_token_of_strange_json_is_an_invalid_field(scene: Scene, token: str) -> None:
    request = scene.request("ListEntries")
    request.page_token = base64.urlsafe_b64encode(token.encode()).decode()
    assert (await scene.refused("ListEntries", request)).fields == ["page_token"]


async def test_the_largest_request_is_taken_as_it_is(world: World) -> None:
    account = await world.new_account(trial_credits=10**12)
    labels = {f"{number:02}" + "ü" * 62: "😀" * 500 for number in range(32)}
    description = "😀" * 500
    reserved = await world.reserve(account, 10**12, description=description, metadata=labels)
    assert dict(reserved.reservation.metadata) == labels
    assert reserved.reservation.description == description
    await world.capture(reserved.reservation.reservation_id)
    assert (await world.entries(account))[-1].description == description
    assert await world.balance(account) == (0, 0, 0)


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE accounts; --", "%s {0} {credits}", "\u202e\u0000".strip("\0"), "\x01\x7f"]
)
async def test_texts_are_kept_as_given(world: World, text: str) -> None:
    account = await world.new_account()
    reserved = await world.reserve(account, 1, description=text, metadata={text: text})
    found = await world.reservation(reserved.reservation.reservation_id)
    assert (found.description, dict(found.metadata)) == (text, {text: text})


async def test_a_name_in_braces_is_refused_without_a_bug(scene: Scene) -> None:
    request = broker_pb2.CaptureRequest(request_id=new_id(), reservation_id="rsv_{reserved}{0}%s")
    refusal = await scene.refused("Capture", request)
    assert (refusal.reason, refusal.resource[1]) == ("RESERVATION_NOT_FOUND", "rsv_{reserved}{0}%s")


@pytest.mark.parametrize("nanos", [1, 999])
async def test_a_ttl_finer_than_a_microsecond_is_cut_off(world: World, nanos: int) -> None:
    account = await world.new_account()
    request = broker_pb2.ReserveRequest(
        request_id=new_id(), account_token=account.token, credits=1, ttl=Duration(seconds=1, nanos=nanos)
    )
    reservation = (await world.call(world.stubs.broker.Reserve, request, world.provider.key)).reservation
    assert reservation.expire_time.ToNanoseconds() - reservation.create_time.ToNanoseconds() == 10**9


async def test_a_message_that_cannot_be_parsed_names_no_field_and_is_no_bug(world: World) -> None:
    method: Any = world.running.channel.unary_unary("/iap.broker.v1.BrokerService/Reserve")
    header = (("authorization", f"Bearer {world.provider.key}"),)
    refusal = await refusal_of(method(b"\xff\xff\xff", metadata=header))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
