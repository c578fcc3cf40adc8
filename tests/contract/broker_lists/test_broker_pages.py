"""Lists, page by page."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from iap.broker.v1 import account_pb2, broker_pb2, catalog_pb2, purchase_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import Account, World, call

Read = Callable[[Any], list[str]]

NAMES: dict[str, Read] = {
    "ListReservations": lambda answer: [it.reservation_id for it in answer.reservations],
    "ListEntries": lambda answer: [it.entry_id for it in answer.entries],
    "ListServices": lambda answer: [it.service for it in answer.services],
    "ListPacks": lambda answer: [it.pack_id for it in answer.packs],
    "ListPurchases": lambda answer: [it.purchase_id for it in answer.purchases],
}


async def pages(world: World, rpc: str, request: Any, key: str = "") -> list[list[str]]:
    """Returns the names on every page, until no token comes."""
    found = []
    while True:
        answer = await call(world.stubs.method(rpc), request, key)
        found.append(NAMES[rpc](answer))
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def assert_pages(world: World, rpc: str, request: Any, expected: list[str], key: str = "") -> None:
    """Reads the list with pages of every interesting size; each finds the same, in full pages."""
    for size in (1, 2, len(expected) - 1, len(expected), len(expected) + 1, 1_000, 2**31 - 1):
        request.page_size, request.page_token = size, ""
        found = await pages(world, rpc, request, key)
        assert [name for page in found for name in page] == expected
        assert all(len(page) == size for page in found[:-1])
        assert found[-1] or not expected, "the last page is not empty"


def to_timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message


async def account_with_history(world: World) -> tuple[Account, list[str]]:
    """Returns an account and its 7 reservations, oldest first, some of them made in the same instant."""
    account = await world.new_account()
    made = []
    for number in range(7):
        made.append(await world.reserved(account, 1))
        if number % 3 == 0:
            world.clock.move(timedelta(microseconds=1))
    return account, made


async def test_reservations_come_newest_first(world: World) -> None:
    account, made = await account_with_history(world)
    request = broker_pb2.ListReservationsRequest(account_token=account.token)
    (listed,) = await pages(world, "ListReservations", request, world.provider.key)
    assert sorted(listed) == sorted(made)
    times = [(await world.reservation(name)).create_time.ToMicroseconds() for name in listed]
    assert times == sorted(times, reverse=True)
    await assert_pages(world, "ListReservations", request, listed, world.provider.key)


async def test_reservations_of_one_state_come_page_by_page(world: World) -> None:
    account, made = await account_with_history(world)
    for name in made[::2]:
        await world.capture(name)
    active, captured = broker_pb2.RESERVATION_STATE_ACTIVE, broker_pb2.RESERVATION_STATE_CAPTURED
    for state, expected in ((active, made[1::2]), (captured, made[::2])):
        request = broker_pb2.ListReservationsRequest(account_token=account.token, state=state)
        (listed,) = await pages(world, "ListReservations", request, world.provider.key)
        assert sorted(listed) == sorted(expected)
        await assert_pages(world, "ListReservations", request, listed, world.provider.key)
    world.clock.move(timedelta(minutes=15))
    request = broker_pb2.ListReservationsRequest(
        account_token=account.token, state=broker_pb2.RESERVATION_STATE_EXPIRED
    )
    (listed,) = await pages(world, "ListReservations", request, world.provider.key)
    assert sorted(listed) == sorted(made[1::2])
    await assert_pages(world, "ListReservations", request, listed, world.provider.key)


async def test_new_reservations_do_not_disturb_the_pages_behind(world: World) -> None:
    account, made = await account_with_history(world)
    request = broker_pb2.ListReservationsRequest(account_token=account.token, page_size=3)
    first = await call(world.stubs.broker.ListReservations, request, world.provider.key)
    for _ in range(3):
        await world.reserved(account, 1)
    request.page_token = first.next_page_token
    rest = await pages(world, "ListReservations", request, world.provider.key)
    seen = [it.reservation_id for it in first.reservations] + [name for page in rest for name in page]
    assert set(made) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_entries_come_oldest_first(world: World) -> None:
    account, made = await account_with_history(world)
    for name in made:
        world.clock.move(timedelta(seconds=1))
        await world.capture(name)
    entries = await world.entries(account)
    assert [it.ledger_credits_after for it in entries] == list(range(100, 92, -1))
    request = account_pb2.ListEntriesRequest(account_token=account.token)
    await assert_pages(world, "ListEntries", request, [it.entry_id for it in entries])


async def test_a_statement_begins_at_its_start_and_ends_before_its_end(world: World) -> None:
    account, made = await account_with_history(world)
    instants = []
    for name in made[:4]:
        instants.append(world.clock.move(timedelta(seconds=1)))
        await world.capture(name)
    names = [it.entry_id for it in await world.entries(account)]
    tick = timedelta(microseconds=1)
    for start, end, expected in (
        (instants[0], None, names[1:]),
        (instants[0] + tick, None, names[2:]),
        (None, instants[3], names[:4]),
        (None, instants[3] + tick, names),
        (instants[1], instants[3], names[2:4]),
        (instants[1], instants[1], []),
        (instants[3], instants[0], []),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), names),
    ):
        request = account_pb2.ListEntriesRequest(
            account_token=account.token,
            start_time=None if start is None else to_timestamp(start),
            end_time=None if end is None else to_timestamp(end),
        )
        assert await pages(world, "ListEntries", request) == [expected]
        if expected:
            await assert_pages(world, "ListEntries", request, expected)


async def test_packs_come_smallest_first(world: World) -> None:
    service = await world.new_service()
    sizes = [500, 50, 50, 10**12, 1, 50]
    made = {(await world.new_pack(service, pack_credits=size)).pack_id: size for size in sizes}
    archived = await world.new_pack(service, pack_credits=2)
    await world.archive(archived.pack_id)
    request = catalog_pb2.ListPacksRequest(service=service)
    (listed,) = await pages(world, "ListPacks", request)
    assert sorted(listed) == sorted(made)
    assert [made[name] for name in listed] == sorted(sizes)
    await assert_pages(world, "ListPacks", request, listed)


async def test_services_come_by_name_without_the_retired_ones(own_world: World) -> None:
    world = own_world
    made = [await world.new_service() for _ in range(6)]
    await world.retire(made.pop())
    await assert_pages(world, "ListServices", catalog_pb2.ListServicesRequest(), sorted(made))


async def test_a_page_holds_100_unless_asked_and_1000_at_most(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    values = ",".join(
        f"(0, '{account.id}', {sequence}, 'PURCHASE', 1, 'issued', {sequence}, {sequence}, '')"
        for sequence in range(2, 1_203)
    )
    world.running.sql(
        "INSERT INTO entries (shard_id, account_id, sequence, kind, credits, counterpart, ledger_credits_after, time,"
        f" description) VALUES {values}"
    )
    request = account_pb2.ListEntriesRequest(account_token=account.token)
    for size, lengths in ((0, [100] * 12 + [2]), (1_000, [1_000, 202]), (5_000, [1_000, 202])):
        request.page_size, request.page_token = size, ""
        assert [len(page) for page in await pages(world, "ListEntries", request)] == lengths


@pytest.mark.parametrize("rpc", ["ListReservations", "ListEntries", "ListPacks"])
async def test_a_token_of_another_request_is_refused(world: World, rpc: str) -> None:
    account, made = await account_with_history(world)
    other, _ = await account_with_history(world)
    await world.capture(made[0])
    services = [await world.new_service() for _ in range(2)]
    for service in services * 2:
        await world.new_pack(service)
    key = world.provider.key if rpc == "ListReservations" else ""
    requests: dict[str, tuple[Any, list[Any]]] = {
        "ListReservations": (
            broker_pb2.ListReservationsRequest(account_token=account.token, page_size=1),
            [
                broker_pb2.ListReservationsRequest(account_token=other.token),
                broker_pb2.ListReservationsRequest(
                    account_token=account.token, state=broker_pb2.RESERVATION_STATE_ACTIVE
                ),
            ],
        ),
        "ListEntries": (
            account_pb2.ListEntriesRequest(account_token=account.token, page_size=1),
            [
                account_pb2.ListEntriesRequest(account_token=other.token),
                account_pb2.ListEntriesRequest(account_token=account.token, start_time=Timestamp(seconds=1)),
                account_pb2.ListEntriesRequest(account_token=account.token, end_time=Timestamp(seconds=2**32)),
            ],
        ),
        "ListPacks": (
            catalog_pb2.ListPacksRequest(service=services[0], page_size=1),
            [catalog_pb2.ListPacksRequest(service=services[1])],
        ),
    }
    request, foreign = requests[rpc]
    token = (await call(world.stubs.method(rpc), request, key)).next_page_token
    assert token
    for changed in (*foreign, catalog_pb2.ListServicesRequest()):
        changed.page_token = token
        method = world.stubs.method("ListServices" if isinstance(changed, catalog_pb2.ListServicesRequest) else rpc)
        refusal = await refusal_of(call(method, changed, key))
        assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["page_token"])


async def test_the_page_size_may_change_from_page_to_page(world: World) -> None:
    account, made = await account_with_history(world)
    request = broker_pb2.ListReservationsRequest(account_token=account.token)
    seen = 0
    for size in (1, 3, 2, 5):
        request.page_size = size
        answer = await call(world.stubs.broker.ListReservations, request, world.provider.key)
        seen += len(answer.reservations)
        request.page_token = answer.next_page_token
    assert (seen, request.page_token) == (len(made), "")


async def test_an_account_without_reservations_has_one_empty_page(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    request = broker_pb2.ListReservationsRequest(account_token=account.token)
    assert await pages(world, "ListReservations", request, world.provider.key) == [[]]
    assert await pages(world, "ListEntries", account_pb2.ListEntriesRequest(account_token=account.token)) == [[]]


async def test_purchases_are_listed_newest_first_as_they_now_stand(world: World) -> None:
    account, other = await world.new_account(), await world.new_account()
    pack = await world.new_pack(account.service)
    made = []
    for number in range(7):
        made.append((await world.purchase(account, pack.pack_id)).purchase_id)
        if number % 3 == 0:
            world.clock.move(timedelta(microseconds=1))
    await world.purchase(other, (await world.new_pack(other.service)).pack_id)
    await world.pay(made[0])
    world.clock.move(timedelta(hours=24))
    request = purchase_pb2.ListPurchasesRequest(account_token=account.token)
    found = await call(world.stubs.purchases.ListPurchases, request)
    states = {it.purchase_id: it.state for it in found.purchases}
    assert set(states) == set(made)
    assert states.pop(made[0]) == purchase_pb2.PURCHASE_STATE_PAID
    assert set(states.values()) == {purchase_pb2.PURCHASE_STATE_FAILED}, "their time to be paid is over"
    times = [it.create_time.ToMicroseconds() for it in found.purchases]
    assert times == sorted(times, reverse=True)
    listed = [it.purchase_id for it in found.purchases]
    await assert_pages(world, "ListPurchases", request, listed)
    by_id = purchase_pb2.ListPurchasesRequest(account_id=account.id)
    await assert_pages(world, "ListPurchases", by_id, listed, account.customer.key)


async def test_a_page_token_of_another_account_s_purchases_is_refused(world: World) -> None:
    account, other = await world.new_account(), await world.new_account()
    pack = await world.new_pack(account.service)
    for _ in range(2):
        await world.purchase(account, pack.pack_id)
    request = purchase_pb2.ListPurchasesRequest(account_token=account.token, page_size=1)
    request.page_token = (await call(world.stubs.purchases.ListPurchases, request)).next_page_token
    request.account_token = other.token
    assert (await refusal_of(call(world.stubs.purchases.ListPurchases, request))).fields == ["page_token"]
