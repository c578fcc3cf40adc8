"""Several broker processes on one database move the credits of one account, or of a thousand, and die meanwhile."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from iap.broker.v1 import account_pb2, broker_pb2

from tests.databases import DatabaseKind, DatabaseMaker
from tests.e2e.broker_fleet import Account, Fleet, new_id, running_fleet

JOBS_AT_ONCE = 64


@pytest.fixture(scope="module")
async def fleet(session_databases: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Two workers and a broker beside them, on PostgreSQL; in the end the books must agree."""
    url = session_databases.make(DatabaseKind.POSTGRESQL)
    async with running_fleet(url, tmp_path_factory.mktemp("fleet")) as running:
        yield running
        assert running.unanswered, "kills that leave nothing unanswered test nothing"
        assert (await running.audit())["violations"] == []


async def work(fleet: Fleet, account: Account, number: int, *, copies: int) -> int:
    """Spends credits in one of four ways; returns how many were taken. Each request goes to several processes."""
    if number % 4 == 0:
        charge = broker_pb2.ChargeRequest(request_id=new_id(), account_token=account.token, credits=2)
        charged = await fleet.once("Charge", charge, copies=copies)
        return 0 if charged is None else 2
    reserve = broker_pb2.ReserveRequest(request_id=new_id(), account_token=account.token, credits=3)
    reserved = await fleet.once("Reserve", reserve, copies=copies)
    if reserved is None:
        return 0
    reservation_id = reserved.reservation.reservation_id
    if number % 4 == 1:
        release = broker_pb2.ReleaseRequest(request_id=new_id(), reservation_id=reservation_id)
        await fleet.once("Release", release, copies=copies)
        return 0
    taken = number % 4 - 1
    capture = broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=reservation_id, credits=taken)
    captured = await fleet.once("Capture", capture, copies=copies)
    assert captured.captured_credits == taken
    return taken


async def work_all(fleet: Fleet, jobs: Sequence[tuple[Account, int]], *, kills: int) -> list[int]:
    """Does a job for each account and number, and kills workers meanwhile; returns what each took."""
    turns, done = asyncio.Semaphore(JOBS_AT_ONCE), 0

    async def do(account: Account, number: int) -> int:
        nonlocal done
        async with turns:
            taken = await work(fleet, account, number, copies=1 + number % 3)
        done += 1
        return taken

    async def kill_now_and_then() -> None:
        for kill in range(1, kills + 1):
            while done < len(jobs) * kill / (kills + 1):  # noqa: ASYNC110 - a count is not an event
                await asyncio.sleep(0.01)
            await fleet.kill_a_worker()

    killer = asyncio.create_task(kill_now_and_then())
    taken = await asyncio.gather(*(do(account, number) for account, number in jobs))
    await killer
    return taken


async def test_one_account_is_never_overdrawn_and_each_request_counts_once(fleet: Fleet) -> None:
    credits_bought = 500
    (account,) = await fleet.open_accounts(1, trial_credits=credits_bought)
    taken = await work_all(fleet, [(account, number) for number in range(500)], kills=2)
    left = credits_bought - sum(taken)
    balance = await fleet.balance(account)
    assert (balance.ledger_credits, balance.reserved_credits) == (left, 0)
    captures = [it for it in await fleet.entries(account) if it.kind == account_pb2.ENTRY_KIND_CAPTURE]
    assert Counter(-it.credits for it in captures) == Counter(amount for amount in taken if amount)
    assert len({it.reservation_id for it in captures}) == len(captures)


async def test_more_reservers_than_credits_get_exactly_what_is_there(fleet: Fleet) -> None:
    (account,) = await fleet.open_accounts(1, trial_credits=100)
    requests = [
        broker_pb2.ReserveRequest(request_id=new_id(), account_token=account.token, credits=1) for _ in range(250)
    ]
    answers = await asyncio.gather(*(fleet.once("Reserve", request, copies=2) for request in requests))
    reserved = [answer.reservation.reservation_id for answer in answers if answer is not None]
    assert (len(reserved), len(set(reserved))) == (100, 100)
    balance = await fleet.balance(account)
    assert (balance.ledger_credits, balance.reserved_credits, balance.available_credits) == (100, 100, 0)


async def test_a_thousand_accounts_keep_their_books_while_workers_are_killed(fleet: Fleet) -> None:
    accounts = await fleet.open_accounts(1_000, trial_credits=4)
    taken = await work_all(fleet, [(account, number) for number, account in enumerate(accounts)], kills=2)
    assert (await fleet.audit())["violations"] == []
    sample = range(0, 1_000, 7)
    balances = await asyncio.gather(*(fleet.balance(accounts[number]) for number in sample))
    assert [it.ledger_credits for it in balances] == [4 - taken[number] for number in sample]
    assert {it.reserved_credits for it in balances} == {0}
