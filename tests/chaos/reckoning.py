"""After the failures: settles what is open, and holds the broker's books to what the clients were told."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from iap.broker.v1 import account_pb2, broker_pb2

from tests.chaos.calls import Caller, RefusedError
from tests.chaos.clients import SHORT_TTL, assert_expected
from tests.chaos.effects import effect_of
from tests.chaos.journal import Journal, Record
from tests.chaos.told_books import ToldBooks
from tests.contract.broker_world.world import Account, amounts

CALLS_AT_ONCE = 32


async def settle(caller: Caller, journals: Sequence[Journal]) -> int:
    """Asks again for all that was left open, and writes the outcomes down; returns how many there were."""

    async def settle_one(journal: Journal, record: Record) -> None:
        try:
            answer = await caller.send_until_answered(record.rpc, record.request)
        except RefusedError as refusal:
            assert_expected(refusal)
            await journal.write_refusal(record.request.request_id, refusal.reason)
        else:
            await journal.write_response(record.request.request_id, answer)

    pending = [settle_one(journal, it) for journal in journals for it in journal.read() if it.unanswered]
    await _all(pending)
    return len(pending)


async def assert_answers_stand(caller: Caller, records: Iterable[Record]) -> None:
    """Repeats every request that was answered: each is a replay and tells of the same amounts."""

    async def repeat(record: Record) -> None:
        again = await caller.send_until_answered(record.rpc, record.request)
        assert again.replayed, f"what was answered is gone: {record.rpc} {record.request.request_id}"
        assert effect_of(record.rpc, again) == effect_of(record.rpc, record.response)

    await _all([repeat(record) for record in records if record.response is not None])


async def assert_books_are_as_told(caller: Caller, told: ToldBooks, accounts: Sequence[Account]) -> None:
    """Holds every account, reservation and entry to what the clients were told, and there are no others."""
    # The last of the short reservations may have been made just now.
    await asyncio.sleep(SHORT_TTL.total_seconds())
    told.expire()
    await _all([_assert_account_is_as_told(caller, told, account) for account in accounts])
    await _all([_assert_reservation_is_as_told(caller, told, it) for it in told.reservations])


async def _assert_account_is_as_told(caller: Caller, told: ToldBooks, account: Account) -> None:
    by_token = account_pb2.GetBalanceRequest(account_token=account.token)
    balance = (await caller.send_until_answered("GetBalance", by_token)).balance
    assert amounts(balance) == told.balance(account.id)
    lines: Counter[Any] = Counter()
    ledger_credits = 0
    for entry in await _all_pages(caller, "ListEntries", account_pb2.ListEntriesRequest, account):
        lines[entry.kind, entry.reservation_id, entry.credits] += 1
        ledger_credits += entry.credits
        assert entry.ledger_credits_after == ledger_credits
    assert lines == told.accounts[account.id].entries
    listed = await _all_pages(caller, "ListReservations", broker_pb2.ListReservationsRequest, account)
    expected = {it for it, reservation in told.reservations.items() if reservation.account_id == account.id}
    assert Counter(it.reservation_id for it in listed) == Counter(expected)


async def _assert_reservation_is_as_told(caller: Caller, told: ToldBooks, reservation_id: str) -> None:
    request = broker_pb2.GetReservationRequest(reservation_id=reservation_id)
    found = (await caller.send_until_answered("GetReservation", request)).reservation
    it = told.reservations[reservation_id]
    figures = (found.reserved_credits, found.captured_credits, found.released_credits, found.refunded_credits)
    assert (found.account_id, found.state, figures) == (
        it.account_id,
        it.state,
        (it.reserved, it.captured, it.released, it.refunded),
    )


async def _all_pages(caller: Caller, rpc: str, request_type: Any, account: Account) -> list[Any]:
    found: list[Any] = []
    page_token = ""
    while True:
        request = request_type(account_token=account.token, page_size=1_000, page_token=page_token)
        page = await caller.send_until_answered(rpc, request)
        found += page.entries if rpc == "ListEntries" else page.reservations
        page_token = page.next_page_token
        if not page_token:
            return found


async def _all(pending: Sequence[Awaitable[None]]) -> None:
    """Awaits them, so many at a time; raises the first error."""
    turns = asyncio.Semaphore(CALLS_AT_ONCE)

    async def await_in_turn(one: Awaitable[None]) -> None:
        async with turns:
            await one

    async with asyncio.TaskGroup() as group:
        for one in pending:
            group.create_task(await_in_turn(one))
