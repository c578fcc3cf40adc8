"""Charges whose broker does not answer, or whose log cannot be written."""

import asyncio
import io
import logging

import grpc
import pytest
from iap.broker.v1.broker_pb2 import (
    ReserveRequest,
)

from client_stub import reserving
from client_stub.broker import BrokerClient
from client_stub.charge import charge, drain_charges
from client_stub.errors import (
    IapError,
)
from tests.unit.client_stub.charges import (
    BROKEN,
    CAPTURE,
    ID,
    RELEASE,
    RESERVE,
    Gate,
    a_broker,
    charge_five,
    methods,
    reserved,
)
from tests.unit.client_stub.scripted_server import Answer, refusal


class Ledger:
    """Reserves once for each request_id, and answers the first calls with an error though they were done."""

    def __init__(self, *losses: Answer) -> None:
        self.losses = list(losses)
        self.reserved: set[str] = set()

    def __call__(self, request: ReserveRequest) -> Answer:
        response = reserved(request)
        response.replayed = request.request_id in self.reserved
        self.reserved.add(request.request_id)
        return self.losses.pop(0) if self.losses else response


LOST = [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN, BROKEN, refusal(grpc.StatusCode.INTERNAL, "NEW")]


async def refused_charge(broker: BrokerClient, *, request_id: str | None = None, timeout_seconds: float = 5) -> None:
    with pytest.raises(IapError):
        async with charge(
            broker, account_token="token", credits=5, request_id=request_id, timeout_seconds=timeout_seconds
        ):
            pytest.fail("the body ran")


@pytest.mark.parametrize("loss", LOST)
async def test_what_was_reserved_without_an_answer_is_found_and_given_back(loss: Answer) -> None:
    async with a_broker(Reserve=Ledger(loss)) as (broker, server):
        await refused_charge(broker)
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE, RESERVE, RELEASE]
    first, again = server.requests(RESERVE)
    assert first == again


async def test_what_was_reserved_after_the_callers_time_is_found_and_given_back() -> None:
    gate = Gate(reserved)
    async with a_broker(Reserve=gate) as (broker, server):
        await refused_charge(broker, timeout_seconds=0.6)
        gate.opened.set()
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE, RESERVE, RELEASE]


async def test_the_broker_is_asked_until_it_answers() -> None:
    overloaded = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    conflict = refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT")
    async with a_broker(Reserve=Ledger(BROKEN, overloaded, conflict, BROKEN)) as (broker, server):
        await refused_charge(broker)
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE] * 5 + [RELEASE]


async def test_a_caller_cancelled_without_an_answer_leaves_nothing_reserved() -> None:
    gate = Gate(Ledger(BROKEN))
    async with a_broker(Reserve=gate) as (broker, server):
        task = asyncio.create_task(refused_charge(broker))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE, RESERVE, RELEASE]


async def test_a_refusal_in_the_end_means_that_nothing_was_reserved() -> None:
    poor = refusal(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS", missing="2")
    async with a_broker(Reserve=[BROKEN, poor]) as (broker, server):
        await refused_charge(broker)
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE, RESERVE]


@pytest.mark.parametrize(
    "answer",
    [
        refusal(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS", missing="2"),
        refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
        refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"),
        refusal(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    ],
)
async def test_a_clear_refusal_is_not_asked_about(answer: Answer) -> None:
    async with a_broker(Reserve=answer) as (broker, server):
        await refused_charge(broker)
        assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE]


@pytest.mark.parametrize("loss", LOST)
async def test_without_an_answer_a_request_id_of_the_callers_is_left_to_a_retry(loss: Answer) -> None:
    async with a_broker(Reserve=Ledger(loss)) as (broker, server):
        await refused_charge(broker, request_id=ID)
        assert await drain_charges(5) == 0
        async with charge_five(broker) as paying:
            assert paying.replayed
    assert methods(server) == [RESERVE, RESERVE, CAPTURE]


async def test_a_body_that_fails_releases_what_an_earlier_attempt_reserved() -> None:
    async with a_broker(Reserve=Ledger(BROKEN)) as (broker, server):
        await refused_charge(broker, request_id=ID)
        with pytest.raises(LookupError):
            async with charge_five(broker) as paying:
                raise LookupError
    assert paying.replayed
    assert methods(server) == [RESERVE, RESERVE, RELEASE]


async def test_a_broker_that_never_answers_is_asked_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reserving, "_ASKED_AGAIN_FOR_SECONDS", 0.3)
    async with a_broker(Reserve=BROKEN) as (broker, server):
        with caplog.at_level(logging.WARNING):
            await refused_charge(broker)
            assert await drain_charges(5) == 0
    assert 2 <= len(server.requests(RESERVE)) <= 5
    assert set(methods(server)) == {RESERVE}
    assert "charge.left_to_expire request_id=" in caplog.text


async def test_nothing_is_asked_on_a_channel_that_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with a_broker(Reserve=BROKEN) as (broker, server):
        with caplog.at_level(logging.WARNING):
            await refused_charge(broker)
            await broker.close()
            assert await drain_charges(5) == 0
    assert methods(server) == [RESERVE]
    assert "charge.left_to_expire request_id=" in caplog.text


class BrokenStream(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError("no space left on device")


async def test_a_log_that_cannot_be_written_breaks_no_charge(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(BrokenStream())
    logging.getLogger("client_stub").addHandler(handler)
    try:
        async with a_broker(Release=BROKEN) as (broker, _):
            with pytest.raises(LookupError) as caught:
                async with charge_five(broker):
                    raise LookupError
        assert "was not released: INTERNAL: broken" in caught.value.__notes__[0]
    finally:
        logging.getLogger("client_stub").removeHandler(handler)
    assert "no space left on device" in capsys.readouterr().err
