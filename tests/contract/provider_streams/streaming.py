"""A provider in this process between a real broker and a caller."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from iap.broker.v1 import broker_pb2
from iap.provider.v1 import provider_pb2

from client_stub.errors import IapError
from client_stub.provider import ProviderClient
from client_stub.structs import from_struct, to_struct
from tests.contract.broker_world.running_broker import MovableClock
from tests.contract.broker_world.world import Account, World
from tests.contract.provider_streams.metered_service import MeteredService
from tests.unit.provider_service.harness import Provider, providing

CAPTURED = broker_pb2.RESERVATION_STATE_CAPTURED
RELEASED = broker_pb2.RESERVATION_STATE_RELEASED


class WallClock(MovableClock):
    """The time as it is: a provider counts the life of its reservations by a clock of its own."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


@dataclass(slots=True)
class Received:
    """What a caller has received of a stream."""

    chunks: list[dict[str, Any]] = field(default_factory=list)
    charged: list[int] = field(default_factory=list)
    last: provider_pb2.ServeStreamResponse | None = None
    error: IapError | None = None

    @property
    def paid_credits(self) -> int:
        """What the caller was last told to have paid."""
        if self.last is not None:
            return self.last.charged_credits
        return self.charged[-1] if self.charged else 0

    def add(self, response: provider_pb2.ServeStreamResponse) -> None:
        if response.HasField("chunk"):
            assert self.last is None
            self.chunks.append(from_struct(response.chunk))
            self.charged.append(response.charged_credits)
        else:
            self.last = response


async def receive(responses: AsyncIterator[provider_pb2.ServeStreamResponse]) -> Received:
    """Reads a stream to its end, whatever that is."""
    received = Received()
    try:
        async for response in responses:
            received.add(response)
    except IapError as error:
        received.error = error
    return received


@dataclass(slots=True)
class Streaming:
    """A provider with one streamed service, and a client of it."""

    world: World
    service: MeteredService
    provider: Provider
    client: ProviderClient

    async def account(self, credits_held: int) -> Account:
        """Opens an account of the service that holds so much."""
        account = await self.world.new_account(service=self.service.name)
        if credits_held:
            pack = await self.world.new_pack(self.service.name, pack_credits=credits_held)
            await self.world.buy(account, pack.pack_id)
        return account

    async def top_up(self, account: Account, credits_more: int) -> None:
        pack = await self.world.new_pack(self.service.name, pack_credits=credits_more)
        await self.world.buy(account, pack.pack_id)

    def open(self, account: Account, **fields: Any) -> Any:
        """Begins a stream and returns its responses."""
        return self.client.serve_stream(service=self.service.name, input={}, account_token=account.token, **fields)

    async def read(self, account: Account, **fields: Any) -> Received:
        return await receive(self.open(account, **fields))

    def request(self, account: Account, request_id: str | None = None) -> provider_pb2.ServeRequestRequest:
        return provider_pb2.ServeRequestRequest(
            request_id=request_id or str(uuid.uuid4()),
            service=self.service.name,
            account_token=account.token,
            input=to_struct({}),
        )

    async def ledger_reaches(self, account: Account, ledger_credits: int) -> None:
        async with asyncio.timeout(20):
            while (await self.world.balance(account))[0] != ledger_credits:  # noqa: ASYNC110 - beyond a connection
                await asyncio.sleep(0.01)

    async def settle(self) -> None:
        """Waits until nothing of any stream is under way."""
        await self.provider.settle()

    async def books(self, account: Account) -> tuple[int, int]:
        """Returns what the account has paid for streams, and what is reserved; everything settled."""
        await self.settle()
        entries = await self.world.entries(account)
        reservations = await self.reservations(account)
        paid = sum(reservation.captured_credits for reservation in reservations)
        reserved = (await self.world.balance(account))[1]
        assert paid == -sum(entry.credits for entry in entries if entry.credits < 0)
        return paid, reserved

    async def reservations(self, account: Account) -> list[broker_pb2.Reservation]:
        request = broker_pb2.ListReservationsRequest(account_token=account.token)
        found = await self.world.call(self.world.stubs.broker.ListReservations, request, self.world.provider.key)
        return list(found.reservations)


@asynccontextmanager
async def streaming_of(
    world: World, service: MeteredService, *, reader_seconds: float = 30.0, broker_address: str | None = None
) -> AsyncIterator[Streaming]:
    """Serves a service of the world's provider."""
    async with (
        providing(
            broker_address or str(world.running.address),
            [service],
            key=world.provider.key,
            reader_seconds=reader_seconds,
        ) as provider,
        ProviderClient.connect(provider.address) as client,
    ):
        yield Streaming(world, service, provider, client)
