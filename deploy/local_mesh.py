"""A broker and a provider on this machine, each a process of its own, with all they write in one directory.

    async with LocalMesh(directory) as mesh:
        operator_key = await mesh.initialize()
        await mesh.broker.start()
        provider = mesh.add_provider(key=provider_key)
        await provider.start()
        …
        await mesh.audit()

One mesh at a time in a directory: its database has one writer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from deploy.node_process import ANY_PORT, NodeCommand, NodeProcess, run_command

_BROKER: Final = "broker_service"
_PROVIDER: Final = "provider_service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What `iap-broker audit` says of a database: credits over all accounts, and each difference it found."""

    accounts_checked: int
    entries_checked: int
    ledger_credits: int
    reserved_credits: int
    captured_credits: int
    violations: tuple[str, ...]


class LocalMesh:
    """Processes of one mesh; leaving the context stops them all, providers first: they settle with the broker."""

    def __init__(self, directory: Path, *, broker_listen: str = ANY_PORT, broker_arguments: Sequence[str] = ()) -> None:
        self.directory = directory.resolve()
        self.database_path = self.directory / "iap.db"
        self.outbox_path = self.directory / "sms-outbox.txt"
        self.broker = NodeProcess(
            NodeCommand(module=_BROKER, arguments=("--database", self.database_url, *broker_arguments)),
            log_path=self.directory / "broker.log",
            listen=broker_listen,
        )
        self._providers: list[NodeProcess] = []

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self,
        _error_type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def database_url(self) -> str:
        """The broker's database."""
        return f"sqlite:///{self.database_path}"

    async def initialize(self) -> str | None:
        """Make the database and return the operator's key; None when it was made before. Raises ProcessFailedError."""
        made = json.loads(await run_command(_BROKER, "init", "--database", self.database_url, "--json"))
        return str(made["operator_key"]) if made["made"] else None

    def add_provider(self, *, key: str, listen: str = ANY_PORT, arguments: Sequence[str] = ()) -> NodeProcess:
        """Return a provider that works with this mesh's broker, which has been started; start it next.

        Its sandbox gateway writes to `outbox_path`; its journal is its own.
        """
        number = len(self._providers) + 1
        journal = f"sqlite:///{self.directory / f'provider-journal-{number}.db'}"
        options = ("--option", f"sms.outbox={self.outbox_path}")
        command = NodeCommand(
            module=_PROVIDER,
            arguments=("--broker", self.broker.address, "--journal", journal, *options, *arguments),
            environment={"IAP_PROVIDER_KEY": key},
        )
        name = "provider.log" if number == 1 else f"provider-{number}.log"
        provider = NodeProcess(command, log_path=self.directory / name, listen=listen)
        self._providers.append(provider)
        return provider

    async def audit(self) -> Books:
        """Recompute the books; the broker may serve meanwhile. Raises ProcessFailedError."""
        found = json.loads(await run_command(_BROKER, "audit", "--database", self.database_url, "--json"))
        violations = [f"{it['rule']} {it['account_id']}: {it['description']}" for it in found.pop("violations")]
        return Books(violations=tuple(violations), **found)

    async def stop(self) -> None:
        """Stop all processes. Interrupted, it kills those that are left: none outlives the mesh."""
        processes = (*self._providers, self.broker)
        try:
            for process in processes:
                await process.stop()
        finally:
            for process in processes:
                process.kill_now()
