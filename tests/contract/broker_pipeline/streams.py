"""A stream of Pipeline, message by message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from iap.broker.v1 import broker_pb2

from tests.contract.broker_world.pipelined import result_error
from tests.contract.broker_world.refusals import Refusal, parse_error
from tests.contract.broker_world.world import Account, World, new_id

PATIENCE_SECONDS = 20.0
PATH = "/iap.broker.v1.BrokerService/Pipeline"


class Stream:
    """One call of Pipeline."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.messages: list[list[int]] = []
        self._results: list[broker_pb2.PipelineResult] = []

    async def send(self, *operations: broker_pb2.PipelineOperation, cancel: tuple[int, ...] = ()) -> None:
        await self.call.write(broker_pb2.PipelineRequest(operations=operations, cancelled_sequences=cancel))

    async def next(self) -> broker_pb2.PipelineResult:
        """Returns the next result; `messages` has the sequences of each message that came."""
        while not self._results:
            async with asyncio.timeout(PATIENCE_SECONDS):
                response = await self.call.read()
            assert response is not grpc.aio.EOF, "the stream has ended"
            assert response.results
            self._results.extend(response.results)
            self.messages.append([result.sequence for result in response.results])
        return self._results.pop(0)

    async def results(self, count: int) -> dict[int, Any]:
        """Returns so many results by their sequences: answers, and reasons of refusals."""
        found = [await self.next() for _ in range(count)]
        by_sequence = {result.sequence: answer_or_reason(result) for result in found}
        assert len(by_sequence) == count, "each is answered once"
        return by_sequence

    async def end(self) -> Refusal | None:
        """Returns what ends the stream when no more answers come; None for OK."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert not self._results
                assert await self.call.read() is grpc.aio.EOF
        except grpc.aio.AioRpcError as error:
            return parse_error(error)
        assert await self.call.code() is grpc.StatusCode.OK
        return None


@asynccontextmanager
async def open_stream(world: World, *, key: str | None = None) -> AsyncIterator[Stream]:
    """Opens a stream with the provider's key, or another one."""
    metadata = (("authorization", f"Bearer {world.provider.key if key is None else key}"),)
    call: Any = world.stubs.broker.Pipeline(metadata=metadata)
    try:
        yield Stream(call)
    finally:
        call.cancel()


def reserve(
    sequence: int,
    account: Account,
    amount: int = 1,
    *,
    request_id: str | None = None,
    timeout: timedelta | None = None,
    **fields: Any,
) -> broker_pb2.PipelineOperation:
    request = broker_pb2.ReserveRequest(
        request_id=request_id or new_id(), account_token=account.token, credits=amount, **fields
    )
    return broker_pb2.PipelineOperation(sequence=sequence, reserve=request, timeout=timeout)


def capture(sequence: int, reservation_id: str) -> broker_pb2.PipelineOperation:
    request = broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=reservation_id)
    return broker_pb2.PipelineOperation(sequence=sequence, capture=request)


def answer_or_reason(result: broker_pb2.PipelineResult) -> Message | str:
    if result.HasField("error"):
        return refusal_in(result).reason
    return getattr(result, result.WhichOneof("response") or "")  # type: ignore[no-any-return]  # a message


def refusal_in(result: broker_pb2.PipelineResult) -> Refusal:
    return parse_error(result_error(result))


@asynccontextmanager
async def patched(target: Any, **values: Any) -> AsyncIterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(target, name, value)
        yield
