"""The same request_id again: at once, later, after a restart, and for something else."""

import asyncio
import uuid
from collections.abc import Mapping

import grpc
import pytest

from client_stub.errors import RequestIdReusedError
from client_stub.structs import from_struct
from provider_service.charging import budgets
from provider_service.journal.memory import MemoryJournal
from provider_service.services.service import Json, ServiceFailure
from tests.unit.provider_service.broker_double import ACTIVE, CAPTURED, RELEASED, BrokerDouble, refusal
from tests.unit.provider_service.example_services import ExampleService, Gate
from tests.unit.provider_service.harness import Provider, providing, until


@pytest.fixture
def request_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def token(broker: BrokerDouble) -> str:
    return broker.open_account(100)


async def fail(_input: Mapping[str, Json]) -> Mapping[str, Json]:
    raise ServiceFailure("no", retryable=False)


async def test_a_replay_gets_the_output_again_and_the_balance_as_it_is_now(
    broker: BrokerDouble, provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    first = await provider.serve(account_token=token, request_id=request_id)
    broker.accounts[token].ledger_credits = 1000
    again = await provider.serve(account_token=token, request_id=request_id)
    assert again.output == first.output
    assert again.reservation_id == first.reservation_id
    assert again.charged_credits == first.charged_credits == 5
    assert again.balance.ledger_credits == 1000
    assert (first.replayed, again.replayed) == (False, True)
    assert len(service.requests) == broker.calls["Reserve"] == broker.calls["Capture"] == 1


async def test_a_replay_with_a_token_that_is_no_longer_good_is_refused(
    broker: BrokerDouble, provider: Provider, token: str, request_id: str
) -> None:
    await provider.serve(account_token=token, request_id=request_id)
    del broker.accounts[token]
    refused = await provider.refused(account_token=token, request_id=request_id)
    assert (refused.reason, refused.domain) == ("ACCOUNT_NOT_FOUND", "iap.broker")


async def test_the_same_id_of_another_account_is_another_request(
    broker: BrokerDouble, provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    await provider.serve(account_token=token, request_id=request_id, text="mine")
    other = await provider.serve(account_token=broker.open_account(10), request_id=request_id, text="yours")
    assert not other.replayed
    assert from_struct(other.output) == {"echo": "yours"}


async def test_the_same_id_for_another_input_is_refused(
    provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    await provider.serve(account_token=token, request_id=request_id, text="hello")
    refused = await provider.refused(account_token=token, request_id=request_id, text="world")
    assert isinstance(refused, RequestIdReusedError)
    assert refused.code is grpc.StatusCode.ALREADY_EXISTS
    assert refused.domain == "iap.provider"
    assert refused.metadata == {"request_id": request_id, "rpc": "ServeRequest"}
    assert len(service.requests) == 1


async def test_the_same_id_for_another_service_is_refused(
    broker_address: str, service: ExampleService, token: str, request_id: str
) -> None:
    async with providing(broker_address, [service, ExampleService("fax")]) as provider:
        await provider.serve(account_token=token, request_id=request_id)
        refused = await provider.refused(account_token=token, request_id=request_id, service="fax")
    assert refused.reason == "REQUEST_ID_REUSED"


async def test_the_same_id_at_once_is_done_once(
    broker: BrokerDouble, provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    gate = Gate()
    service.work = gate.work
    calls = [provider.begin(account_token=token, request_id=request_id) for _ in range(5)]
    await service.began.wait()
    await asyncio.sleep(0.1)
    refused = await provider.refused(account_token=token, request_id=request_id, text="world")
    assert refused.reason == "REQUEST_ID_REUSED"
    gate.opened.set()
    responses = await asyncio.gather(*calls)
    assert sorted(response.replayed for response in responses) == [False, True, True, True, True]
    assert {response.reservation_id for response in responses} == {broker.reservations[0].reservation_id}
    assert all(from_struct(response.output) == {"echo": "hello"} for response in responses)
    assert len(service.requests) == broker.calls["Reserve"] == broker.calls["Capture"] == 1


async def test_callers_who_wait_together_fail_together_and_a_bug_is_logged_once(
    provider: Provider,
    service: ExampleService,
    token: str,
    request_id: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gate = Gate()

    async def crash(service_input: Mapping[str, Json]) -> Mapping[str, Json]:
        await gate.work(service_input)
        raise RuntimeError("on purpose")

    service.work = crash
    calls = [asyncio.create_task(provider.refused(account_token=token, request_id=request_id)) for _ in range(3)]
    await service.began.wait()
    await asyncio.sleep(0.1)
    gate.opened.set()
    assert [refused.reason for refused in await asyncio.gather(*calls)] == ["INTERNAL"] * 3
    output = capfd.readouterr()
    assert (output.out + output.err).count("service.bug") == 1
    assert "call.bug" not in output.out + output.err


@pytest.mark.parametrize("leaver", [0, 1])
async def test_a_caller_who_leaves_does_not_end_the_work_another_waits_for(
    broker: BrokerDouble, provider: Provider, service: ExampleService, token: str, request_id: str, leaver: int
) -> None:
    gate = Gate()
    service.work = gate.work
    calls = [provider.begin(account_token=token, request_id=request_id)]
    await service.began.wait()
    calls.append(provider.begin(account_token=token, request_id=request_id))
    await asyncio.sleep(0.1)
    calls.pop(leaver).cancel()
    await asyncio.sleep(0.1)
    gate.opened.set()
    response = await calls[0]
    assert response.charged_credits == 5
    assert not gate.cancelled.is_set()
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED]


async def test_the_last_caller_to_leave_ends_the_work(
    broker: BrokerDouble, provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    gate = Gate()
    service.work = gate.work
    calls = [provider.begin(account_token=token, request_id=request_id) for _ in range(2)]
    await service.began.wait()
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.wait_for(gate.cancelled.wait(), 20)
    await provider.settle()
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]
    refused = await provider.refused(account_token=token, request_id=request_id)
    assert refused.reason == "RESERVATION_RELEASED"


async def test_a_caller_with_more_time_gives_it_to_the_work(
    provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    gate = Gate()
    service.work = gate.work
    first = asyncio.create_task(provider.refused(account_token=token, request_id=request_id, timeout=0.5))
    await service.began.wait()
    second = provider.begin(account_token=token, request_id=request_id, timeout=10)
    assert (await first).code in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    gate.opened.set()
    assert (await second).charged_credits == 5


async def test_a_request_that_failed_is_not_done_again_under_its_id(
    broker: BrokerDouble, provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    service.work = fail
    await provider.refused(account_token=token, request_id=request_id)
    refused = await provider.refused(account_token=token, request_id=request_id)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESERVATION_RELEASED")
    assert refused.metadata == {"reservation_id": broker.reservations[0].reservation_id}
    assert len(service.requests) == 1


async def test_a_request_whose_release_is_not_confirmed_is_not_done_again_either(
    broker: BrokerDouble, provider: Provider, service: ExampleService, token: str, request_id: str
) -> None:
    service.work = fail
    broker.fail("Release", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), times=4)
    await provider.refused(account_token=token, request_id=request_id, timeout=0.2)
    assert [reservation.state for reservation in broker.reservations] == [ACTIVE]
    refused = await provider.refused(account_token=token, request_id=request_id)
    assert refused.reason == "RESERVATION_RELEASED"
    assert len(service.requests) == 1


async def test_a_capture_that_is_not_confirmed_goes_on_and_a_retry_gets_the_outcome(
    broker: BrokerDouble,
    provider: Provider,
    service: ExampleService,
    token: str,
    request_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgets, "SETTLE_SECONDS", 0.2)
    go_on = asyncio.Event()

    async def hold() -> None:
        await go_on.wait()
        raise refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")

    broker.before["Capture"] = [hold]
    refused = await provider.refused(account_token=token, request_id=request_id)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert refused.domain == "iap.provider"
    assert refused.retry_after is not None
    # The retry has time until it is confirmed.
    monkeypatch.setattr(budgets, "SETTLE_SECONDS", 20)
    retry = provider.begin(account_token=token, request_id=request_id)
    await asyncio.sleep(0.05)
    go_on.set()
    response = await retry
    assert response.replayed
    assert from_struct(response.output) == {"echo": "hello"}
    assert response.charged_credits == 5
    assert len(service.requests) == 1
    await until(lambda: not provider.pending)


async def test_only_as_many_outputs_are_kept_as_fit(
    broker: BrokerDouble, broker_address: str, service: ExampleService, token: str
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    async with providing(broker_address, [service], journal=MemoryJournal(requests_maximum=2)) as provider:
        for request_id in ids:
            await provider.serve(account_token=token, request_id=request_id)
        replays = [await provider.serve(account_token=token, request_id=request_id) for request_id in ids]
    assert [replay.HasField("output") for replay in replays] == [False, True, True]
    assert all(replay.replayed and replay.charged_credits == 5 for replay in replays)
    assert len(service.requests) == 3
