"""Puts a provider together and runs it: the only place that knows all parts."""

import asyncio
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
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
from provider_service.charging.refusals import DOMAIN
from provider_service.charging.streams import PaidStreams
from provider_service.services.service import InvalidOption, Service, ServiceFactory
from provider_service.settings import Settings, options_of
from provider_service.transport.provider_servicer import SERVICE_NAME, ProviderServicer

Client = TypeVar("Client", bound=ServiceClient)

SERVICES_GROUP: Final = "iap_mesh.services"
# How long the end of the process waits for captures and releases that the broker has not confirmed.
SETTLE_DRAIN_SECONDS: Final = 10.0
_logger = get_logger("provider_service")


def find_services() -> dict[str, EntryPoint]:
    """Returns the services that installed distributions offer, by name. Raises StartupError if two share a name."""
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=SERVICES_GROUP):
        other = found.setdefault(entry_point.name, entry_point)
        if other.value != entry_point.value:
            raise StartupError(f"two services are named {entry_point.name}: {other.value} and {entry_point.value}")
    return found


def create_services(settings: Settings, found: Mapping[str, EntryPoint]) -> list[Service]:
    """Makes the services that the settings name, or all. Raises StartupError, which names the one that is wrong."""
    names = sorted(found) if settings.service_names is None else settings.service_names
    if not names:
        raise StartupError(f"no services are installed: nothing is in the entry point group {SERVICES_GROUP}")
    for name in names:
        if name not in found:
            raise StartupError(f"unknown service {name!r}: there are {', '.join(sorted(found)) or 'none'}")
    for service, option in settings.options:
        if service not in names:
            raise StartupError(f"--option {service}.{option}: the service {service!r} is not served here")
    return [_create_service(found[name], options_of(name, settings, known_services=found)) for name in names]


async def serve(settings: Settings, services: Iterable[Service]) -> None:
    """Serves until a signal; then lets running requests finish, settles what they owe, and closes everything."""
    broker = _connect(
        BrokerClient,
        settings,
        transport=settings.broker_transport,
        connections=settings.broker_connections,
    )
    pending = PendingTasks()
    price_list = PriceList(services)
    checks: set[asyncio.Task[None]] = set()

    def announce(address: Address) -> None:
        print_listening(address)
        checks.add(asyncio.create_task(_check(settings, price_list.services)))

    async def settle_and_close() -> None:
        for task in (*checks, ending):
            task.cancel()
        left = await pending.drain(SETTLE_DRAIN_SECONDS)
        if left:
            _logger.warning("provider.left_unsettled", requests=left)
        for service in price_list.services:
            await _close(service)
        await broker.close()

    node = Node(_node_options(settings), domain=DOMAIN, service_names=[SERVICE_NAME])
    streams = PaidStreams(broker, pending=pending)

    async def end_streams() -> None:
        await node.ending.wait()
        streams.end_all()

    ending = asyncio.create_task(end_streams())
    servicer = ProviderServicer(price_list, PaidRequests(Payments(broker), pending=pending), streams)
    add_ProviderServiceServicer_to_server(servicer, node.servicers)
    await serve_until_signal(node, after_stop=settle_and_close, announce=announce)


async def _check(settings: Settings, services: Iterable[Service]) -> None:
    async with _connect(CatalogClient, settings) as catalog:
        await check_broker(catalog, services)


def _create_service(entry_point: EntryPoint, options: Mapping[str, str]) -> Service:
    name = entry_point.name
    try:
        factory: ServiceFactory = entry_point.load()
        service = factory(options)
    except InvalidOption as error:
        raise StartupError(f"option {name}.{error.option} {error.description}") from error
    except Exception as error:
        raise StartupError(f"the service {name} cannot be started: {type(error).__name__}: {error}") from error
    if service.name != name:
        raise StartupError(f"the service {name} calls itself {service.name!r}; its entry point has to have that name")
    return service


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


async def _close(service: Service) -> None:
    try:
        await service.close()
    except Exception:
        # The others and the broker's channel are still to be closed.
        _logger.exception("service.close_failed", service=service.name)
