"""The server processes that are measured over gRPC."""

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from iap.broker.v1 import broker_pb2, broker_pb2_grpc
from iap.provider.v1 import provider_pb2, provider_pb2_grpc

from bench.engine_lane import DESCRIPTION
from bench.seeding import PROVIDER_KEY, SERVICE, account_token
from deploy.node_process import NodeCommand, NodeProcess

_BROKER: Final = "broker_service"
_ECHO: Final = "bench.echo_server"
_PROVIDER: Final = "provider_service"
_NO_OPERATION: Final = "bench.no_operation:no_operation"
_PROVIDER_ENVIRONMENT: Final = {"IAP_PROVIDER_KEY": PROVIDER_KEY}
_KEY: Final = (("authorization", f"Bearer {PROVIDER_KEY}"),)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainAnswers:
    """What a broker and a provider answer on the way of one ServeRequest."""

    reserve: broker_pb2.ReserveResponse
    capture: broker_pb2.CaptureResponse
    serve_request: provider_pb2.ServeRequestResponse


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
    command = NodeCommand(module=_BROKER, arguments=arguments)
    async with _running(command, directory, profile_path=profile_path) as process:
        yield RunningServer(address=process.address, meters={"server": process.pid, **meters})


@asynccontextmanager
async def running_echo(response: broker_pb2.ReserveResponse, *, directory: Path) -> AsyncIterator[RunningServer]:
    """Serves the same answer to everybody, and stops in the end."""
    arguments = ("--reserve", response.SerializeToString().hex())
    async with _running(NodeCommand(module=_ECHO, arguments=arguments), directory) as process:
        yield RunningServer(address=process.address, meters={"server": process.pid})


@asynccontextmanager
async def running_bare_chain(answers: ChainAnswers, *, directory: Path) -> AsyncIterator[RunningServer]:
    """Serves ServeRequest from a bare provider in front of a bare broker, a process each, and stops both in the end."""
    broker_arguments = ("--reserve", _hexadecimal(answers.reserve), "--capture", _hexadecimal(answers.capture))
    async with _running(NodeCommand(module=_ECHO, arguments=broker_arguments), directory) as broker:
        arguments = ("--broker", broker.address, "--serve-request", _hexadecimal(answers.serve_request))
        async with _running(NodeCommand(module=_ECHO, arguments=arguments), directory) as provider:
            yield RunningServer(address=provider.address, meters={"server": provider.pid, "broker": broker.pid})


@asynccontextmanager
async def running_provider(
    broker: RunningServer, arguments: tuple[str, ...], *, directory: Path
) -> AsyncIterator[RunningServer]:
    """Serves a service that does nothing from one process in front of a broker, and stops it in the end."""
    arguments = ("--broker", broker.address, "--service", _NO_OPERATION, "--log-level", "warning", *arguments)
    command = NodeCommand(module=_PROVIDER, arguments=arguments, environment=_PROVIDER_ENVIRONMENT)
    async with _running(command, directory) as process:
        others = {name: pid for name, pid in broker.meters.items() if name != "server"}
        yield RunningServer(address=process.address, meters={"server": process.pid, "broker": broker.pid, **others})


@asynccontextmanager
async def _running(
    command: NodeCommand, directory: Path, *, profile_path: Path | None = None
) -> AsyncIterator[MeasuredProcess]:
    process = MeasuredProcess(command, log_path=directory / f"{command.module}.log", profile_path=profile_path)
    await process.start()
    try:
        yield process
        await process.stop()
    finally:
        process.kill_now()


async def reserve_once(address: str) -> broker_pb2.ReserveResponse:
    """Returns what a broker answers to a request like those that will be sent."""
    async with grpc.aio.insecure_channel(address) as channel:
        return await _reserve(broker_pb2_grpc.BrokerServiceStub(channel))


async def serve_once(broker_address: str, provider_address: str) -> ChainAnswers:
    """Returns what a broker and a provider answer to requests like those that will be sent."""
    async with (
        grpc.aio.insecure_channel(broker_address) as to_broker,
        grpc.aio.insecure_channel(provider_address) as to_provider,
    ):
        broker: broker_pb2_grpc.BrokerServiceAsyncStub = broker_pb2_grpc.BrokerServiceStub(to_broker)
        provider: provider_pb2_grpc.ProviderServiceAsyncStub = provider_pb2_grpc.ProviderServiceStub(to_provider)
        reserved = await _reserve(broker)
        capture = broker_pb2.CaptureRequest(
            request_id=str(uuid.uuid4()), reservation_id=reserved.reservation.reservation_id
        )
        request = provider_pb2.ServeRequestRequest(
            request_id=str(uuid.uuid4()), service=SERVICE, account_token=account_token(0), input=Struct()
        )
        return ChainAnswers(
            reserve=reserved,
            capture=await broker.Capture(capture, metadata=_KEY, timeout=_SECONDS),
            serve_request=await provider.ServeRequest(request, timeout=_SECONDS),
        )


async def _reserve(broker: "broker_pb2_grpc.BrokerServiceAsyncStub") -> broker_pb2.ReserveResponse:
    request = broker_pb2.ReserveRequest(
        request_id=str(uuid.uuid4()), account_token=account_token(0), credits=1, description=DESCRIPTION
    )
    return await broker.Reserve(request, metadata=_KEY, timeout=_SECONDS)


def _hexadecimal(message: Message) -> str:
    return message.SerializeToString().hex()
