"""What a caller gets when an account cannot pay."""

import grpc
import pytest
from google.rpc import error_details_pb2
from google.type.money_pb2 import Money
from iap.broker.v1 import broker_pb2

from tests.contract.broker_world.refusals import Refusal, refusal_of
from tests.contract.broker_world.world import Account, World, amounts, new_id


async def refused_reserve(world: World, account: Account, amount: int) -> Refusal:
    before = await world.balance(account)
    refusal = await refusal_of(world.reserve(account, amount))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS")
    assert await world.balance(account) == before
    return refusal


@pytest.mark.parametrize(("held", "asked"), [(0, 1), (3, 5), (100, 101), (0, 10**12), (7, 10**12)])
async def test_the_refusal_tells_what_is_missing(world: World, held: int, asked: int) -> None:
    account = await world.new_account(trial_credits=held)
    refusal = await refused_reserve(world, account, asked)
    url = f"https://shop.example/{account.service}"
    assert refusal.metadata == {
        "available": str(held),
        "required": str(asked),
        "missing": str(asked - held),
        "purchase_url": url,
    }
    (violation,) = refusal.detail(error_details_pb2.PreconditionFailure).violations
    assert violation.subject
    assert violation.description
    offer = refusal.detail(broker_pb2.Offer)
    assert (offer.service, offer.missing_credits, offer.purchase_url) == (account.service, asked - held, url)
    assert str(asked - held) in offer.message


async def test_reserved_credits_are_not_available(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    await world.reserve(account, 8)
    refusal = await refused_reserve(world, account, 3)
    assert (refusal.metadata["available"], refusal.metadata["missing"]) == ("2", "1")
    assert (await world.reserve(account, 2)).balance.available_credits == 0


async def test_the_offer_holds_the_service_s_active_packs_smallest_first(world: World) -> None:
    service = await world.new_service()
    large = await world.new_pack(service, pack_credits=500, price=Money(currency_code="JPY", units=4_000))
    small = await world.new_pack(service, pack_credits=50, price=Money(currency_code="KWD", units=1, nanos=5_000_000))
    archived = await world.new_pack(service, pack_credits=10)
    await world.archive(archived.pack_id)
    await world.new_pack(await world.new_service(), pack_credits=1)
    account = await world.new_account(service=service)
    offer = (await refused_reserve(world, account, 1)).detail(broker_pb2.Offer)
    assert list(offer.packs) == [small, large]


async def test_the_offer_holds_at_most_10_packs(world: World) -> None:
    service = await world.new_service()
    packs = [await world.new_pack(service, pack_credits=size) for size in range(1, 13)]
    account = await world.new_account(service=service)
    offer = (await refused_reserve(world, account, 1)).detail(broker_pb2.Offer)
    assert list(offer.packs) == packs[:10]


async def test_the_offer_survives_the_longest_titles(world: World) -> None:
    service = await world.new_service()
    packs = [await world.new_pack(service, pack_credits=size, title="券" * 100) for size in range(1, 11)]
    account = await world.new_account(service=service)
    refusal = await refused_reserve(world, account, 1)
    offer = refusal.detail(broker_pb2.Offer)
    assert (offer.service, offer.missing_credits) == (service, 1)
    assert offer.packs, "at least the smallest packs fit"
    assert list(offer.packs) == packs[: len(offer.packs)]


async def test_a_refusal_burns_no_request_id(world: World) -> None:
    service = await world.new_service()
    pack = await world.new_pack(service, pack_credits=5)
    account, request_id = await world.new_account(service=service), new_id()
    for _ in range(2):
        refusal = await refusal_of(world.reserve(account, 5, request_id=request_id))
        assert refusal.reason == "INSUFFICIENT_CREDITS"
    await world.buy(account, pack.pack_id)
    reserved = await world.reserve(account, 5, request_id=request_id)
    assert not reserved.replayed
    assert await world.balance(account) == (5, 5, 0)


async def test_a_refused_request_id_may_be_used_with_other_parameters(world: World) -> None:
    account, request_id = await world.new_account(trial_credits=3), new_id()
    await refusal_of(world.reserve(account, 4, request_id=request_id))
    assert not (await world.reserve(account, 3, request_id=request_id)).replayed


@pytest.mark.parametrize(("asked", "sufficient"), [(1, True), (7, True), (8, False), (10**12, False)])
async def test_checking_tells_the_same_and_changes_nothing(world: World, asked: int, sufficient: bool) -> None:
    account = await world.new_account(trial_credits=10)
    await world.reserve(account, 3)
    before = world.running.sql("SELECT * FROM accounts WHERE account_id = ?", account.id)
    request = broker_pb2.CheckCreditsRequest(account_token=account.token, credits=asked)
    checked = await world.call(world.stubs.broker.CheckCredits, request, world.provider.key)
    assert checked.sufficient is sufficient
    assert amounts(checked.balance) == (10, 3, 7)
    assert checked.HasField("offer") is not sufficient
    if not sufficient:
        assert (await refused_reserve(world, account, asked)).detail(broker_pb2.Offer) == checked.offer
    assert world.running.sql("SELECT * FROM accounts WHERE account_id = ?", account.id) == before
