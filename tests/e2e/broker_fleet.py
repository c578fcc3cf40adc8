"""Brokers on one PostgreSQL database: two workers behind one port, and one more on a port of its own."""

import asyncio
import json
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2

from deploy.node_process import NodeCommand, NodeProcess, run_command
from tests.contract.broker_world.refusals import RETRY_REASONS, parse_error
from tests.contract.broker_world.running_broker import Stubs

BROKER = "broker_service"
# Each is a connection of its own, and so one process's; the workers get several each.
WORKER_CONNECTIONS = 8
OTHER_CONNECTIONS = 4
CALL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Account:
    """An account, by its token."""

    token: str


@dataclass(slots=True)
class Fleet:
    """Brokers that serve, connections to all of them, and a provider's key."""

    database_url: str
    workers: NodeProcess
    other: NodeProcess
    stubs: list[Stubs]
    operator_key: str
    chance: random.Random
    provider_key: str = ""
    unanswered: int = 0

    async def once(self, rpc: str, request: Any, *, key: str | None = None, copies: int = 1) -> Any:
        """Sends a request through so many connections at once, each until it is answered, and returns the answer.

        None if there were too few credits. All that answer must tell of the same effect, at most one of its own.
        """
        chosen = self.chance.sample(self.stubs, copies)
        shown_key = self.provider_key if key is None else key
        credentials = (("authorization", f"Bearer {shown_key}"),) if shown_key else ()
        answers = await asyncio.gather(*(self._answer(stubs, rpc, request, credentials) for stubs in chosen))
        given = [answer for answer in answers if answer is not None]
        if copies > 1:
            assert sum(not answer.replayed for answer in given) <= 1
            assert len({answer.reservation.reservation_id for answer in given}) <= 1
        return given[0] if given else None

    async def _answer(self, stubs: Stubs, rpc: str, request: Any, credentials: Any) -> Any:
        while True:
            try:
                answer = await stubs.method(rpc)(request, metadata=credentials, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                reason = reason_of(error)
                if reason == "INSUFFICIENT_CREDITS":
                    return None
                if reason not in RETRY_REASONS:
                    raise
                self.unanswered += 1
                await asyncio.sleep(self.chance.uniform(0.01, 0.1))
                stubs = self.chance.choice(self.stubs)
            else:
                return answer

    async def open_accounts(self, count: int, *, trial_credits: int) -> list[Account]:
        """Opens accounts of as many new customers for a new service."""
        service = f"svc-{uuid.uuid4().hex[:12]}"
        request = catalog_pb2.CreateServiceRequest(
            request_id=new_id(), service=service, title="Service", trial_credits=trial_credits
        )
        await self.once("CreateService", request)
        # Not all at once: each waits for a connection to the database.
        turns = asyncio.Semaphore(50)

        async def open_one() -> Account:
            async with turns:
                customer = admin_pb2.RegisterCustomerRequest(request_id=new_id(), name="Customer")
                customer_key = (await self.once("RegisterCustomer", customer, key=self.operator_key)).customer_key
                opening = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
                return Account((await self.once("OpenAccount", opening, key=customer_key)).account_token)

        return await asyncio.gather(*(open_one() for _ in range(count)))

    async def balance(self, account: Account) -> broker_pb2.Balance:
        request = account_pb2.GetBalanceRequest(account_token=account.token)
        answer: account_pb2.GetBalanceResponse = await self.once("GetBalance", request, key="")
        return answer.balance

    async def entries(self, account: Account) -> list[account_pb2.Entry]:
        """The statement, whole."""
        request = account_pb2.ListEntriesRequest(account_token=account.token, page_size=1_000)
        found = await self.once("ListEntries", request, key="")
        assert not found.next_page_token
        return list(found.entries)

    async def kill_a_worker(self) -> None:
        """Kills one as it is; returns when another serves in its place."""
        events = self._events("workers.started") + self._events("workers.replaced")
        ended = {event["pid"] for event in self._events("workers.ended")}
        pids = {pid for event in events for pid in event.get("pids", [event.get("pid")])} - ended
        victim = self.chance.choice(sorted(pids))
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(20):
            while all(event["previous_pid"] != victim for event in self._events("workers.replaced")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def audit(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await run_command(BROKER, "audit", "--database", self.database_url, "--json")
        )
        return found

    def _events(self, name: str) -> list[dict[str, Any]]:
        lines = [line for line in self.workers.log_path.read_text().splitlines() if f'"{name}"' in line]
        return [json.loads(line) for line in lines]


def new_id() -> str:
    return str(uuid.uuid4())


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The broker's reason; UNAVAILABLE for what no broker said, such as that it is gone."""
    if any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ()):
        return parse_error(error).reason
    return "UNAVAILABLE"


@asynccontextmanager
async def running_fleet(database_url: str, directory: Path) -> AsyncIterator[Fleet]:
    """Makes the database a broker's and serves it from three processes; stops them in the end."""
    made = json.loads(await run_command(BROKER, "init", "--database", database_url, "--json"))
    arguments = ("--database", database_url)
    # Connections spread again soon after a worker is replaced.
    several = ("--workers", "2", "--max-connection-age-seconds", "1")
    workers = NodeProcess(
        NodeCommand(module=BROKER, arguments=(*arguments, *several)), log_path=directory / "workers.log"
    )
    other = NodeProcess(NodeCommand(module=BROKER, arguments=arguments), log_path=directory / "other.log")
    try:
        await asyncio.gather(workers.start(), other.start())
        async with AsyncExitStack() as stack:
            addresses = [workers.address] * WORKER_CONNECTIONS + [other.address] * OTHER_CONNECTIONS
            stubs = [Stubs(await stack.enter_async_context(_connection(address))) for address in addresses]
            fleet = Fleet(database_url, workers, other, stubs, made["operator_key"], random.Random(20260123))
            provider = admin_pb2.RegisterProviderRequest(request_id=new_id(), name="Provider")
            fleet.provider_key = (await fleet.once("RegisterProvider", provider, key=fleet.operator_key)).provider_key
            yield fleet
        assert await workers.stop() == 0
        assert await other.stop() == 0
    finally:
        workers.kill_now()
        other.kill_now()


def _connection(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(
        address,
        options=[
            # Equal channels of one process would share a connection.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )
