"""Whose figures a key shows, and what a request must look like."""

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from iap.broker.v1 import admin_pb2, settlement_pb2

from tests.contract.broker_world.money import euro, new_seller
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.scene import SETTLEMENT_RPCS, Scene
from tests.contract.broker_world.world import World, call, new_id

PAGED_RPCS = ("ListSales", "ListPayouts", "ListProviders")
DIRTY_TIMES = {
    "nanos": Timestamp(nanos=-1),
    "too many nanos": Timestamp(nanos=1_000_000_000),
    "beyond the year 9999": Timestamp(seconds=253_402_300_800),
    "long before": Timestamp(seconds=-(2**63)),
}


@pytest.mark.parametrize("rpc", SETTLEMENT_RPCS)
async def test_a_provider_and_the_operator_see_the_same(scene: Scene, rpc: str) -> None:
    world, request = scene.world, scene.request(rpc)
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    await seller.pay_out()
    request.provider_id = seller.id
    if rpc == "GetStatement":
        request.end_time.seconds = 2**32
    own = await call(world.stubs.method(rpc), request, seller.provider.key)
    assert own == await call(world.stubs.method(rpc), request, world.running.operator_key)
    assert own != type(own)()


@pytest.mark.parametrize("rpc", SETTLEMENT_RPCS)
async def test_another_s_figures_are_denied(scene: Scene, rpc: str) -> None:
    for key in (scene.world.rival.key, scene.account.customer.key):
        refusal = await scene.refused(rpc, scene.request(rpc), key)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert refusal.metadata["required"]


async def test_payouts_are_the_operator_s(world: World) -> None:
    seller = await new_seller(world)
    await seller.sell(euro(1_000))
    request = settlement_pb2.CreatePayoutRequest(request_id=new_id(), provider_id=seller.id, currency="EUR")
    for key in (seller.provider.key, seller.account.customer.key):
        refusal = await refusal_of(call(world.stubs.settlement.CreatePayout, request, key))
        assert refusal.reason == "PERMISSION_DENIED"
    assert await seller.payable() == [euro(750)]
    assert await seller.payouts() == []


@pytest.mark.parametrize("currency", ["ZZZ", "XXX", "XAU"])
async def test_a_payout_is_in_a_currency_with_a_minor_unit(scene: Scene, currency: str) -> None:
    request = scene.request("CreatePayout")
    request.currency = currency
    refusal = await scene.refused("CreatePayout", request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert refusal.fields == ["currency"]


@pytest.mark.parametrize(
    ("rpc", "field", "value"),
    [
        ("CreatePayout", "request_id", "1"),
        ("CreatePayout", "provider_id", ""),
        ("CreatePayout", "provider_id", "p" * 201),
        ("CreatePayout", "provider_id", "a\0b"),
        ("CreatePayout", "currency", ""),
        ("CreatePayout", "currency", "eur"),
        ("CreatePayout", "currency", "EURO"),
        ("MarkPayoutPaid", "request_id", ""),
        ("MarkPayoutPaid", "payout_id", ""),
        ("MarkPayoutPaid", "reference", "r" * 201),
        ("MarkPayoutPaid", "reference", "a\0b"),
        ("MarkPayoutFailed", "request_id", "x"),
        ("MarkPayoutFailed", "payout_id", "a\0b"),
        ("MarkPayoutFailed", "reason", "r" * 201),
        ("MarkPayoutFailed", "reason", "a\0b"),
        *((rpc, "provider_id", value) for rpc in SETTLEMENT_RPCS for value in ("", "p" * 201, "a\0b")),
        *((rpc, "page_size", -1) for rpc in PAGED_RPCS),
        *((rpc, "page_token", value) for rpc in PAGED_RPCS for value in ("nonsense", "t" * 501, "a\0b", "W10=")),
    ],
)
async def test_a_field_that_breaks_its_rule_is_named(scene: Scene, rpc: str, field: str, value: object) -> None:
    request = scene.request(rpc)
    setattr(request, field, value)
    refusal = await scene.refused(rpc, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert refusal.fields == [field]


@pytest.mark.parametrize("rpc", ["ListSales", "GetStatement"])
@pytest.mark.parametrize("field", ["start_time", "end_time"])
@pytest.mark.parametrize("time", DIRTY_TIMES.values(), ids=DIRTY_TIMES)
async def test_a_time_that_is_none_is_named(scene: Scene, rpc: str, field: str, time: Timestamp) -> None:
    request = scene.request(rpc)
    getattr(request, field).CopyFrom(time)
    refusal = await scene.refused(rpc, request)
    assert refusal.reason == "INVALID_ARGUMENT"
    assert refusal.fields in ([field], [f"{field}.nanos"])


@pytest.mark.parametrize("rpc", ["ListSales", "GetStatement"])
async def test_a_period_does_not_end_before_it_begins(scene: Scene, rpc: str) -> None:
    request = scene.request(rpc)
    request.start_time.CopyFrom(Timestamp(seconds=2))
    request.end_time.CopyFrom(Timestamp(seconds=1, nanos=999_999_999))
    refusal = await scene.refused(rpc, request)
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["end_time"])


@pytest.mark.parametrize("field", ["start_time", "end_time"])
async def test_a_statement_is_of_a_period(scene: Scene, field: str) -> None:
    request = scene.request("GetStatement")
    request.ClearField(field)
    refusal = await scene.refused("GetStatement", request)
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", [field])


async def test_a_key_of_the_wrong_kind_learns_nothing_of_providers(scene: Scene) -> None:
    request = admin_pb2.ListProvidersRequest()
    for key in (scene.world.provider.key, scene.account.customer.key):
        assert (await scene.refused("ListProviders", request, key)).reason == "PERMISSION_DENIED"
