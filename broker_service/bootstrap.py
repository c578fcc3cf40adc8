"""The only place where the broker's parts are put together."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from iap.broker.v1 import (
    account_pb2,
    account_pb2_grpc,
    admin_pb2,
    admin_pb2_grpc,
    broker_pb2,
    broker_pb2_grpc,
    catalog_pb2,
    catalog_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    purchase_pb2,
    purchase_pb2_grpc,
    settlement_pb2,
    settlement_pb2_grpc,
)

from broker_service.background.events import EventParts, event_parts
from broker_service.background.expiry_sweeper import ExpirySweeper
from broker_service.background.refund_runner import RefundRunner
from broker_service.domain.decide import Verdict
from broker_service.domain.directory import Role
from broker_service.domain.purchase_commands import SANDBOX
from broker_service.engine.auditing import Auditor
from broker_service.engine.balance_watch import BalanceWatch
from broker_service.engine.clock import Clock, system_clock
from broker_service.engine.committer import Committer, CommitterLimits
from broker_service.engine.directory import Directory, new_key
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.engine.webhook_addresses import WebhookAddresses
from broker_service.engine.webhooks import Webhooks
from broker_service.payments.gateways import Gateways
from broker_service.payments.sandbox import SandboxGateway
from broker_service.settings import BrokerSettings
from broker_service.storage.database import Database, create_database, open_database
from broker_service.storage.errors import StorageError
from broker_service.storage.schema import create_schema, shards_of
from broker_service.transport.accounts import AccountServicer
from broker_service.transport.admin import AdminServicer
from broker_service.transport.broker import BrokerServicer
from broker_service.transport.catalog import CatalogServicer
from broker_service.transport.endpoint import Gate
from broker_service.transport.errors import DOMAIN
from broker_service.transport.events import EventServicer
from broker_service.transport.purchases import PurchaseServicer
from mesh_runtime.addresses import Address, is_loopback
from mesh_runtime.field_rules import FieldRules
from mesh_runtime.listening_ports import print_listening
from mesh_runtime.logs import get_logger
from mesh_runtime.node import Node, NodeOptions, serve_until_signal
from mesh_runtime.pending_tasks import PendingTasks
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.stop_signals import stop_signals
from mesh_runtime.tls import ServerTls
from mesh_runtime.worker import Worker

logger = get_logger(__name__)

_SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (broker_pb2, "BrokerService"),
        (account_pb2, "AccountService"),
        (catalog_pb2, "CatalogService"),
        (purchase_pb2, "PurchaseService"),
        (settlement_pb2, "SettlementService"),
        (event_pb2, "EventService"),
        (admin_pb2, "AdminService"),
    )
]


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker ready to serve: `node` to start and stop, then `close`."""

    node: Node
    committer: Committer
    database: Database
    watch: BalanceWatch
    sweeper: ExpirySweeper
    desk: PaymentDesk
    gateways: Gateways
    refund_runner: RefundRunner
    events: EventParts

    async def close(self) -> None:
        """Commits what still waits and closes the database; call it when the node has stopped."""
        await self.sweeper.stop()
        await self.refund_runner.stop()
        await self.gateways.close()
        await self.committer.drain()
        await self.events.close()
        await self.watch.close()
        await self.database.close()


def initialize(database_url: str, *, shards: int | None = None, clock: Clock = system_clock) -> str | None:
    """Makes the database and returns the first operator key; None if it was made before, and nothing is changed.

    Raises StartupError, also if it was made before with another number of shards.
    """
    key, secret = new_key(Role.OPERATOR, "operator", clock())
    try:
        made = create_database(database_url, partial(create_schema, shards=shards, operator_key=key))
    except StorageError as error:
        raise StartupError(str(error)) from error
    return secret if made else None


async def build_broker(
    settings: BrokerSettings, *, clock: Clock = system_clock, gateways: Gateways | None = None
) -> Broker:
    """Puts a broker together on the running event loop; `gateways` are those of the settings unless given.

    Raises StartupError.
    """
    options = _node_options(settings)
    database, shards = await _open(settings.database)
    node = Node(options, domain=DOMAIN, service_names=[service.full_name for service in _SERVICES])
    tasks = PendingTasks()

    def stop_serving() -> None:
        """A broken invariant turns the whole node NOT_SERVING, so that balancers go elsewhere."""
        tasks.run_shielded(node.announce_end())

    def tell(verdict: Verdict) -> None:
        """The committer comes first, since those who watch read through it."""
        watch.committed(verdict)
        events.placing.committed(verdict)

    committer = Committer(
        database,
        clock,
        shards=shards,
        limits=CommitterLimits(settings.queue_commands, settings.batch_commands),
        on_halt=stop_serving,
        on_commit=tell,
    )
    directory = Directory(database, clock, shards=shards)
    reader = LedgerReader(database, committer, shards=shards)
    watch = BalanceWatch(
        database, committer, reader, shards=shards, closing=node.closing, poll_seconds=settings.watch_seconds
    )
    gateways = gateways or make_gateways(settings)
    desk = PaymentDesk(
        database,
        clock,
        committer,
        directory,
        reader,
        gateways,
        commission_basis_points=settings.commission_basis_points,
        checkout_lifetime=timedelta(hours=settings.checkout_hours),
    )
    _let_tell(gateways, desk)
    refund_runner = RefundRunner(database, clock, desk, interval_seconds=settings.refund_seconds)
    sweeper = ExpirySweeper(database, committer, shards=shards, interval_seconds=settings.sweep_seconds)
    addresses = WebhookAddresses(
        allow_loopback=is_loopback(settings.listen.host), allow_private=settings.allow_private_webhooks
    )
    webhooks = Webhooks(database, committer, addresses, clock)
    events = event_parts(database, addresses, clock, closing=node.closing, poll_seconds=settings.event_seconds)
    gate = Gate(directory, FieldRules(_request_types()), purchase_url=settings.purchase_url)
    server = node.server
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(BrokerServicer(gate, directory, committer, reader), server)
    account_pb2_grpc.add_AccountServiceServicer_to_server(
        AccountServicer(gate, directory, committer, reader, watch, webhooks), server
    )
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogServicer(gate, directory), server)
    purchase_pb2_grpc.add_PurchaseServiceServicer_to_server(PurchaseServicer(gate, directory, desk, reader), server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(
        AdminServicer(gate, directory, committer, desk, Auditor(database)), server
    )
    event_pb2_grpc.add_EventServiceServicer_to_server(EventServicer(gate, database, events.watch, webhooks), server)
    # None of its RPCs is built yet; the generated base class answers UNIMPLEMENTED.
    settlement_pb2_grpc.add_SettlementServiceServicer_to_server(settlement_pb2_grpc.SettlementServiceServicer(), server)
    watch.start()
    events.start()
    if settings.sweep_seconds > 0:
        sweeper.start()
    if settings.refund_seconds > 0:
        refund_runner.start()
    return Broker(node, committer, database, watch, sweeper, desk, gateways, refund_runner, events)


def make_gateways(settings: BrokerSettings) -> Gateways:
    """Returns the payment gateways that the settings ask for; where several take a currency, the first does.

    Raises StartupError.
    """
    return Gateways(
        SandboxGateway(behavior=settings.sandbox_behavior, delay_seconds=settings.sandbox_delay_seconds),
    )


def _let_tell(gateways: Gateways, desk: PaymentDesk) -> None:
    """The sandbox is in this process, so what it tells without being asked comes by no network."""
    sandbox = gateways.by_name(SANDBOX)
    if isinstance(sandbox, SandboxGateway):
        sandbox.deliver_to(partial(desk.take_notice, SANDBOX))


async def _open(database_url: str) -> tuple[Database, int]:
    """Returns a broker's database and how many shards it has. Raises StartupError, and leaves nothing open then."""
    try:
        database = open_database(database_url)
    except StorageError as error:
        raise StartupError(str(error)) from error
    try:
        return database, await database.read(shards_of)
    except StorageError as error:
        await database.close()
        raise StartupError(str(error)) from error


async def serve(settings: BrokerSettings, *, worker: Worker | None = None) -> None:
    """Serves until a signal comes, or as a worker until its supervisor says so, then drains. Raises StartupError."""
    broker = await build_broker(settings)
    tell = print_listening if worker is None else worker.report_serving

    def announce(address: Address) -> None:
        tell(address)
        if broker.gateways.by_name(SANDBOX) is not None:
            # Whoever has an account can put credits on it without paying.
            logger.warning("payments.sandbox")

    await serve_until_signal(
        broker.node,
        after_stop=broker.close,
        announce=announce,
        stop_orders=stop_signals if worker is None else worker.stop_orders,
    )


def _node_options(settings: BrokerSettings) -> NodeOptions:
    tls = None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        tls = ServerTls(settings.tls_certificate, settings.tls_key, None)
    elif settings.tls_certificate is not None or settings.tls_key is not None:
        raise StartupError("--tls-certificate and --tls-key go together")
    return NodeOptions(
        listen=settings.listen,
        tls=tls,
        insecure=settings.insecure,
        drain_seconds=settings.drain_seconds,
        reuse_port=settings.reuse_port,
        max_connection_age_seconds=settings.max_connection_age_seconds,
        max_concurrent_calls=settings.max_concurrent_calls,
    )


def _request_types() -> list[type[Message]]:
    return [GetMessageClass(method.input_type) for service in _SERVICES for method in service.methods]
