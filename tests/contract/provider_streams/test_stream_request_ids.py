"""A request_id that was streamed before, is being streamed, or belongs to another call."""

import asyncio
from contextlib import aclosing

import pytest

from client_stub.errors import (
    InsufficientCreditsError,
    InvalidArgumentError,
    RequestIdReusedError,
    ReservationCapturedError,
    ReservationReleasedError,
    StreamRunningError,
)
from client_stub.structs import from_struct
from provider_service.services.service import AfterCrash
from tests.contract.broker_world.world import new_id
from tests.contract.provider_streams.metered_service import MeteredService, pieces
from tests.contract.provider_streams.streaming import Streaming, receive, streaming_of
from tests.unit.provider_service.harness import refusal_of


async def test_a_stream_is_not_given_or_charged_twice(streaming: Streaming, service: MeteredService) -> None:
    account, request_id = await streaming.account(50), new_id()
    first = await streaming.read(account, request_id=request_id)
    assert first.last is not None
    again = await streaming.read(account, request_id=request_id.upper())
    assert isinstance(again.error, ReservationCapturedError)
    assert again.error.metadata == {"reservation_id": first.last.reservation_id, "charged_credits": "3"}
    assert again.error.message == (
        "this stream has ended; what was delivered was charged, in credits: 3; nothing is charged again; "
        "use a new request_id"
    )
    assert (again.chunks, service.yielded) == ([], 3)
    assert await streaming.books(account) == (3, 0)


async def test_a_stream_that_ended_before_its_first_chunk_is_not_begun_again(
    streaming: Streaming, service: MeteredService
) -> None:
    service.script = pieces(1, each=50)
    account, request_id = await streaming.account(20), new_id()
    first = await streaming.read(account, request_id=request_id)
    assert isinstance(first.error, InsufficientCreditsError)
    again = await streaming.read(account, request_id=request_id)
    assert isinstance(again.error, ReservationReleasedError)
    assert again.error.metadata["charged_credits"] == "0"
    assert await streaming.books(account) == (0, 0)


async def test_another_process_knows_a_stream_that_ended(streaming: Streaming, service: MeteredService) -> None:
    account, request_id = await streaming.account(50), new_id()
    await streaming.read(account, request_id=request_id)
    async with streaming_of(streaming.world, service) as other:
        again = await other.read(account, request_id=request_id)
    assert isinstance(again.error, ReservationCapturedError)
    assert service.yielded == 3


async def test_a_running_stream_is_not_joined(streaming: Streaming, service: MeteredService) -> None:
    go_on = asyncio.Event()

    async def wait(_index: int) -> None:
        await go_on.wait()

    service.script = pieces(3, after=wait)
    account, request_id = await streaming.account(50), new_id()
    running = streaming.open(account, request_id=request_id)
    async with aclosing(running), streaming_of(streaming.world, service) as other_process:
        await anext(running)
        for provider in (streaming, other_process):
            again = await provider.read(account, request_id=request_id)
            assert isinstance(again.error, StreamRunningError)
            assert again.error.metadata == {"request_id": request_id, "service": service.name}
        other_input = await receive(
            streaming.client.serve_stream(
                service=service.name, input={"other": 1}, account_token=account.token, request_id=request_id
            )
        )
        assert isinstance(other_input.error, RequestIdReusedError)
        assert other_input.error.metadata == {"request_id": request_id, "rpc": "ServeStream"}
        go_on.set()
        rest = await receive(running)
    assert (rest.error, rest.paid_credits, service.yielded) == (None, 3, 3)
    assert await streaming.books(account) == (3, 0)


async def test_one_id_is_for_one_of_the_two_calls(streaming: Streaming, service: MeteredService) -> None:
    service.streams_only = False
    account = await streaming.account(5_000)
    streamed = streaming.request(account)
    await streaming.read(account, request_id=streamed.request_id)
    refused = await refusal_of(streaming.provider.stub.ServeRequest(streamed, timeout=20))
    assert isinstance(refused, RequestIdReusedError)
    service.quoted_credits = 2
    served = streaming.request(account)
    assert (await streaming.provider.stub.ServeRequest(served, timeout=20)).charged_credits == 2
    again = await streaming.read(account, request_id=served.request_id)
    assert isinstance(again.error, RequestIdReusedError)
    assert await streaming.books(account) == (5, 0)


async def test_a_service_that_only_streams_says_so(streaming: Streaming, service: MeteredService) -> None:
    account = await streaming.account(5_000)
    refused = await refusal_of(streaming.provider.stub.ServeRequest(streaming.request(account), timeout=20))
    assert isinstance(refused, InvalidArgumentError)
    assert refused.violations == {"service": f"{service.name} answers in chunks only: use ServeStream"}
    assert await streaming.reservations(account) == []


async def test_a_service_of_one_piece_is_streamed_as_one_chunk(streaming: Streaming, service: MeteredService) -> None:
    whole = WholeService(service.name)
    async with streaming_of(streaming.world, whole) as providing_whole:  # type: ignore[arg-type]
        account, request_id = await streaming.account(50), new_id()
        for replayed in (False, True):
            received = [answer async for answer in providing_whole.open(account, request_id=request_id)]
            assert [from_struct(answer.chunk) for answer in received] == [{"whole": True}]
            answer = received[0]
            assert (answer.charged_credits, answer.balance.ledger_credits) == (7, 43)
            assert (bool(answer.reservation_id), answer.replayed) == (True, replayed)
        poor = await streaming.account(3)
        assert isinstance((await providing_whole.read(poor)).error, InsufficientCreditsError)
        assert await providing_whole.books(account) == (7, 0)


class WholeService:
    """A service without chunks."""

    title, unit_name, after_crash = "Whole", "piece", AfterCrash.RELEASE

    def __init__(self, name: str) -> None:
        self.name = name
        self.input_schema = MeteredService.input_schema
        self.close = MeteredService(name).close
        self.perform = MeteredService(name).perform
        self.quote = MeteredService(name, quoted_credits=7).quote


@pytest.mark.parametrize("field", ["request_id", "service", "account_token"])
async def test_a_field_that_breaks_its_rule_is_named(streaming: Streaming, service: MeteredService, field: str) -> None:
    fields = {"request_id": new_id(), "service": service.name, "account_token": "token", field: "\0"}
    received = await receive(streaming.client.serve_stream(input={}, **fields))  # type: ignore[arg-type]
    assert isinstance(received.error, InvalidArgumentError)
    assert list(received.error.violations) == [field]
