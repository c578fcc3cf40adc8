"""What becomes of requests that a process has left open, and of those who ask for them again."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from client_stub.broker import BrokerClient
from client_stub.structs import from_struct, to_struct
from provider_service.charging import attempt, paid_requests, recovery
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.payments import Payments
from provider_service.journal import committer
from provider_service.journal.durable import DurableJournal, open_journal
from provider_service.journal.entries import Entry, Step
from provider_service.services.service import AfterCrash, Json, ServiceFailure
from tests.databases import DatabaseKind, DatabaseMaker, no_connections
from tests.unit.provider_service.broker_double import ACTIVE, CAPTURED, KEY, RELEASED, BrokerDouble, refusal
from tests.unit.provider_service.example_services import ExampleService, Gate
from tests.unit.provider_service.harness import Provider, providing, until

OUTPUT = {"echo": "from before"}
# What a caller with too little time gets: from the provider, or, if that comes too late, from its own channel.
NOT_YET = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[DurableJournal]:
    journal = await open_journal(url, tell_writable=lambda _: None)
    try:
        yield journal
    finally:
        await journal.close()


@pytest.fixture
def journal_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


@dataclass(frozen=True, slots=True)
class Past:
    """Requests that a process had begun before it died."""

    broker: BrokerDouble
    broker_address: str
    service: ExampleService
    url: str

    async def leave(self, step: Step, *, reserve: bool = True) -> PaidRequest:
        """Leaves a request open at a step, as a crash would."""
        request = PaidRequest(
            request_id=str(uuid.uuid4()),
            account_token=self.broker.open_account(10),
            service=self.service,
            service_input={"text": "hello"},
            credits=5,
        )
        async with opened(self.url) as journal, BrokerClient.connect(self.broker_address, key=KEY) as client:
            await journal.open(request.to_entry())
            reservation_id = ""
            if reserve:
                reserved = await Payments(client).reserve(request, timeout_seconds=5)
                reservation_id = reserved.reservation.reservation_id
            if step in (Step.WORKING, Step.DONE):
                await journal.working(request.key, reservation_id=reservation_id)
            if step is Step.DONE:
                await journal.done(request.key, credits=4, output=to_struct(OUTPUT).SerializeToString())
            if step is Step.FAILED:
                await journal.failed(request.key, reservation_id=reservation_id)
        return request

    @asynccontextmanager
    async def restarted(self, *services: ExampleService) -> AsyncIterator[Provider]:
        async with (
            opened(self.url) as journal,
            providing(self.broker_address, services or [self.service], journal=journal) as provider,
        ):
            yield provider


@pytest.fixture
def past(broker: BrokerDouble, broker_address: str, service: ExampleService, journal_url: str) -> Past:
    return Past(broker, broker_address, service, journal_url)


def again(provider: Provider, request: PaidRequest, **more: Any) -> Any:
    return provider.serve(account_token=request.account_token, request_id=request.request_id, **more)


async def refused_again(provider: Provider, request: PaidRequest) -> str:
    refused = await provider.refused(account_token=request.account_token, request_id=request.request_id)
    return refused.reason


def states(broker: BrokerDouble) -> list[int]:
    return [reservation.state for reservation in broker.reservations]


async def test_what_was_done_is_captured_and_a_retry_gets_its_output(past: Past) -> None:
    request = await past.leave(Step.DONE)
    async with past.restarted() as provider:
        await until(lambda: states(past.broker) == [CAPTURED])
        for _ in range(2):
            served = await again(provider, request)
            assert from_struct(served.output) == OUTPUT
            assert (served.replayed, served.charged_credits, served.balance.ledger_credits) == (True, 4, 6)
    assert past.service.requests == []


async def test_what_was_captured_is_not_captured_again_by_the_next_start(past: Past) -> None:
    await past.leave(Step.DONE)
    for _ in range(2):
        async with past.restarted():
            await until(lambda: states(past.broker) == [CAPTURED])
    assert past.broker.calls["Capture"] == 1


async def test_work_that_was_cut_off_is_released(past: Past) -> None:
    request = await past.leave(Step.WORKING)
    async with past.restarted() as provider:
        await until(lambda: states(past.broker) == [RELEASED])
        assert await refused_again(provider, request) == "RESERVATION_RELEASED"
    assert past.service.requests == []


async def test_work_that_may_be_repeated_is_done_again_and_captured(past: Past) -> None:
    past.service.after_crash = AfterCrash.RESUME
    request = await past.leave(Step.WORKING)
    async with past.restarted() as provider:
        await until(lambda: states(past.broker) == [CAPTURED])
        served = await again(provider, request)
    assert from_struct(served.output) == {"echo": "hello"}
    assert (served.replayed, served.charged_credits) == (True, 5)
    assert past.service.requests == [request.request_id]


async def test_a_retry_waits_for_work_that_is_being_done_again(past: Past) -> None:
    past.service.after_crash = AfterCrash.RESUME
    request = await past.leave(Step.WORKING)
    gate = Gate()
    past.service.work = gate.work
    async with past.restarted() as provider:
        await past.service.began.wait()
        hurried = await provider.refused(
            account_token=request.account_token, request_id=request.request_id, timeout=0.3
        )
        assert hurried.code in NOT_YET
        retry = provider.begin(account_token=request.account_token, request_id=request.request_id)
        await asyncio.sleep(0.05)
        gate.opened.set()
        assert from_struct((await retry).output) == {"echo": "hello"}
    assert past.service.requests == [request.request_id]


async def test_work_that_is_done_again_in_vain_is_released(past: Past) -> None:
    async def fail(_input: Mapping[str, Json]) -> Mapping[str, Json]:
        raise ServiceFailure("no", retryable=False)

    past.service.after_crash = AfterCrash.RESUME
    past.service.work = fail
    request = await past.leave(Step.WORKING)
    async with past.restarted() as provider:
        await until(lambda: states(past.broker) == [RELEASED])
        assert await refused_again(provider, request) == "RESERVATION_RELEASED"


async def test_work_whose_reservation_has_ended_is_not_done_again(past: Past) -> None:
    past.service.after_crash = AfterCrash.RESUME
    request = await past.leave(Step.WORKING)
    expire(past.broker)
    async with past.restarted() as provider:
        assert await refused_again(provider, request) == "RESERVATION_RELEASED"
    assert past.service.requests == []


async def test_what_had_failed_is_released_whatever_its_service_says(past: Past) -> None:
    past.service.after_crash = AfterCrash.RESUME
    await past.leave(Step.FAILED)
    async with past.restarted():
        await until(lambda: states(past.broker) == [RELEASED])
    assert past.service.requests == []


async def test_what_was_reserved_and_not_begun_is_released(past: Past) -> None:
    request = await past.leave(Step.RESERVING)
    async with past.restarted() as provider:
        await until(lambda: states(past.broker) == [RELEASED])
        assert await refused_again(provider, request) == "RESERVATION_RELEASED"
    assert past.service.requests == []


async def test_what_reserved_nothing_leaves_its_id_free(past: Past) -> None:
    request = await past.leave(Step.RESERVING, reserve=False)
    async with past.restarted() as provider:
        served = await again(provider, request)
    assert (served.replayed, served.charged_credits) == (False, 5)


async def test_a_request_that_is_being_adopted_is_settled_first(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    request = await past.leave(Step.RESERVING)
    adopt, adopted, may_go_on = DurableJournal.adopt, asyncio.Event(), asyncio.Event()

    async def adopt_slowly(journal: DurableJournal) -> Sequence[Entry]:
        entries = await adopt(journal)
        adopted.set()
        await may_go_on.wait()
        return entries

    monkeypatch.setattr(DurableJournal, "adopt", adopt_slowly)
    async with past.restarted() as provider:
        await adopted.wait()
        retry = asyncio.create_task(refused_again(provider, request))
        await asyncio.sleep(0.1)
        assert (retry.done(), past.broker.calls["Reserve"]) == (False, 1)
        may_go_on.set()
        assert await retry == "RESERVATION_RELEASED"
    assert (past.broker.calls["Reserve"], states(past.broker)) == (1, [RELEASED])


async def test_a_request_that_is_settled_while_it_is_looked_up_is_looked_up_again(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await past.leave(Step.RESERVING, reserve=False)
    asked, may_go_on, opened, may_answer = (asyncio.Event() for _ in range(4))

    async def hold() -> None:
        asked.set()
        await may_go_on.wait()

    past.broker.before["GetReservation"] = [hold]
    open_entry = DurableJournal.open

    async def open_slowly(journal: DurableJournal, entry: Entry) -> Entry | None:
        found = await open_entry(journal, entry)
        opened.set()
        await may_answer.wait()
        return found

    async with past.restarted() as provider:
        # It is being settled, and found as it was before.
        await asked.wait()
        monkeypatch.setattr(DurableJournal, "open", open_slowly)
        retry = asyncio.ensure_future(again(provider, request))
        await opened.wait()
        may_go_on.set()
        await until(lambda: not provider.settler.is_settling(request.key))
        may_answer.set()
        assert (await retry).charged_credits == 5
    assert states(past.broker) == [CAPTURED]


async def test_a_token_that_is_gone_leads_to_nothing(past: Past) -> None:
    request = await past.leave(Step.RESERVING)
    account = past.broker.accounts.pop(request.account_token)
    async with past.restarted() as provider:
        await until(lambda: past.broker.calls["GetReservation"] == 1)
        past.broker.accounts[request.account_token] = account
        assert (await again(provider, request)).charged_credits == 5


def expire(broker: BrokerDouble) -> None:
    for booking in broker.bookings.values():
        booking.reservation.expire_time.FromSeconds(1)


async def test_an_output_whose_reservation_has_ended_is_given_only_to_who_pays(past: Past) -> None:
    request = await past.leave(Step.DONE)
    expire(past.broker)
    async with past.restarted() as provider:
        await until(lambda: past.broker.calls["Capture"] == 1)
        account = past.broker.accounts[request.account_token]
        account.ledger_credits = 3
        assert await refused_again(provider, request) == "INSUFFICIENT_CREDITS"
        account.ledger_credits = 10
        past.broker.fail("Charge", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), after=True)
        assert await refused_again(provider, request) == "STORAGE_CONFLICT"
        served = [await again(provider, request) for _ in range(2)]
    assert [from_struct(it.output) for it in served] == [OUTPUT, OUTPUT]
    assert [(it.charged_credits, it.replayed) for it in served] == [(4, True)] * 2
    assert account.ledger_credits == 6
    async with past.restarted() as provider:
        assert from_struct((await again(provider, request)).output) == OUTPUT
    assert (len(past.broker.charges), account.ledger_credits, past.service.requests) == (1, 6, [])


async def test_settling_goes_on_until_the_broker_confirms_while_others_are_served(past: Past) -> None:
    request = await past.leave(Step.DONE)
    past.broker.fail("Capture", refusal(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID"), times=4)
    async with past.restarted() as provider:
        retry = provider.begin(account_token=request.account_token, request_id=request.request_id)
        other = await provider.serve(account_token=past.broker.open_account(5))
        assert other.charged_credits == 5
        assert from_struct((await retry).output) == OUTPUT


async def test_requests_of_a_service_that_is_not_offered_any_more_are_settled_too(past: Past) -> None:
    past.service.after_crash = AfterCrash.RESUME
    await past.leave(Step.WORKING)
    await past.leave(Step.DONE)
    async with past.restarted(ExampleService("fax")):
        await until(lambda: states(past.broker) == [RELEASED, CAPTURED])


async def test_the_same_id_for_something_else_is_refused_after_a_restart(past: Past) -> None:
    request = await past.leave(Step.DONE)
    async with past.restarted() as provider:
        refused = await provider.refused(
            account_token=request.account_token, request_id=request.request_id, text="world"
        )
    assert refused.reason == "REQUEST_ID_REUSED"


async def test_an_unclear_reserve_goes_on_with_a_retry(past: Past) -> None:
    token, request_id = past.broker.open_account(10), str(uuid.uuid4())
    async with past.restarted() as provider:
        past.broker.fail("Reserve", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), after=True)
        await provider.refused(account_token=token, request_id=request_id)
        assert states(past.broker) == [ACTIVE]
        served = await provider.serve(account_token=token, request_id=request_id)
    assert (served.replayed, served.charged_credits) == (False, 5)
    assert states(past.broker) == [CAPTURED]


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_unclear_reserve_that_nobody_comes_back_for_is_released(
    past: Past, monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    monkeypatch.setattr(paid_requests, "UNSETTLED_SECONDS", 30 if restarts else 0.1)
    async with past.restarted() as provider:
        past.broker.fail("Reserve", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), after=True)
        await provider.refused(account_token=past.broker.open_account(10))
        if not restarts:
            await until(lambda: states(past.broker) == [RELEASED])
    async with past.restarted():
        await until(lambda: states(past.broker) == [RELEASED])


async def test_processes_that_share_a_journal_share_each_request(
    past: Past, databases: DatabaseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "ADOPTION_SECONDS", 0.1)
    url = databases.make(DatabaseKind.POSTGRESQL)
    token, request_id = past.broker.open_account(10), str(uuid.uuid4())
    gate, elsewhere = Gate(), ExampleService()
    past.service.work = gate.work
    async with (
        opened(url) as first_journal,
        opened(url) as second_journal,
        providing(past.broker_address, [past.service], journal=first_journal) as first,
        providing(past.broker_address, [elsewhere], journal=second_journal) as second,
    ):
        call = first.begin(account_token=token, request_id=request_id)
        await past.service.began.wait()
        hurried = await second.refused(account_token=token, request_id=request_id, timeout=0.3)
        assert hurried.code in NOT_YET
        retry = second.begin(account_token=token, request_id=request_id)
        await asyncio.sleep(0.1)
        gate.opened.set()
        served, replayed = await call, await retry
    assert (served.replayed, replayed.replayed) == (False, True)
    assert from_struct(replayed.output) == from_struct(served.output) == {"echo": "hello"}
    assert (past.service.requests, elsewhere.requests) == ([request_id], [])
    assert states(past.broker) == [CAPTURED]


async def test_a_process_that_is_taken_for_dead_captures_nothing_any_more(
    past: Past, databases: DatabaseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It looks for others' requests once, and not again, for which it would connect.
    monkeypatch.setattr(recovery, "ADOPTION_SECONDS", 60)
    url = databases.make(DatabaseKind.POSTGRESQL)
    token, request_id = past.broker.open_account(10), str(uuid.uuid4())
    gate = Gate()
    past.service.work = gate.work
    async with (
        opened(url) as first_journal,
        opened(url) as second_journal,
        providing(past.broker_address, [past.service], journal=first_journal) as first,
    ):
        call = asyncio.create_task(first.refused(account_token=token, request_id=request_id))
        await past.service.began.wait()
        # Its connection, and with it its lock, is gone; it has not noticed yet.
        await first_journal._store.close()
        monkeypatch.setattr(recovery, "ADOPTION_SECONDS", 0.1)
        async with providing(past.broker_address, [ExampleService()], journal=second_journal):
            await until(lambda: states(past.broker) == [RELEASED])
        gate.opened.set()
        assert (await call).reason == "UNAVAILABLE"
        refused = await first.refused(account_token=token, request_id=request_id)
    assert refused.reason == "RESERVATION_RELEASED"
    assert past.broker.calls["Capture"] == 0


async def test_without_its_journal_a_provider_begins_nothing(
    past: Past, databases: DatabaseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "PROBE_SECONDS", 0.05)
    url = databases.make(DatabaseKind.POSTGRESQL)
    token = past.broker.open_account(10)
    async with opened(url) as journal, providing(past.broker_address, [past.service], journal=journal) as provider:
        with no_connections(url):
            refused = await provider.refused(account_token=token)
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert (past.broker.calls["Reserve"], past.service.requests) == (0, [])


@pytest.mark.parametrize("comes_back", [True, False])
async def test_an_output_that_cannot_be_kept_is_neither_given_nor_charged_for(
    past: Past, databases: DatabaseMaker, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    monkeypatch.setattr(committer, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(attempt, "_JOURNAL_DELAY_SECONDS", 0.02)
    url = databases.make(DatabaseKind.POSTGRESQL)
    token, request_id = past.broker.open_account(10), str(uuid.uuid4())
    gate = Gate()
    past.service.work = gate.work
    if not comes_back:
        past.broker.default_ttl = timedelta(seconds=7)
    async with opened(url) as journal, providing(past.broker_address, [past.service], journal=journal) as provider:
        call = asyncio.create_task(provider.refused(account_token=token, request_id=request_id, timeout=1))
        await past.service.began.wait()
        with no_connections(url):
            gate.opened.set()
            assert (await call).code in NOT_YET
            assert states(past.broker) == [ACTIVE]
            if not comes_back:
                await until(lambda: states(past.broker) == [RELEASED])
        async with asyncio.timeout(10):
            if comes_back:
                served = await provider.serve(account_token=token, request_id=request_id)
                assert from_struct(served.output) == {"echo": "hello"}
                assert states(past.broker) == [CAPTURED]
                return
            reason = "UNAVAILABLE"
            while reason == "UNAVAILABLE":
                reason = (await provider.refused(account_token=token, request_id=request_id)).reason
            assert reason == "RESERVATION_RELEASED"
