"""The rules of times, prices, addresses and masks."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, catalog_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.scene import Scene
from tests.contract.broker_world.world import World, new_id

FROM_1_SECOND_TO_30_DAYS = [
    Duration(),
    Duration(nanos=999_999_999),
    Duration(seconds=-1),
    Duration(seconds=2_592_000, nanos=1),
    Duration(seconds=315_576_000_001),
    Duration(seconds=2**63 - 1),
    Duration(seconds=-(2**63)),
]


async def refused_fields(scene: Scene, rpc: str, request: Message) -> list[str]:
    refusal = await scene.refused(rpc, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert refusal.metadata == {"field": refusal.fields[0]}
    return refusal.fields


@pytest.mark.parametrize("ttl", FROM_1_SECOND_TO_30_DAYS)
async def test_a_ttl_is_from_1_second_to_30_days(scene: Scene, ttl: Duration) -> None:
    request = scene.request("Reserve")
    request.ttl.CopyFrom(ttl)
    assert await refused_fields(scene, "Reserve", request) == ["ttl"]


@pytest.mark.parametrize("span", FROM_1_SECOND_TO_30_DAYS)
@pytest.mark.parametrize("field", ["default_ttl", "max_ttl"])
async def test_a_service_lets_reservations_live_from_1_second_to_30_days(
    scene: Scene, field: str, span: Duration
) -> None:
    request = scene.request("CreateService")
    getattr(request, field).CopyFrom(span)
    assert await refused_fields(scene, "CreateService", request) == [field]


@pytest.mark.parametrize("span", FROM_1_SECOND_TO_30_DAYS)
async def test_both_lives_of_reservations_are_checked_when_both_are_given(scene: Scene, span: Duration) -> None:
    request = scene.request("CreateService")
    request.default_ttl.CopyFrom(span)
    request.max_ttl.FromTimedelta(timedelta(hours=1))
    assert "default_ttl" in await refused_fields(scene, "CreateService", request)


async def test_the_default_ttl_is_at_most_the_max_ttl(scene: Scene) -> None:
    request = scene.request("CreateService")
    request.default_ttl.FromTimedelta(timedelta(seconds=61))
    request.max_ttl.FromTimedelta(timedelta(seconds=60))
    assert await refused_fields(scene, "CreateService", request) == ["default_ttl"]


async def test_a_ttl_is_at_most_the_service_s_max_ttl(world: World) -> None:
    service = await world.new_service(trial_credits=5, max_ttl=timedelta(seconds=60))
    account = await world.new_account(service=service)
    above = timedelta(seconds=60, microseconds=1)
    refusal = await refusal_of(world.reserve(account, 1, ttl=above))
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["ttl"])
    assert await world.balance(account) == (5, 0, 5)
    reserved = await world.reserve(account, 1, ttl=timedelta(seconds=60))
    assert reserved.reservation.expire_time.seconds - reserved.reservation.create_time.seconds == 60


@pytest.mark.parametrize(
    "validity", [Duration(), Duration(seconds=-5), Duration(seconds=315_576_000, nanos=1), Duration(seconds=2**62)]
)
async def test_the_validity_of_a_pack_is_from_1_second_to_10_years(scene: Scene, validity: Duration) -> None:
    request = scene.request("CreatePack")
    request.validity.CopyFrom(validity)
    assert await refused_fields(scene, "CreatePack", request) == ["validity"]


@pytest.mark.parametrize("field", ["start_time", "end_time"])
@pytest.mark.parametrize(
    "instant",
    [
        Timestamp(seconds=-1),
        Timestamp(nanos=-1),
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=2**63 - 1),
        Timestamp(seconds=-(2**63)),
    ],
)
async def test_a_statement_is_of_instants_that_exist(scene: Scene, field: str, instant: Timestamp) -> None:
    request = scene.request("ListEntries")
    getattr(request, field).CopyFrom(instant)
    assert await refused_fields(scene, "ListEntries", request) == [field]


@pytest.mark.parametrize("currency", ["XXX", "XAU", "XTS", "ZZZ", "AAA"])
async def test_a_currency_has_a_minor_unit(scene: Scene, currency: str) -> None:
    request = scene.request("CreatePack")
    request.price.currency_code = currency
    assert await refused_fields(scene, "CreatePack", request) == ["price.currency_code"]


@pytest.mark.parametrize(
    "price",
    [
        Money(),
        Money(units=1),
        Money(currency_code="eur", units=1),
        Money(currency_code="EU", units=1),
        Money(currency_code="EUR\n", units=1),
        Money(currency_code="EUR"),
        Money(currency_code="EUR", units=-1),
        Money(currency_code="EUR", nanos=-10_000_000),
        Money(currency_code="EUR", units=1, nanos=-10_000_000),
        Money(currency_code="EUR", units=-1, nanos=10_000_000),
        Money(currency_code="EUR", nanos=1_000_000_000),
        Money(currency_code="EUR", units=10**9, nanos=10_000_000),
        Money(currency_code="EUR", units=10**9 + 1),
        Money(currency_code="EUR", units=2**63 - 1),
    ],
)
async def test_a_price_is_positive_and_not_enormous(scene: Scene, price: Money) -> None:
    request = scene.request("CreatePack")
    request.price.CopyFrom(price)
    assert {field.partition(".")[0] for field in await refused_fields(scene, "CreatePack", request)} == {"price"}


async def test_a_pack_has_a_price(scene: Scene) -> None:
    request = scene.request("CreatePack")
    request.ClearField("price")
    assert await refused_fields(scene, "CreatePack", request) == ["price"]


@pytest.mark.parametrize(
    ("currency", "nanos"), [("EUR", 5_000_000), ("EUR", 10_000_001), ("JPY", 500_000_000), ("KWD", 500_000), ("KWD", 1)]
)
async def test_a_price_is_no_finer_than_the_minor_unit(scene: Scene, currency: str, nanos: int) -> None:
    request = scene.request("CreatePack")
    request.price.CopyFrom(Money(currency_code=currency, units=1, nanos=nanos))
    assert await refused_fields(scene, "CreatePack", request) == ["price.nanos"]


@pytest.mark.parametrize(
    "name", ["", "s", "Sms", "1sms", "-sms", "sms_x", "smß", "sms ", "sms\n", "s" * 64, "sms.x", "sms\0"]
)
async def test_a_new_service_has_a_name_of_the_contract_s_form(scene: Scene, name: str) -> None:
    request = scene.request("CreateService")
    request.service = name
    assert await refused_fields(scene, "CreateService", request) == ["service"]


@pytest.mark.parametrize("trial_credits", [-1, 10**12 + 1, 2**63 - 1])
async def test_trial_credits_are_from_0_to_10_to_the_12th(scene: Scene, trial_credits: int) -> None:
    request = scene.request("CreateService")
    request.trial_credits = trial_credits
    assert await refused_fields(scene, "CreateService", request) == ["trial_credits"]


@pytest.mark.parametrize("rate", [-1, 10_001, 2**31 - 1])
async def test_a_commission_is_from_0_to_10_000_basis_points(scene: Scene, rate: int) -> None:
    request = scene.request("RegisterProvider")
    request.commission_basis_points = rate
    assert await refused_fields(scene, "RegisterProvider", request) == ["commission_basis_points"]


@pytest.mark.parametrize("email", ["nobody", "a@", "@example.com", "a b@example.com", "a\0@example.com"])
async def test_an_email_is_one(scene: Scene, email: str) -> None:
    request = scene.request("RegisterCustomer")
    request.email = email
    assert await refused_fields(scene, "RegisterCustomer", request) == ["email"]


@pytest.mark.parametrize(
    "url",
    [
        "shop.example",
        "/back",
        "ftp://shop.example",
        "javascript:alert(1)",
        "https://",
        "https//shop.example",
        "https://shop example",
        "https://shop.example\n",
        "https://shop.example\0/",
        "https://shop.example/" + "x" * 1_980,
    ],
)
async def test_a_return_url_is_of_the_web(scene: Scene, url: str) -> None:
    request = scene.request("CreatePurchase")
    request.return_url = url
    assert await refused_fields(scene, "CreatePurchase", request) == ["return_url"]


@pytest.mark.parametrize("path", ["service", "provider_id", "price", "*", "", "Title", "title.x", "ü\0"])
async def test_an_update_names_what_may_change(scene: Scene, path: str) -> None:
    request = scene.request("UpdateService")
    request.update_mask.CopyFrom(FieldMask(paths=["title", path]))
    assert await refused_fields(scene, "UpdateService", request) == ["update_mask"]


async def test_an_update_names_something(scene: Scene) -> None:
    request = scene.request("UpdateService")
    request.ClearField("update_mask")
    assert await refused_fields(scene, "UpdateService", request) == ["update_mask"]
    request.update_mask.CopyFrom(FieldMask())
    assert await refused_fields(scene, "UpdateService", request) == ["update_mask"]


async def test_an_update_names_its_service(scene: Scene) -> None:
    request = scene.request("UpdateService")
    request.ClearField("service")
    assert await refused_fields(scene, "UpdateService", request) == ["service"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (catalog_pb2.Service(title=""), "title"),
        (catalog_pb2.Service(title="x" * 101), "title"),
        (catalog_pb2.Service(description="x" * 2_001), "description"),
        (catalog_pb2.Service(unit_name="\0"), "unit_name"),
        (catalog_pb2.Service(trial_credits=-1), "trial_credits"),
        (catalog_pb2.Service(default_ttl=Duration()), "default_ttl"),
        (catalog_pb2.Service(), "default_ttl"),
        (catalog_pb2.Service(default_ttl=Duration(seconds=2_592_001)), "default_ttl"),
        (catalog_pb2.Service(max_ttl=Duration(seconds=2_592_001)), "max_ttl"),
        (catalog_pb2.Service(max_ttl=Duration(seconds=2**62)), "max_ttl"),
        (catalog_pb2.Service(state=catalog_pb2.SERVICE_STATE_UNSPECIFIED), "state"),
        (catalog_pb2.Service(state=9), "state"),  # type: ignore[arg-type]  # what a newer client may send
    ],
)
async def test_an_update_keeps_the_rules_of_a_new_service(
    scene: Scene, changed: catalog_pb2.Service, field: str
) -> None:
    request = catalog_pb2.UpdateServiceRequest(service=changed, update_mask=FieldMask(paths=[field]))
    request.service.service = scene.account.service
    assert await refused_fields(scene, "UpdateService", request) == [f"service.{field}"]


@pytest.mark.parametrize(
    ("default_seconds", "max_seconds", "paths"),
    [(120, 60, ["default_ttl", "max_ttl"]), (7_201, 0, ["default_ttl"]), (0, 899, ["max_ttl"])],
)
async def test_an_update_keeps_the_default_ttl_within_the_max_ttl(
    world: World, scene: Scene, default_seconds: int, max_seconds: int, paths: list[str]
) -> None:
    service = await world.new_service(default_ttl=timedelta(minutes=15), max_ttl=timedelta(hours=2))
    request = catalog_pb2.UpdateServiceRequest(
        service=catalog_pb2.Service(
            service=service, default_ttl=Duration(seconds=default_seconds), max_ttl=Duration(seconds=max_seconds)
        ),
        update_mask=FieldMask(paths=paths),
    )
    assert await refused_fields(scene, "UpdateService", request) == ["service.default_ttl"]


async def test_an_upper_case_request_id_is_the_same_id(world: World) -> None:
    account = await world.new_account()
    request_id = new_id()
    first = await world.reserve(account, 5, request_id=request_id.upper())
    again = await world.reserve(account, 5, request_id=request_id)
    assert again.replayed
    assert again.reservation == first.reservation
    opened = account_pb2.OpenAccountRequest(request_id=new_id(), service=account.service)
    made = await world.call(world.stubs.accounts.OpenAccount, opened, account.customer.key)
    opened.request_id = opened.request_id.upper()
    reopened = await world.call(world.stubs.accounts.OpenAccount, opened, account.customer.key)
    assert (reopened.replayed, reopened.account) == (True, made.account)
