"""A provider in this process, between a broker double and a caller, all over real connections."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from iap.provider.v1 import provider_pb2
from iap.provider.v1.provider_pb2_grpc import ProviderServiceStub, add_ProviderServiceServicer_to_server

from client_stub.broker import BrokerClient
from client_stub.error_parsing import to_iap_error
from client_stub.errors import IapError
from client_stub.structs import to_struct
from mesh_runtime.addresses import Address
from mesh_runtime.node import Node, NodeOptions
from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging.paid_requests import PaidRequests
from provider_service.charging.payments import Payments
from provider_service.charging.pricing import PriceList
from provider_service.charging.recovery import Recovery
from provider_service.charging.refusals import DOMAIN
from provider_service.charging.settler import Settler
from provider_service.charging.stream_entry import StreamEntry
from provider_service.charging.streams import PaidStreams
from provider_service.journal.journal import Journal
from provider_service.journal.memory import MemoryJournal
from provider_service.services.service import Service
from provider_service.transport.provider_servicer import SERVICE_NAME, ProviderServicer
from tests.unit.provider_service.broker_double import KEY


@dataclass(frozen=True, slots=True)
class Provider:
    """A running provider and a caller of it."""

    stub: Any
    channel: grpc.aio.Channel
    pending: PendingTasks
    address: str
    streams: PaidStreams
    settler: Settler

    def serve(
        self,
        *,
        account_token: str,
        text: object = "hello",
        service_input: Mapping[str, object] | None = None,
        service: str = "echo",
        request_id: str | None = None,
        timeout: float | None = 10,
    ) -> Any:
        request = provider_pb2.ServeRequestRequest(
            request_id=request_id or str(uuid.uuid4()),
            service=service,
            account_token=account_token,
            input=to_struct({"text": text} if service_input is None else service_input),
        )
        return self.stub.ServeRequest(request, timeout=timeout)

    def begin(self, **request: Any) -> "asyncio.Task[provider_pb2.ServeRequestResponse]":
        """Starts a call; cancelling the task cancels the call."""

        async def call() -> provider_pb2.ServeRequestResponse:
            response: provider_pb2.ServeRequestResponse = await self.serve(**request)
            return response

        return asyncio.create_task(call())

    async def refused(self, **request: Any) -> IapError:
        return await refusal_of(self.serve(**request))

    async def settle(self) -> None:
        assert await self.pending.drain(10) == 0


@asynccontextmanager
async def providing(
    broker_address: str,
    services: Sequence[Service],
    *,
    key: str = KEY,
    journal: Journal | None = None,
    reader_seconds: float = 30.0,
) -> AsyncIterator[Provider]:
    pending = PendingTasks()
    options = NodeOptions(listen=Address(host="127.0.0.1", port=0))
    node = Node(options, domain=DOMAIN, service_names=[SERVICE_NAME])
    async with BrokerClient.connect(broker_address, key=key) as broker:
        kept = journal or MemoryJournal()
        settler = Settler(kept, Payments(broker), services)
        recovering = asyncio.create_task(Recovery(kept, settler, kept=timedelta(days=30)).run())
        requests = PaidRequests(Payments(broker), journal=kept, settler=settler, pending=pending)
        streams = PaidStreams(
            broker,
            pending=pending,
            open_record=lambda request: StreamEntry(kept, request),
            reader_seconds=reader_seconds,
        )
        add_ProviderServiceServicer_to_server(ProviderServicer(PriceList(services), requests, streams), node.server)
        address = await node.start()
        try:
            # No retries by the channel itself: a test sees each answer.
            async with grpc.aio.insecure_channel(str(address), options=[("grpc.enable_retries", 0)]) as channel:
                yield Provider(ProviderServiceStub(channel), channel, pending, str(address), streams, settler)
        finally:
            node.hurry()
            await node.stop()
            recovering.cancel()
            await pending.drain(5)
            await settler.close()


async def refusal_of(call: Any) -> IapError:
    """What a call is refused with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return to_iap_error(error)
    raise AssertionError("the call was not refused")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is beyond a connection
            await asyncio.sleep(0.005)
