"""A broker and a provider, each a process that may be killed, and the accounts that their customers have."""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iap.broker.v1.broker_pb2 import Reservation, ReservationState

from client_stub.accounts import AccountClient
from client_stub.admin import AdminClient
from client_stub.broker import BrokerClient, Transport
from client_stub.catalog import CatalogClient
from deploy.node_process import NodeCommand, NodeProcess, run_command
from mesh_runtime import fault_points

SERVICES = ("once", "again")
STREAMED = "ticking"
_ALL = (*SERVICES, STREAMED)
CREDITS = 1_000_000
BROKER = "broker"
PROVIDER = "provider"
_SETTLE_SECONDS = 30
_STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class PayingAccount:
    """An account with plenty of credits, or with none."""

    service: str
    account_id: str
    token: str
    credits: int


@dataclass(frozen=True, slots=True)
class ProviderStage:
    """What failures befall, and what is checked after them."""

    database_url: str
    broker: NodeProcess
    provider: NodeProcess
    provider_key: str
    accounts: tuple[PayingAccount, ...]
    work_path: Path
    faults_path: Path

    def account(self, service: str, *, poor: bool = False) -> PayingAccount:
        return next(it for it in self.accounts if it.service == service and bool(it.credits) is not poor)

    async def kill(self, victims: Iterable[str]) -> None:
        """Kills them at once and starts them again."""
        processes = [getattr(self, victim) for victim in sorted(victims)]
        for process in processes:
            process.kill_now()
        await asyncio.gather(*(process.kill() for process in processes))
        await asyncio.gather(*(process.start() for process in processes))

    def arm(self, point: str, *, count: int = 1, then: str = "STOP") -> None:
        """Has the provider stop, or die, when it passes a point for the n-th time."""
        written = self.faults_path.with_suffix(".new")
        written.write_text(f"{point} {count} {then}")
        written.rename(self.faults_path)

    def disarm(self) -> None:
        self.faults_path.unlink(missing_ok=True)

    async def wait_until_stopped(self) -> None:
        """Returns when the provider has come to the point at which it stops."""
        async with asyncio.timeout(_STOP_SECONDS):
            while not _is_stopped(self.provider.pid):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    def go_on(self) -> None:
        assert self.provider.pid is not None
        os.kill(self.provider.pid, signal.SIGCONT)

    def work(self) -> Counter[str]:
        """Counts the pieces of work done for each request_id."""
        return Counter(self.work_path.read_text().split()) if self.work_path.exists() else Counter()

    async def reservations(self, account: PayingAccount) -> list[Reservation]:
        async with BrokerClient.connect(self.broker.address, key=self.provider_key) as broker:
            return [it async for it in broker.list_reservations(account_token=account.token)]

    async def wait_until_settled(self) -> None:
        """Returns when nothing is reserved any more."""
        active = ReservationState.RESERVATION_STATE_ACTIVE
        async with asyncio.timeout(_SETTLE_SECONDS):
            for account in self.accounts:
                while any(it.state == active for it in await self.reservations(account)):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.05)

    async def audit(self) -> dict[str, Any]:
        """Returns what the operator's command says of the books."""
        found: dict[str, Any] = json.loads(
            await run_command("broker_service", "audit", "--database", self.database_url, "--json")
        )
        return found


@asynccontextmanager
async def provider_stage(
    database_url: str, journal_url: str, directory: Path, *, transport: Transport = "unary"
) -> AsyncIterator[ProviderStage]:
    """Starts both and opens accounts; both are gone in the end, whatever has happened."""
    made = json.loads(await run_command("broker_service", "init", "--database", database_url, "--json"))
    broker = NodeProcess(
        NodeCommand(module="broker_service", arguments=("--database", database_url)), log_path=directory / "broker.log"
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(broker.kill)
        await broker.start()
        key, accounts = await _open_accounts(broker.address, made["operator_key"])
        work_path, faults_path = directory / "work.txt", directory / "faults.txt"
        options = [f"--option={service}.path={work_path}" for service in _ALL]
        provider = NodeProcess(
            NodeCommand(
                module="provider_service",
                arguments=(
                    *("--broker", broker.address, "--services", ",".join(_ALL), "--journal", journal_url),
                    *("--log-level", "warning", "--broker-transport", transport, *options),
                ),
                environment={
                    "IAP_PROVIDER_KEY": key,
                    "PYTHONPATH": str(_install_services(directory)),
                    fault_points.VARIABLE: str(faults_path),
                },
            ),
            log_path=directory / "provider.log",
        )
        stack.push_async_callback(provider.kill)
        await provider.start()
        yield ProviderStage(database_url, broker, provider, key, accounts, work_path, faults_path)


async def _open_accounts(broker: str, operator_key: str) -> tuple[str, tuple[PayingAccount, ...]]:
    """Returns the provider's key, and for each service an account with credits and one without."""
    async with AdminClient.connect(broker, key=operator_key) as admin:
        provider_key = (await admin.register_provider(name="Counted Ltd")).provider_key
        customer_key = (await admin.register_customer(name="Ada")).customer_key
    opened = []
    async with (
        CatalogClient.connect(broker, key=provider_key) as catalog,
        AccountClient.connect(broker, key=customer_key) as accounts,
    ):
        for service in _ALL:
            await catalog.create_service(service=service, title="Counted", unit_name="piece", trial_credits=CREDITS)
            # Trial credits come with a customer's first account for a service.
            for trial_credits in (CREDITS, 0):
                made = await accounts.open_account(service=service)
                opened.append(PayingAccount(service, made.account.account_id, made.account_token, trial_credits))
    return provider_key, tuple(opened)


def _install_services(directory: Path) -> Path:
    """Makes a directory with a distribution that offers the services."""
    site = directory / "site"
    metadata = site / "counted_services-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: counted-services\nVersion: 1.0\n")
    lines = [f"{service} = tests.chaos.providers.counted_services:create_{service}" for service in _ALL]
    (metadata / "entry_points.txt").write_text("\n".join(["[iap_mesh.services]", *lines, ""]))
    return site


def _is_stopped(pid: int | None) -> bool:
    """Whether a process has been stopped by a signal (proc(5): the state follows the name in brackets)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
