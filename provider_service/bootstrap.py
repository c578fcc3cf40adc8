"""Puts a provider together and runs it: the only place that knows all parts."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from iap.provider.v1.provider_pb2_grpc import add_ProviderServiceServicer_to_server

from client_stub.broker import BrokerClient
from client_stub.catalog import CatalogClient
from client_stub.errors import ConfigurationError
from client_stub.service_client import ServiceClient
from mesh_runtime.addresses import Address
from mesh_runtime.listening_ports import print_listening
from mesh_runtime.logs import get_logger
from mesh_runtime.node import Node, NodeOptions, serve_until_signal
from mesh_runtime.pending_tasks import PendingTasks
from mesh_runtime.startup_errors import StartupError
from provider_service.broker_check import check_broker
from provider_service.charging.paid_requests import PaidRequests
from provider_service.charging.payments import Payments
from provider_service.charging.pricing import PriceList
from provider_service.charging.recovery import Recovery
from provider_service.charging.refusals import DOMAIN
from provider_service.charging.settler import Settler
from provider_service.charging.stream_entry import StreamEntry
from provider_service.charging.streams import PaidStreams
from provider_service.journal.errors import JournalUnusableError
from provider_service.journal.journal import Journal
from provider_service.journal.memory import MemoryJournal
from provider_service.services.service import InvalidOption, OpenedService, Service
from provider_service.settings import Settings
from provider_service.transport.provider_servicer import SERVICE_NAME, ProviderServicer

Client = TypeVar("Client", bound=ServiceClient)

# How long the end of the process waits for captures and releases that the broker has not confirmed.
SETTLE_DRAIN_SECONDS: Final = 10.0
_logger = get_logger("provider_service")


async def serve(settings: Settings, services: Iterable[Service]) -> None:
    """Serves until a signal; then lets running requests finish, settles what they owe, and closes everything."""
    node = Node(_node_options(settings), domain=DOMAIN, service_names=[SERVICE_NAME])
    broker = _connect(
        BrokerClient,
        settings,
        transport=settings.broker_transport,
        connections=settings.broker_connections,
    )
    price_list = PriceList(services)
    background = _BackgroundTasks()

    def tell_writable(writable: bool) -> None:
        background.start(node.health.set_serving(writable))

    try:
        journal = await _open_journal(settings, tell_writable=tell_writable)
    except BaseException:
        await broker.close()
        raise
    pending, payments = PendingTasks(), Payments(broker)
    settler = Settler(journal, payments, price_list.services)

    def announce(address: Address) -> None:
        print_listening(address)
        background.start(_check(settings, price_list.services))
        background.start(Recovery(journal, settler, kept=settings.journal_kept).run())

    async def settle_and_close() -> None:
        background.cancel()
        left = await pending.drain(SETTLE_DRAIN_SECONDS)
        if left:
            _logger.warning("provider.left_unsettled", requests=left)
        await settler.close()
        await journal.close()
        for service in price_list.services:
            await _close(service)
        await broker.close()

    await _open_all(price_list.services, broker)
    requests = PaidRequests(payments, journal=journal, settler=settler, pending=pending)
    streams = PaidStreams(broker, pending=pending, open_record=lambda request: StreamEntry(journal, request))

    async def end_streams() -> None:
        await node.ending.wait()
        streams.end_all()

    background.start(end_streams())
    add_ProviderServiceServicer_to_server(ProviderServicer(price_list, requests, streams), node.servicers)
    await serve_until_signal(node, after_stop=settle_and_close, announce=announce)


async def _open_journal(settings: Settings, *, tell_writable: Callable[[bool], None]) -> Journal:
    if settings.journal_url is None:
        return MemoryJournal()
    try:
        # Imported only where it is used: whoever wants no journal needs no database either.
        from provider_service.journal.durable import open_journal  # noqa: PLC0415 - see above

        return await open_journal(settings.journal_url, tell_writable=tell_writable)
    except JournalUnusableError as error:
        raise StartupError(f"--journal: {error}") from error


class _BackgroundTasks:
    """Holds tasks that go on until the end of the process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("provider.background_failed", exc_info=error)


async def _check(settings: Settings, services: Iterable[Service]) -> None:
    async with _connect(CatalogClient, settings) as catalog:
        await check_broker(catalog, services)


def _connect(client: type[Client], settings: Settings, **options: Any) -> Client:
    try:
        return client.connect(
            settings.broker, key=settings.key, tls=settings.broker_tls, insecure=settings.broker_insecure, **options
        )
    except ConfigurationError as error:
        raise StartupError(f"broker: {error}") from error


def _node_options(settings: Settings) -> NodeOptions:
    return NodeOptions(
        listen=settings.listen,
        tls=settings.tls,
        insecure=settings.insecure,
        drain_seconds=settings.drain_seconds,
        max_concurrent_calls=settings.max_concurrent_calls,
    )


async def _open_all(services: Iterable[Service], broker: BrokerClient) -> None:
    try:
        for service in services:
            await _open(service)
    except BaseException:
        for service in services:
            await _close(service)
        await broker.close()
        raise


async def _open(service: Service) -> None:
    if not isinstance(service, OpenedService):
        return
    try:
        await service.open()
    except InvalidOption as error:
        raise StartupError(f"option {service.name}.{error.option} {error.description}") from error
    except Exception as error:
        raise StartupError(f"the service {service.name} cannot be opened: {type(error).__name__}: {error}") from error


async def _close(service: Service) -> None:
    try:
        await service.close()
    except Exception:
        # The others and the broker's channel are still to be closed.
        _logger.exception("service.close_failed", service=service.name)
