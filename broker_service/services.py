"""The gRPC services of a broker, and what each of them works with."""

from dataclasses import dataclass

import grpc.aio
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

from broker_service.engine.auditing import Auditor
from broker_service.engine.auto_top_ups import AutoTopUps
from broker_service.engine.balance_watch import BalanceWatch
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.event_watch import EventWatch
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.engine.settlement import Settlement
from broker_service.engine.webhooks import Webhooks
from broker_service.storage.database import Database
from broker_service.transport.accounts import AccountServicer
from broker_service.transport.admin import AdminServicer
from broker_service.transport.broker import BrokerServicer
from broker_service.transport.catalog import CatalogServicer
from broker_service.transport.endpoint import Gate
from broker_service.transport.events import EventServicer
from broker_service.transport.pipeline import StreamLimits
from broker_service.transport.purchases import PurchaseServicer
from broker_service.transport.settlement import SettlementServicer

SERVICES = [
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What servicers work with."""

    database: Database
    committer: Committer
    directory: Directory
    reader: LedgerReader
    watch: BalanceWatch
    desk: PaymentDesk
    top_ups: AutoTopUps
    settlement: Settlement
    webhooks: Webhooks
    event_watch: EventWatch
    auditor: Auditor
    stream_limits: StreamLimits


def add_services(server: grpc.aio.Server, gate: Gate, parts: Parts) -> None:
    """Adds all of SERVICES to a node's server, behind a gate."""
    directory, committer, reader = parts.directory, parts.committer, parts.reader
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(
        BrokerServicer(gate, directory, committer, reader, stream_limits=parts.stream_limits), server
    )
    account_pb2_grpc.add_AccountServiceServicer_to_server(
        AccountServicer(
            gate, directory, committer, reader, watch=parts.watch, webhooks=parts.webhooks, top_ups=parts.top_ups
        ),
        server,
    )
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogServicer(gate, directory), server)
    purchase_pb2_grpc.add_PurchaseServiceServicer_to_server(
        PurchaseServicer(gate, directory, parts.desk, reader), server
    )
    settlement_pb2_grpc.add_SettlementServiceServicer_to_server(
        SettlementServicer(gate, directory, parts.settlement), server
    )
    event_pb2_grpc.add_EventServiceServicer_to_server(
        EventServicer(gate, parts.database, parts.event_watch, parts.webhooks), server
    )
    admin_pb2_grpc.add_AdminServiceServicer_to_server(
        AdminServicer(gate, directory, committer, parts.desk, parts.auditor), server
    )


def request_types() -> list[type[Message]]:
    """Returns the request messages of all methods."""
    return [GetMessageClass(method.input_type) for service in SERVICES for method in service.methods]
