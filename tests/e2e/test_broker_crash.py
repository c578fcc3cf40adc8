"""A broker that is killed at the worst moment keeps what it acknowledged, and settles what it did not."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from client_stub.accounts import AccountClient
from client_stub.broker import TRANSPORTS, BrokerClient, Transport
from client_stub.errors import IapError
from deploy.local_mesh import LocalMesh
from deploy.seeding import Seeded, buy_pack, seed

Answer = TypeVar("Answer")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[LocalMesh]:
    async with LocalMesh(tmp_path) as running:
        yield running


@pytest.fixture
async def seeded(mesh: LocalMesh) -> Seeded:
    operator_key = await mesh.initialize()
    assert operator_key is not None
    await mesh.broker.start()
    found = await seed(mesh.broker.address, operator_key=operator_key)
    await buy_pack(mesh.broker.address, pack_id=found.pack_ids[1], account_token=found.account_token)
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_capture_succeeds_after_a_kill_between_reserve_and_capture(
    mesh: LocalMesh, seeded: Seeded, transport: Transport
) -> None:
    async with BrokerClient.connect(mesh.broker.address, key=seeded.provider_key, transport=transport) as broker:
        reserved = await broker.reserve(account_token=seeded.account_token, credits=7)
        await mesh.broker.kill()
        # Asked while the broker is down: the client waits for it to come back.
        capture = asyncio.create_task(
            broker.capture(reservation_id=reserved.reservation.reservation_id, credits=5, timeout_seconds=30)
        )
        await asyncio.sleep(0.3)
        assert not capture.done()
        await mesh.broker.start()
        captured = await capture
    assert (captured.captured_credits, captured.released_credits) == (5, 2)
    assert captured.balance.ledger_credits == 102 - 5
    assert (await mesh.audit()).violations == ()


@pytest.mark.parametrize(("transport", "connections", "kills"), [("unary", 1, 3), ("pipelined", 2, 2)])
async def test_kills_under_load_lose_nothing_acknowledged_and_count_nothing_twice(
    mesh: LocalMesh, seeded: Seeded, transport: Transport, connections: int, kills: int
) -> None:
    """Eight callers charge one credit at a time, and repeat a request with its id until it is answered."""
    callers, charges_per_caller = 8, 10
    chance = random.Random(20260123)
    answers, answered = 0, asyncio.Event()

    async def until_answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
        nonlocal answers
        while True:
            try:
                answer = await call()
            except IapError:
                await asyncio.sleep(0.05)
            else:
                answers += 1
                answered.set()
                return answer

    async def charge_all(broker: BrokerClient) -> None:
        for _ in range(charges_per_caller):
            request_id = str(uuid.uuid4())
            reserve = partial(
                broker.reserve,
                account_token=seeded.account_token,
                credits=1,
                request_id=request_id,
                timeout_seconds=5,
            )
            reserved = await until_answered(reserve)
            capture = partial(
                broker.capture,
                reservation_id=reserved.reservation.reservation_id,
                request_id=request_id,
                timeout_seconds=5,
            )
            await until_answered(capture)

    async def kill_now_and_then() -> None:
        for _ in range(kills):
            goal = answers + chance.randint(5, 15)
            while answers < goal:
                answered.clear()
                await answered.wait()
            await asyncio.sleep(chance.uniform(0, 0.01))
            await mesh.broker.kill()
            await mesh.broker.start()

    async with BrokerClient.connect(
        mesh.broker.address, key=seeded.provider_key, transport=transport, connections=connections
    ) as broker:
        killer = asyncio.create_task(kill_now_and_then())
        await asyncio.gather(*(charge_all(broker) for _ in range(callers)))
        await killer
    async with AccountClient.connect(mesh.broker.address) as accounts:
        balance = (await accounts.get_balance(account_token=seeded.account_token)).balance
    assert balance.ledger_credits == 102 - callers * charges_per_caller
    assert balance.reserved_credits == 0
    books = await mesh.audit()
    assert books.violations == ()
    assert books.captured_credits == callers * charges_per_caller


async def test_what_was_unanswered_at_a_kill_is_sent_again_and_counted_once(mesh: LocalMesh, seeded: Seeded) -> None:
    """Twenty callers charge over two streams while the broker is killed: the client settles it, they notice nothing."""
    reservation_ids: list[str] = []
    warm, again = asyncio.Event(), asyncio.Event()

    async def charge_on(broker: BrokerClient) -> None:
        while not again.is_set():
            charged = await broker.charge(account_token=seeded.account_token, credits=1)
            reservation_ids.append(charged.reservation.reservation_id)
            warm.set()
            # Each in a message of its own, and no more than there are credits for.
            await asyncio.sleep(random.uniform(0, 0.05))

    async with BrokerClient.connect(
        mesh.broker.address, key=seeded.provider_key, transport="pipelined", connections=2, timeout_seconds=60
    ) as broker:
        callers = asyncio.gather(*(charge_on(broker) for _ in range(20)))
        await asyncio.wait_for(warm.wait(), 30)
        await mesh.broker.kill()
        await asyncio.sleep(0.2)
        answered_before = len(reservation_ids)
        again.set()
        await mesh.broker.start()
        await callers
    assert len(reservation_ids) == answered_before + 20, "each had one that was not answered"
    assert len(set(reservation_ids)) == len(reservation_ids)
    books = await mesh.audit()
    assert (books.violations, books.captured_credits, books.reserved_credits) == ((), len(reservation_ids), 0)
