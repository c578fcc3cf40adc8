"""Pipeline beside its operations, which the whole suite sends through it: answers, times, cancelling, bad messages."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from iap.broker.v1 import broker_pb2

from broker_service.transport import pipeline
from tests.contract.broker_pipeline.streams import (
    PATH,
    Stream,
    capture,
    open_stream,
    patched,
    refusal_in,
    reserve,
)
from tests.contract.broker_world.batches import batch_sizes, held_back, until, waiting
from tests.contract.broker_world.world import World, new_id
from tests.databases import DatabaseKind, only_on, write_lock

on_sqlite = only_on(DatabaseKind.SQLITE, reason="a stream's own rules know nothing of databases")


async def was_done(world: World, account: Any, operation: broker_pb2.PipelineOperation) -> bool:
    """Tells whether a Reserve was done before, by doing it again."""
    again = await world.call(world.stubs.broker.Reserve, operation.reserve, world.provider.key)
    return again.replayed


async def test_the_operations_of_a_message_are_committed_together_and_answered_together(world: World) -> None:
    account = await world.new_account()
    async with open_stream(world) as stream:
        await stream.send(reserve(0, account))
        await stream.results(1)
        with batch_sizes(world) as sizes:
            await stream.send(*(reserve(sequence, account) for sequence in range(1, 51)))
            answers = await stream.results(50)
    assert sizes == [50]
    assert [sorted(message) for message in stream.messages] == [[0], list(range(1, 51))]
    assert {answer.reservation.reserved_credits for answer in answers.values()} == {1}
    assert await world.balance(account) == (100, 51, 49)


async def test_each_operation_gets_an_outcome_of_its_own(world: World) -> None:
    account, other = await world.new_account(), await world.new_account()
    reservation_id = await world.reserved(account, 10)
    operations = [
        reserve(7, account, 40),
        reserve(-1, account, 0),
        capture(3, reservation_id),
        capture(2**62, "rsv_unknown"),
        reserve(5, other, 101),
        broker_pb2.PipelineOperation(sequence=6),
        broker_pb2.PipelineOperation(
            sequence=8,
            charge=broker_pb2.ChargeRequest(request_id=new_id(), account_token=other.token, credits=1),
        ),
    ]
    async with open_stream(world) as stream:
        await stream.send(*operations)
        found = await stream.results(len(operations))
    reasons = {sequence: answer for sequence, answer in found.items() if isinstance(answer, str)}
    assert reasons == {
        -1: "INVALID_ARGUMENT",
        2**62: "RESERVATION_NOT_FOUND",
        5: "INSUFFICIENT_CREDITS",
        6: "INVALID_ARGUMENT",
    }
    assert found[3].captured_credits == 10
    assert await world.balance(account) == (90, 40, 50)
    assert await world.balance(other) == (99, 0, 99)


async def test_an_answer_that_is_ready_does_not_wait_for_others(world: World) -> None:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 1)
    async with open_stream(world) as stream:
        async with held_back(world, await world.new_account()):
            await stream.send(capture(1, reservation_id), capture(2, "rsv_unknown"), reserve(3, account, 0))
            assert set(await stream.results(2)) == {2, 3}
        assert set(await stream.results(1)) == {1}


@on_sqlite
async def test_fields_are_named_as_in_a_unary_call(world: World) -> None:
    account = await world.new_account()
    async with open_stream(world) as stream:
        await stream.send(reserve(1, account, 0, description="x" * 501))
        assert refusal_in(await stream.next()).fields == ["credits", "description"]
        await stream.send(broker_pb2.PipelineOperation(sequence=2))
        assert refusal_in(await stream.next()).fields == ["request"]
        await stream.send(reserve(3, account, timeout=timedelta(seconds=-1)))
        assert refusal_in(await stream.next()).fields == ["timeout"]
        traced = reserve(4, account)
        traced.metadata["traceparent"] = "x" * 1001
        await stream.send(traced)
        assert refusal_in(await stream.next()).fields == ['metadata["traceparent"]']
        traced.metadata["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await stream.send(traced)
        assert await stream.results(1)
    assert await world.balance(account) == (100, 1, 99)


async def test_an_operation_whose_time_is_up_while_it_waits_is_dropped(world: World) -> None:
    account = await world.new_account()
    hurried = reserve(1, account, timeout=timedelta(seconds=0.05))
    patient = reserve(2, account, timeout=timedelta(seconds=60))
    hopeless = reserve(3, account, timeout=timedelta())
    async with open_stream(world) as stream:
        async with held_back(world, await world.new_account()):
            await stream.send(hurried, patient, hopeless)
            await until(lambda: waiting(world) == 3)
            await asyncio.sleep(0.1)
        found = await stream.results(3)
    assert (found[1], found[3]) == ("OVERLOADED", "OVERLOADED")
    assert found[2].reservation.reserved_credits == 1
    assert [await was_done(world, account, it) for it in (hurried, patient, hopeless)] == [False, True, False]


async def test_a_cancelled_operation_is_dropped_if_it_still_waits(world: World) -> None:
    account = await world.new_account()
    cancelled, kept, not_begun = reserve(1, account), reserve(2, account), reserve(3, account)
    async with open_stream(world) as stream:
        async with held_back(world, await world.new_account()):
            await stream.send(cancelled, kept)
            await until(lambda: waiting(world) == 2)
            await stream.send(cancel=(1, 99))
            result = await stream.next()
            assert result.sequence == 1
            assert (refusal_in(result).code, refusal_in(result).reason) == (grpc.StatusCode.CANCELLED, "CANCELLED")
            # One of the same message; its sequence is free.
            await stream.send(not_begun, cancel=(3,))
            assert await stream.results(1) == {3: "CANCELLED"}
        assert (await stream.results(1))[2].reservation.reserved_credits == 1
        await stream.send(cancel=(2,))
        await stream.send(reserve(1, account))
        assert set(await stream.results(1)) == {1}
    assert [await was_done(world, account, it) for it in (cancelled, kept, not_begun)] == [False, True, False]


async def test_an_operation_that_is_being_committed_is_answered_though_cancelled(world: World) -> None:
    account = await world.new_account()
    async with open_stream(world) as stream:
        with write_lock(world.running.database_url):
            await stream.send(reserve(1, account))
            await until(lambda: any(lane._busy_accounts for lane in world.running.broker.committer._lanes))
            await stream.send(cancel=(1,))
            await asyncio.sleep(0.05)
        assert (await stream.results(1))[1].reservation.reserved_credits == 1
    assert await world.balance(account) == (100, 1, 99)


async def test_a_caller_that_leaves_takes_what_waits_along(world: World) -> None:
    account = await world.new_account()
    operations = [reserve(sequence, account) for sequence in range(20)]
    async with open_stream(world) as kept:
        async with held_back(world, await world.new_account()):
            async with open_stream(world) as left:
                await left.send(*operations)
                await until(lambda: waiting(world) == 20)
            await until(lambda: waiting(world) == 0)
            await kept.send(reserve(1, account))
        await kept.results(1)
    assert await world.balance(account) == (100, 1, 99)


@on_sqlite
@pytest.mark.parametrize("sequences", [(1, 1), (2, 7)])
async def test_a_sequence_that_is_not_answered_ends_the_stream(world: World, sequences: tuple[int, int]) -> None:
    account = await world.new_account()
    async with open_stream(world) as stream:
        async with held_back(world, await world.new_account()):
            await stream.send(reserve(7, account))
            await until(lambda: waiting(world) == 1)
            await stream.send(*(reserve(sequence, account) for sequence in sequences))
            await asyncio.sleep(0.05)
        assert set(await stream.results(1)) == {7}, "what was begun is answered first"
        refusal = await stream.end()
    assert refusal is not None
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["operations[1].sequence"])
    assert await world.balance(account) == (100, 1, 99)


@on_sqlite
async def test_a_message_with_too_much_or_nothing_ends_the_stream(world: World) -> None:
    account = await world.new_account()
    for message, field in (
        ((), "operations"),
        (tuple(reserve(sequence, account) for sequence in range(1001)), "operations"),
    ):
        async with open_stream(world) as stream:
            await stream.send(*message)
            refusal = await stream.end()
        assert refusal is not None
        assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", [field])
    async with open_stream(world) as stream:
        await stream.send(cancel=tuple(range(1001)))
        refusal = await stream.end()
    assert refusal is not None
    assert refusal.fields == ["cancelled_sequences"]
    assert await world.balance(account) == (100, 0, 100)


@on_sqlite
async def test_bytes_that_are_no_message_end_the_stream(world: World) -> None:
    account = await world.new_account()
    method: Any = world.running.channel.stream_stream(
        PATH,
        request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
        response_deserializer=broker_pb2.PipelineResponse.FromString,
    )
    stream = Stream(method(metadata=(("authorization", f"Bearer {world.provider.key}"),)))
    await stream.send(reserve(1, account))
    await stream.results(1)
    await stream.call.write(b"\xff\xff\xff")
    refusal = await stream.end()
    assert refusal is not None
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert refusal.detail(error_details_pb2.BadRequest).field_violations


@on_sqlite
async def test_a_stream_ends_well_when_its_caller_sends_no_more(world: World) -> None:
    account = await world.new_account()
    async with open_stream(world) as stream:
        async with held_back(world, await world.new_account()):
            await stream.send(reserve(1, account))
            await stream.call.done_writing()
            await asyncio.sleep(0.05)
        assert set(await stream.results(1)) == {1}
        assert await stream.end() is None


@on_sqlite
async def test_no_more_is_read_than_may_run(world: World) -> None:
    account = await world.new_account(trial_credits=1_000)
    async with patched(pipeline, MAX_RUNNING=20), open_stream(world) as stream:
        async with held_back(world, await world.new_account()):
            for start in range(0, 200, 5):
                await stream.send(*(reserve(sequence, account) for sequence in range(start, start + 5)))
            await until(lambda: waiting(world) >= 20)
            await asyncio.sleep(0.1)
            assert waiting(world) == 20
        assert set(await stream.results(200)) == set(range(200))
    assert await world.balance(account) == (1_000, 200, 800)


@on_sqlite
async def test_answers_that_no_message_has_room_for_come_in_several(world: World) -> None:
    account = await world.new_account()
    labels = {str(number): "😀" * 500 for number in range(32)}
    async with patched(pipeline, _MAX_RESPONSE_BYTES=200_000), open_stream(world) as stream:
        await stream.send(*(reserve(sequence, account, metadata=labels) for sequence in range(20)))
        assert set(await stream.results(20)) == set(range(20))
    assert len(stream.messages) >= 5
    assert max(len(message) for message in stream.messages) <= 4


@on_sqlite
async def test_streams_do_not_wait_for_one_that_is_not_read(world: World) -> None:
    account = await world.new_account(trial_credits=1_000)
    labels = {str(number): "😀" * 500 for number in range(32)}
    reservation_id = await world.reserved(account, 1, metadata=labels)
    again = broker_pb2.ExtendRequest(request_id=new_id(), reservation_id=reservation_id, additional_credits=1)
    async with patched(pipeline, MAX_RUNNING=50), open_stream(world) as slow, open_stream(world) as other:
        # Their answers are larger than what is on its way at most; nobody takes them.
        sending = asyncio.create_task(_send_forever(slow, again))
        await asyncio.sleep(0.3)
        for sequence in range(20):
            await other.send(reserve(sequence, account))
            assert set(await other.results(1)) == {sequence}
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send_forever(stream: Stream, request: broker_pb2.ExtendRequest) -> None:
    sequence = 0
    while True:
        sequence += 1
        await stream.send(broker_pb2.PipelineOperation(sequence=sequence, extend=request))
