"""The only place where the broker's parts are put together."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from broker_service.background.events import EventParts, event_parts
from broker_service.background.expiry_sweeper import ExpirySweeper
from broker_service.background.refund_runner import RefundRunner
from broker_service.background.rounds import Rounds
from broker_service.domain.decide import Verdict
from broker_service.domain.directory import Role
from broker_service.domain.purchase_commands import SANDBOX
from broker_service.engine.auditing import Auditor
from broker_service.engine.auto_top_ups import AutoTopUps
from broker_service.engine.balance_watch import BalanceWatch
from broker_service.engine.clock import Clock, system_clock
from broker_service.engine.committer import Committer, CommitterLimits
from broker_service.engine.directory import Directory, new_key
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.engine.settlement import Settlement
from broker_service.engine.webhook_addresses import WebhookAddresses
from broker_service.engine.webhooks import Webhooks
from broker_service.gateway_choice import make_gateways
from broker_service.http_address import open_http, public_url_of
from broker_service.payments.gateways import Gateways
from broker_service.payments.sandbox import SandboxGateway
from broker_service.services import SERVICES, Parts, add_services, request_types
from broker_service.settings import BrokerSettings
from broker_service.storage.database import Database, create_database, open_database
from broker_service.storage.errors import StorageError
from broker_service.storage.purchase_queries import began_with
from broker_service.storage.schema import create_schema, shards_of
from broker_service.transport.endpoint import Gate
from broker_service.transport.errors import DOMAIN
from broker_service.transport.http.app import build_app
from broker_service.transport.http.server import HttpServer
from broker_service.transport.pipeline import StreamLimits
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
    top_ups: AutoTopUps
    top_up_rounds: Rounds
    events: EventParts
    http: HttpServer | None

    async def start_http(self) -> Address | None:
        """Begins to serve HTTP, if that is asked for, and returns where. Raises StartupError."""
        if self.http is None:
            return None
        await self.http.start()
        return self.http.address

    async def begin_stop(self) -> None:
        """Takes no new requests over HTTP; call it before the node stops, so that both finish at the same time."""
        if self.http is not None:
            self.http.begin_stop()

    async def close(self) -> None:
        """Commits what still waits and closes the database; call it when the node has stopped."""
        if self.http is not None:
            await self.http.wait_stopped()
        await self.sweeper.stop()
        await self.top_up_rounds.stop()
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
    listener = open_http(settings, options)
    try:
        public_url = public_url_of(settings, listener)
        gateways = gateways or make_gateways(settings, public_url=public_url)
        database, shards = await _open(settings.database)
    except StartupError:
        if listener is not None:
            listener.close()
        raise
    node = Node(options, domain=DOMAIN, service_names=[service.full_name for service in SERVICES])
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
    top_ups = AutoTopUps(database, committer, directory, reader, desk, gateways, shards=shards)
    top_up_rounds = Rounds("top-ups", top_ups.buy_due, interval_seconds=settings.top_up_seconds)
    refund_runner = RefundRunner(database, clock, desk, interval_seconds=settings.refund_seconds)
    sweeper = ExpirySweeper(database, committer, shards=shards, interval_seconds=settings.sweep_seconds)
    addresses = WebhookAddresses(
        allow_loopback=is_loopback(settings.listen.host), allow_private=settings.allow_private_webhooks
    )
    webhooks = Webhooks(database, committer, addresses, clock)
    events = event_parts(database, addresses, clock, closing=node.closing, poll_seconds=settings.event_seconds)
    gate = Gate(directory, FieldRules(request_types()), purchase_url=settings.purchase_url)
    add_services(
        node.servicers,
        gate,
        Parts(
            database=database,
            committer=committer,
            directory=directory,
            reader=reader,
            watch=watch,
            desk=desk,
            top_ups=top_ups,
            settlement=Settlement(database, clock, payout_minimums=settings.payout_minimums),
            webhooks=webhooks,
            event_watch=events.watch,
            auditor=Auditor(database),
            stream_limits=StreamLimits(
                closing=node.closing, max_connection_age_seconds=settings.max_connection_age_seconds
            ),
        ),
    )
    watch.start()
    events.start()
    if settings.sweep_seconds > 0:
        sweeper.start()
    refund_runner.start()
    top_up_rounds.start()
    http = None
    if listener is not None:
        app = build_app(desk, gateways, public_url=public_url, clock=clock, is_serving=lambda: node.health.serving)
        http = HttpServer(listener, app, hurried=node.hurried)
    return Broker(
        node, committer, database, watch, sweeper, desk, gateways, refund_runner, top_ups, top_up_rounds, events, http
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
    try:
        await _warn_of_play_money(broker)
        http_address = await broker.start_http()
    except StartupError:
        await broker.close()
        raise

    def announce(address: Address) -> None:
        if worker is None:
            print_listening(address, http_address)
        else:
            worker.report_serving(address)
        if broker.gateways.by_name(SANDBOX) is not None:
            # Whoever has an account can put credits on it without paying.
            logger.warning("payments.sandbox")

    await serve_until_signal(
        broker.node,
        before_stop=broker.begin_stop,
        after_stop=broker.close,
        announce=announce,
        stop_orders=stop_signals if worker is None else worker.stop_orders,
    )


async def _warn_of_play_money(broker: Broker) -> None:
    """Says it if a broker that takes money has sales in its books that nobody has paid. Raises StartupError."""
    if broker.gateways.by_name(SANDBOX) is not None:
        return
    try:
        has_play_money = await broker.database.read(lambda connection: began_with(connection, SANDBOX))
    except StorageError as error:
        raise StartupError(str(error)) from error
    if has_play_money:
        logger.warning("payments.sandbox_sales", advice="these are paid out like any others; begin a new database")


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
