"""The server processes that are measured over gRPC."""

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio
from iap.broker.v1 import broker_pb2, broker_pb2_grpc

from bench.engine_lane import DESCRIPTION
from bench.seeding import PROVIDER_KEY, account_token
from deploy.node_process import NodeCommand, NodeProcess

_BROKER: Final = "broker_service"
_ECHO: Final = "bench.echo_server"
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that serves; `meters` are the processes whose CPU time its answers cost, `server` itself among them."""

    address: str
    meters: dict[str, int]

    @property
    def pid(self) -> int:
        """The server's own process."""
        return self.meters["server"]


class MeasuredProcess(NodeProcess):
    """A server process that can be looked at from outside; with `profile_path`, its functions are timed into a file."""

    def __init__(self, command: NodeCommand, *, log_path: Path, profile_path: Path | None = None) -> None:
        super().__init__(command, log_path=log_path)
        self._profile_path = profile_path

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise ProcessLookupError("the process was not started")
        return self._process.pid

    def _command_line(self) -> tuple[str, ...]:
        line = super()._command_line()
        if self._profile_path is None:
            return line
        return (sys.executable, "-m", "cProfile", "-o", str(self._profile_path), *line[1:])


@asynccontextmanager
async def running_broker(
    database_url: str, *, meters: dict[str, int], directory: Path, profile_path: Path | None = None
) -> AsyncIterator[RunningServer]:
    """Serves a database from one process, as an operator would, and stops it in the end."""
    arguments = ("--database", database_url, "--log-level", "warning")
    async with _running(_BROKER, arguments, directory, profile_path) as process:
        yield RunningServer(address=process.address, meters={"server": process.pid, **meters})


@asynccontextmanager
async def running_echo(response: broker_pb2.ReserveResponse, *, directory: Path) -> AsyncIterator[RunningServer]:
    """Serves the same answer to everybody, and stops in the end."""
    arguments = ("--response", response.SerializeToString().hex())
    async with _running(_ECHO, arguments, directory, None) as process:
        yield RunningServer(address=process.address, meters={"server": process.pid})


@asynccontextmanager
async def _running(
    module: str, arguments: tuple[str, ...], directory: Path, profile_path: Path | None
) -> AsyncIterator[MeasuredProcess]:
    process = MeasuredProcess(
        NodeCommand(module=module, arguments=arguments),
        log_path=directory / f"{module}.log",
        profile_path=profile_path,
    )
    await process.start()
    try:
        yield process
        await process.stop()
    finally:
        process.kill_now()


async def reserve_once(address: str) -> broker_pb2.ReserveResponse:
    """Returns what a broker answers to a request like those that will be sent."""
    request = broker_pb2.ReserveRequest(
        request_id=str(uuid.uuid4()), account_token=account_token(0), credits=1, description=DESCRIPTION
    )
    async with grpc.aio.insecure_channel(address) as channel:
        stub: broker_pb2_grpc.BrokerServiceAsyncStub = broker_pb2_grpc.BrokerServiceStub(channel)
        return await stub.Reserve(request, metadata=(("authorization", f"Bearer {PROVIDER_KEY}"),), timeout=_SECONDS)
