"""Bugs, broken books and callers that leave: what they may harm, and what not."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from iap.broker.v1 import broker_pb2

from tests.contract.broker_world.batches import one_commits, until, waiting
from tests.contract.broker_world.refusals import parse_error, refusal_of
from tests.contract.broker_world.running_broker import RunningBroker, running_broker
from tests.contract.broker_world.world import Account, World, call, new_id, new_world
from tests.databases import write_lock

ARRIVE_SECONDS = 0.1
# Long enough for a call to arrive.
HURRY_SECONDS = 1.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def reserve_request(account: Account, request_id: str) -> broker_pb2.ReserveRequest:
    return broker_pb2.ReserveRequest(request_id=request_id, account_token=account.token, credits=1)


async def was_reserved(world: World, account: Account, request_id: str) -> bool:
    request = broker_pb2.GetReservationRequest(request_id=request_id, account_token=account.token)
    (answer,) = await asyncio.gather(
        call(world.stubs.broker.GetReservation, request, world.provider.key), return_exceptions=True
    )
    if isinstance(answer, grpc.aio.AioRpcError):
        return parse_error(answer).reason != "RESERVATION_NOT_FOUND"
    return isinstance(answer, broker_pb2.GetReservationResponse)


async def health(running: RunningBroker, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health_pb2_grpc.HealthStub(running.channel).Check(request, timeout=20)
    status: int = answer.status
    return status


async def test_a_command_that_meets_a_bug_harms_no_other_of_its_batch(world: World) -> None:
    account, other = await world.new_account(), await world.new_account()
    broken = await world.reserved(account, 5)
    world.running.sql("UPDATE reservations SET state = 'BROKEN' WHERE reservation_id = ?", broken)
    with write_lock(world.running.database_url):
        first = asyncio.create_task(world.reserve(other, 1))
        await until(lambda: one_commits(world))
        bug = asyncio.create_task(world.capture(broken))
        behind = [asyncio.create_task(world.reserve(account, 1)) for _ in range(5)]
        await until(lambda: waiting(world) == 6)
    refusal = await refusal_of(bug)
    assert (refusal.code, refusal.reason, refusal.metadata) == (grpc.StatusCode.INTERNAL, "INTERNAL", {})
    assert not refusal.others
    for secret in ("BROKEN", "ReservationState", "Error", account.id):
        assert secret not in refusal.message
    answers = await asyncio.gather(first, *behind)
    assert len({answer.reservation.reservation_id for answer in answers}) == 6
    assert await world.balance(account) == (100, 10, 90)
    assert await health(world.running) == SERVING
    world.running.sql("UPDATE reservations SET state = 'ACTIVE' WHERE reservation_id = ?", broken)
    assert (await world.capture(broken)).captured_credits == 5


@pytest.mark.parametrize(
    "corruption",
    [
        "UPDATE accounts SET ledger_credits = ledger_credits + 1 WHERE account_id = ?",
        "UPDATE accounts SET reserved_credits = reserved_credits - 1 WHERE account_id = ?",
        "UPDATE grants SET remaining_credits = remaining_credits - 1 WHERE account_id = ?",
        "UPDATE grants SET reserved_credits = reserved_credits + 1 WHERE account_id = ?",
        "DELETE FROM grants WHERE account_id = ?",
        "UPDATE reservations SET reserved_credits = reserved_credits + 1 WHERE account_id = ?",
        "UPDATE reservations SET allocations = '[[\"grt_other\",5,0]]' WHERE account_id = ?",
    ],
)
async def test_books_that_contradict_themselves_stop_the_writing(own_world: World, corruption: str) -> None:
    world = own_world
    account, other = await world.new_account(), await world.new_account()
    reservation_id = await world.reserved(account, 5)
    request_id = new_id()
    world.running.sql(corruption, account.id)
    tables = ("accounts", "grants", "reservations", "entries", "operations")
    before = [world.running.sql(f"SELECT * FROM {table}") for table in tables]
    assert await health(world.running) == SERVING
    with write_lock(world.running.database_url):
        calls: list[asyncio.Task[Any]] = [asyncio.create_task(world.capture(reservation_id))]
        await until(lambda: one_commits(world))
        calls.append(asyncio.create_task(world.reserve(other, 1, request_id=request_id)))
        await until(lambda: waiting(world) == 1)
    for refused in (*calls, world.reserve(other, 1)):
        refusal = await refusal_of(refused)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert account.id not in refusal.message
    assert [world.running.sql(f"SELECT * FROM {table}") for table in tables] == before
    assert not await was_reserved(world, other, request_id), "reading goes on, and nothing was written"
    assert await health(world.running) == NOT_SERVING
    assert await health(world.running, "iap.broker.v1.BrokerService") == NOT_SERVING


async def test_a_reader_that_meets_broken_books_stops_the_writing_too(own_world: World) -> None:
    world = own_world
    account, other = await world.new_account(), await world.new_account()
    await world.reserve(account, 5, ttl=timedelta(seconds=1))
    world.running.sql("UPDATE accounts SET ledger_credits = ledger_credits + 1 WHERE account_id = ?", account.id)
    world.clock.move(timedelta(seconds=1))
    refusal = await refusal_of(world.balance(account))
    assert refusal.reason in {"UNAVAILABLE", "INTERNAL"}
    assert account.id not in refusal.message
    assert (await refusal_of(world.reserve(other, 1))).reason == "UNAVAILABLE"
    assert await health(world.running) == NOT_SERVING


async def test_a_caller_that_leaves_while_its_command_waits_leaves_nothing_behind(world: World) -> None:
    account = await world.new_account()
    method, metadata = world.stubs.broker.Reserve, (("authorization", f"Bearer {world.provider.key}"),)
    first, cancelled, too_late, kept = (new_id() for _ in range(4))
    with write_lock(world.running.database_url):
        committing = asyncio.create_task(world.reserve(account, 1, request_id=first))
        await until(lambda: one_commits(world))
        leaves = method(reserve_request(account, cancelled), metadata=metadata)
        hurries = asyncio.create_task(
            refusal_code(method(reserve_request(account, too_late), metadata=metadata, timeout=HURRY_SECONDS))
        )
        stays = asyncio.create_task(world.reserve(account, 1, request_id=kept))
        await until(lambda: waiting(world) == 3)
        assert leaves.cancel()
        assert await hurries is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: waiting(world) == 1)
    await asyncio.gather(committing, stays)
    done = [await was_reserved(world, account, it) for it in (first, cancelled, too_late, kept)]
    assert done == [True, False, False, True]
    assert await world.balance(account) == (100, 2, 98)


async def test_a_lost_answer_is_found_by_the_retry(world: World) -> None:
    account, request_id = await world.new_account(), new_id()
    method, metadata = world.stubs.broker.Reserve, (("authorization", f"Bearer {world.provider.key}"),)
    with write_lock(world.running.database_url):
        lost = method(reserve_request(account, request_id), metadata=metadata, timeout=HURRY_SECONDS)
        await until(lambda: one_commits(world))
        assert await refusal_code(lost) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await world.reserve(account, 1, request_id=request_id)).replayed
    assert await world.balance(account) == (100, 1, 99)


async def refusal_code(lost: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await lost
    return raised.value.code()


async def test_a_broker_that_stops_answers_what_waits(database_url: str) -> None:
    async with running_broker(database_url) as running:
        world = await new_world(running)
        account = await world.new_account()
        with write_lock(running.database_url):
            calls = [asyncio.create_task(world.reserve(account, 1))]
            await until(lambda: one_commits(world))
            calls += [asyncio.create_task(world.reserve(account, 1)) for _ in range(9)]
            await until(lambda: waiting(world) == 9)
            stopping = asyncio.create_task(running.broker.node.stop())
            await asyncio.sleep(ARRIVE_SECONDS)
            assert await health(running) == NOT_SERVING
        answers = await asyncio.gather(*calls)
        assert len({answer.reservation.reservation_id for answer in answers}) == 10
        await stopping
        assert running.sql("SELECT reserved_credits FROM accounts WHERE account_id = ?", account.id) == [(10,)]
