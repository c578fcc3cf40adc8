"""A broker process that serves HTTP, and a customer's way to buy there."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, admin_pb2, catalog_pb2, purchase_pb2

from deploy.node_process import ANY_PORT, NodeCommand, NodeProcess, run_command
from tests.contract.broker_world.running_broker import Stubs

BROKER = "broker_service"
CALL_SECONDS = 20.0


@dataclass(slots=True)
class HttpBroker:
    """The process, what reaches it over gRPC, and an account whose service sells one pack."""

    process: NodeProcess
    database_url: str
    operator_key: str
    customer_key: str = ""
    account_token: str = ""
    pack_id: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.process.http_address}"

    async def call(self, rpc: str, request: Any, key: str = "") -> Any:
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        async with grpc.aio.insecure_channel(self.process.address) as channel:
            return await Stubs(channel).method(rpc)(request, metadata=metadata, timeout=CALL_SECONDS)

    async def prepare(self) -> None:
        """Registers a provider that sells one pack, and opens an account."""
        provider = admin_pb2.RegisterProviderRequest(request_id=new_id(), name="Provider")
        provider_key = (await self.call("RegisterProvider", provider, self.operator_key)).provider_key
        service = catalog_pb2.CreateServiceRequest(request_id=new_id(), service="text-messages", title="Text messages")
        await self.call("CreateService", service, provider_key)
        pack = catalog_pb2.CreatePackRequest(
            request_id=new_id(),
            service="text-messages",
            title="Thousand messages",
            credits=1_000,
            price=Money(currency_code="EUR", units=24, nanos=900_000_000),
        )
        self.pack_id = (await self.call("CreatePack", pack, provider_key)).pack.pack_id
        await self.open_account()

    async def open_account(self) -> None:
        """Registers another customer, whose account is used from now on."""
        customer = admin_pb2.RegisterCustomerRequest(request_id=new_id(), name="Customer")
        self.customer_key = (await self.call("RegisterCustomer", customer, self.operator_key)).customer_key
        opening = account_pb2.OpenAccountRequest(request_id=new_id(), service="text-messages")
        self.account_token = (await self.call("OpenAccount", opening, self.customer_key)).account_token

    async def create_purchase(self, *, return_url: str = "", request_id: str | None = None) -> Any:
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=request_id or new_id(),
            pack_id=self.pack_id,
            account_token=self.account_token,
            return_url=return_url,
        )
        return await self.call("CreatePurchase", request)

    async def credits(self) -> int:
        answer = await self.call("GetBalance", account_pb2.GetBalanceRequest(account_token=self.account_token))
        return int(answer.balance.ledger_credits)

    async def audit(self) -> list[Any]:
        found = json.loads(await run_command(BROKER, "audit", "--database", self.database_url, "--json"))
        violations: list[Any] = found["violations"]
        return violations


def new_id() -> str:
    return str(uuid.uuid4())


@asynccontextmanager
async def http_broker(
    database_url: str,
    directory: Path,
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[HttpBroker]:
    """Runs a broker process on a new database; in the end it must stop well and its books agree."""
    made = json.loads(await run_command(BROKER, "init", "--database", database_url, "--json"))
    given = ("--database", database_url, "--http-listen", ANY_PORT, *arguments)
    command = NodeCommand(module=BROKER, arguments=given, environment=environment or {})
    process = NodeProcess(command, log_path=directory / "broker.log")
    try:
        await process.start()
        broker = HttpBroker(process, database_url, made["operator_key"])
        await broker.prepare()
        yield broker
        assert await process.stop() == 0
        assert await broker.audit() == []
    finally:
        process.kill_now()
