"""What a journal would be told of a stream, and when."""

from dataclasses import dataclass, field

import pytest

from client_stub.errors import InternalError
from client_stub.provider import ProviderClient
from provider_service.charging.payments import Reserved
from provider_service.charging.stream_request import StreamRequest
from provider_service.services.charge import StreamCharge
from tests.contract.broker_world.world import World
from tests.contract.provider_streams.metered_service import Chunks, MeteredService, pieces
from tests.contract.provider_streams.streaming import Streaming
from tests.unit.provider_service.harness import providing


@dataclass
class Record:
    """Writes down what it is told."""

    told: list[str] = field(default_factory=list)
    fails_at: str = ""

    def open(self, _request: StreamRequest) -> "Record":
        return self

    async def opened(self, reserved: Reserved) -> None:
        self._tell(f"opened {reserved.reservation.reserved_credits}")

    async def delivered(self, total_credits: int) -> None:
        self._tell(f"delivered {total_credits}")

    async def closed(self, captured_credits: int) -> None:
        self._tell(f"closed {captured_credits}")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if what == self.fails_at:
            raise RuntimeError(what)


async def read(paying_world: World, service: MeteredService, record: Record, credits_held: int) -> Streaming:
    """Reads a stream to its end; returns what served it, with the account's books settled."""
    address = str(paying_world.running.address)
    async with (
        providing(address, [service], key=paying_world.provider.key) as provider,
        ProviderClient.connect(provider.address) as client,
    ):
        provider.streams._open_record = record.open
        streaming = Streaming(paying_world, service, provider, client)
        account = await streaming.account(credits_held)
        received = await streaming.read(account)
        await streaming.settle()
        assert (await paying_world.balance(account))[1] == 0
        assert record.fails_at == "" or isinstance(received.error, InternalError)
    return streaming


async def test_what_is_owed_is_on_record_before_the_next_chunk_is_made(
    paying_world: World, service: MeteredService
) -> None:
    record = Record()

    async def script(charge: StreamCharge) -> Chunks:
        for number in range(2):
            await charge.meter(2)
            record.told.append(f"made {number}")
            yield {}

    service.script = script
    await read(paying_world, service, record, 50)
    assert record.told == [
        "opened 10",
        "made 0",
        "delivered 2",
        "made 1",
        "delivered 4",
        "closed 4",
    ]


async def test_a_refused_stream_is_not_on_record(paying_world: World, service: MeteredService) -> None:
    record = Record()
    await read(paying_world, service, record, 0)
    assert record.told == []


@pytest.mark.parametrize(("fails_at", "end"), [("opened 10", "closed 0"), ("delivered 1", "closed 1")])
async def test_a_record_that_fails_ends_the_stream_and_nothing_stays_reserved(
    paying_world: World, service: MeteredService, fails_at: str, end: str
) -> None:
    service.script = pieces(3)
    record = Record(fails_at=fails_at)
    await read(paying_world, service, record, 50)
    assert record.told[-2:] == [fails_at, end]
