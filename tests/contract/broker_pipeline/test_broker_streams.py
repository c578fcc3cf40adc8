"""What lets a stream of Pipeline in, and what ends it."""

import asyncio
from typing import Any

import grpc
import pytest
from iap.broker.v1 import admin_pb2

from tests.contract.broker_pipeline.streams import capture, open_stream, refusal_in, reserve
from tests.contract.broker_world.batches import held_back, until, waiting
from tests.contract.broker_world.refusals import Refusal, refusal_of
from tests.contract.broker_world.running_broker import RunningBroker, running_broker
from tests.contract.broker_world.world import World, call, new_id, new_world
from tests.databases import DatabaseKind, only_on, unreadable, write_lock

on_sqlite = only_on(DatabaseKind.SQLITE, reason="a stream's own rules know nothing of databases")


def code_and_reason(refusal: Refusal | None) -> tuple[grpc.StatusCode, str]:
    assert refusal is not None, "the stream ended well"
    return refusal.code, refusal.reason


@on_sqlite
@pytest.mark.parametrize(
    ("metadata", "reason"),
    [((), "CREDENTIALS_MISSING"), ((("authorization", "Bearer unknown"),), "CREDENTIALS_INVALID")],
)
async def test_a_stream_without_a_key_that_is_good_is_refused(world: World, metadata: Any, reason: str) -> None:
    opened: Any = world.stubs.broker.Pipeline(metadata=metadata)
    refusal = await refusal_of(opened.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


@on_sqlite
async def test_a_stream_with_another_kind_of_key_carries_refusals(world: World) -> None:
    account = await world.new_account()
    async with open_stream(world, key=account.customer.key) as stream:
        await stream.send(reserve(1, account, 0), reserve(2, account), capture(3, "rsv_unknown"))
        results = {result.sequence: refusal_in(result) for result in [await stream.next() for _ in range(3)]}
    assert results[1].code is grpc.StatusCode.INVALID_ARGUMENT, "field rules come first"
    assert {results[2].reason, results[3].reason} == {"PERMISSION_DENIED"}
    assert await world.balance(account) == (100, 0, 100)


async def test_a_key_that_is_revoked_counts_for_what_comes_later(world: World) -> None:
    account = await world.new_account()
    issue = admin_pb2.IssueKeyRequest(request_id=new_id(), provider_id=world.provider.id)
    issued = await call(world.stubs.admin.IssueKey, issue, world.running.operator_key)
    async with open_stream(world, key=issued.secret) as stream:
        await stream.send(reserve(1, account))
        await stream.results(1)
        revoke = admin_pb2.RevokeKeyRequest(key_id=issued.key.key_id)
        async with held_back(world, await world.new_account()):
            await stream.send(reserve(2, account))
            await until(lambda: waiting(world) == 1)
            revoking = asyncio.create_task(call(world.stubs.admin.RevokeKey, revoke, world.running.operator_key))
        await revoking
        assert set(await stream.results(1)) == {2}
        await stream.send(reserve(3, account), reserve(4, account))
        assert await stream.results(2) == {3: "CREDENTIALS_INVALID", 4: "CREDENTIALS_INVALID"}
        assert code_and_reason(await stream.end()) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
    assert await world.balance(account) == (100, 2, 98)


@on_sqlite
async def test_a_key_that_cannot_be_looked_up_is_an_outage_that_the_stream_survives(forgetful_world: World) -> None:
    world = forgetful_world
    account = await world.new_account()
    async with open_stream(world) as stream:
        await stream.send(reserve(1, account))
        await stream.results(1)
        with unreadable(world.running.database_url, "keys"):
            await stream.send(reserve(2, account))
            assert await stream.results(1) == {2: "UNAVAILABLE"}
        await stream.send(reserve(2, account))
        assert set(await stream.results(1)) == {2}


async def test_a_broker_that_stops_answers_what_it_has_read_and_ends_the_stream(database_url: str) -> None:
    async with running_broker(database_url) as running:
        world = await new_world(running)
        account = await world.new_account()
        async with open_stream(world) as stream, open_stream(world) as idle:
            with write_lock(running.database_url):
                await stream.send(*(reserve(sequence, account) for sequence in range(10)))
                await until(lambda: is_writing(running))
                stopping = asyncio.create_task(running.broker.node.stop())
                # Health has turned, and those who do not look at it are still served.
                await asyncio.sleep(0.1)
                await idle.send(reserve(1, account))
                await running.broker.node.closing.wait()
                # What comes in the very moment of closing gRPC itself answers, with CANCELLED.
                refused, _ = code_and_reason(await stream_refused(world))
                assert refused in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            assert set(await stream.results(10)) == set(range(10))
            assert set(await idle.results(1)) == {1}
            for ended in (await stream.end(), await idle.end()):
                assert code_and_reason(ended) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        await stopping
        assert running.sql("SELECT reserved_credits FROM accounts WHERE account_id = ?", account.id) == [(11,)]


def is_writing(running: RunningBroker) -> bool:
    return any(lane._busy_accounts for lane in running.broker.committer._lanes)


async def stream_refused(world: World) -> Refusal | None:
    """Returns what a new stream is refused with."""
    opened: Any = world.stubs.broker.Pipeline(metadata=(("authorization", f"Bearer {world.provider.key}"),))
    try:
        await opened.read()
    except grpc.aio.AioRpcError as error:
        return Refusal(error.code(), "UNAVAILABLE", {}, "", ())
    return None


async def test_a_stream_that_has_grown_old_ends_behind_its_answers(database_url: str) -> None:
    async with running_broker(database_url, max_connection_age_seconds=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        async with open_stream(world) as stream:
            async with held_back(world, account):
                await stream.send(reserve(1, account))
                await asyncio.sleep(1.5)
            assert set(await stream.results(1)) == {1}
            ended = await stream.end()
        assert code_and_reason(ended) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert ended is not None
        assert "old" in ended.message


@on_sqlite
async def test_a_stream_is_one_of_the_calls_that_may_run(database_url: str) -> None:
    async with running_broker(database_url, max_concurrent_calls=1) as running:
        world = await new_world(running)
        account = await world.new_account()
        async with open_stream(world) as stream:
            await stream.send(reserve(1, account))
            await stream.results(1)
            async with open_stream(world) as other:
                assert code_and_reason(await other.end()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
            await stream.send(reserve(2, account))
            await stream.results(1)
