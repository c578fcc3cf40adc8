"""After the failures: holds the broker's books, and the work done, to what the customers were told."""

import asyncio
from collections import Counter as Count
from collections.abc import Awaitable, Iterable, Sequence

from iap.broker.v1.broker_pb2 import Reservation, ReservationState

from client_stub.broker import BrokerClient
from client_stub.errors import ReservationNotFoundError
from tests.chaos.providers.counted_services import PRICE
from tests.chaos.providers.customers import Asked, Counter
from tests.chaos.providers.provider_stage import ProviderStage

CAPTURED = ReservationState.RESERVATION_STATE_CAPTURED
_AT_ONCE = 16


async def reckon(stage: ProviderStage, counter: Counter, *, given_up: Iterable[Asked] = ()) -> None:
    """Settles what is open, starts the provider once more, and checks every request."""
    left = {asked.request_id for asked in given_up}
    await _each(counter, [it for it in counter.asked if not it.answered and it.request_id not in left])
    await stage.provider.restart()
    await stage.wait_until_settled()
    found = await _reservations(stage, counter.asked)
    work = stage.work()
    for asked in counter.asked:
        _check(asked, found.get(asked.request_id), work)
    # Whatever was told is told again, and who never came back finds what became of it.
    await _each(counter, [it for it in counter.asked if it.answered or it.request_id in found])
    assert stage.work() == work, "nothing was done again"
    for asked in counter.asked:
        _check(asked, found.get(asked.request_id), work)
    await _check_books(stage, found)


def _check(asked: Asked, reservation: Reservation | None, work: Count[str]) -> None:
    state = None if reservation is None else reservation.state
    assert not (asked.outputs and asked.failed), asked
    if asked.account.service == "once":
        assert work[asked.request_id] <= 1, asked
    if asked.outputs:
        assert reservation is not None
        assert state == CAPTURED, asked
        assert reservation.captured_credits == PRICE
        assert work[asked.request_id] >= 1, asked
        assert all(it.output["text"] == asked.service_input["text"] for it in asked.outputs), asked
        assert all(it.charged_credits == PRICE for it in asked.outputs), asked
        assert all(it.replayed for it in asked.outputs[1:]), asked
    if asked.failed:
        assert state != CAPTURED, asked
    if len(asked.outputs) + len(asked.refusals) > 1 and state == CAPTURED:
        assert asked.outputs, asked
    assert asked.account.credits or not work[asked.request_id], asked


async def _reservations(stage: ProviderStage, asked: Iterable[Asked]) -> dict[str, Reservation]:
    """Returns each request's reservation, and makes sure that there are no others."""
    found: dict[str, Reservation] = {}
    async with BrokerClient.connect(stage.broker.address, key=stage.provider_key) as broker:

        async def find(one: Asked) -> None:
            try:
                response = await broker.get_reservation(request_id=one.request_id, account_token=one.account.token)
            except ReservationNotFoundError:
                return
            found[one.request_id] = response.reservation

        await _at_once([find(one) for one in asked])
    listed = [it.reservation_id for account in stage.accounts for it in await stage.reservations(account)]
    assert sorted(listed) == sorted(it.reservation_id for it in found.values())
    return found


async def _check_books(stage: ProviderStage, found: dict[str, Reservation]) -> None:
    books = await stage.audit()
    captured = sum(it.captured_credits for it in found.values())
    paid_in = sum(account.credits for account in stage.accounts)
    assert books["violations"] == []
    assert (books["captured_credits"], books["reserved_credits"]) == (captured, 0)
    assert books["ledger_credits"] == paid_in - captured


async def _each(counter: Counter, asked: Iterable[Asked]) -> None:
    await _at_once([counter.ask_until_answered(one) for one in asked])


async def _at_once(pending: Sequence[Awaitable[None]]) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(one: Awaitable[None]) -> None:
        async with turns:
            await one

    async with asyncio.TaskGroup() as group:
        for one in pending:
            group.create_task(in_turn(one))


def summary(counter: Counter) -> str:
    """Tells how many requests ended how."""
    served = sum(bool(it.outputs) for it in counter.asked)
    refused = Count(it.refusals[0] for it in counter.asked if it.refusals)
    silent = sum(not it.answered for it in counter.asked)
    reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
    return f"{len(counter.asked)} requests: {served} served, {reasons}, {silent} never answered"
