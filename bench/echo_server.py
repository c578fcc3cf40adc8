"""The baselines over gRPC: bare servers with the messages of the broker and the provider, and nothing behind them.

`python -m bench.echo_server serve --listen HOST:PORT --reserve HEX [--capture HEX]` answers Reserve and Capture: what a
Python process can answer at all, on the same gRPC and event loop as the broker. HEX is a response, serialized; it is
serialized anew for every request. With `--broker HOST:PORT --serve-request HEX` it is a bare provider instead: it
answers ServeRequest after a Reserve and a Capture at the bare broker, over one channel, as a provider would.
"""

# ruff: noqa: N802 - the methods carry the names of the RPCs

import argparse
import asyncio
import signal
import uuid
from typing import Any

import grpc.aio
from iap.broker.v1 import broker_pb2, broker_pb2_grpc
from iap.provider.v1 import provider_pb2, provider_pb2_grpc

from mesh_runtime.commands import run_event_loop

_SECONDS = 10.0


class EchoServicer(broker_pb2_grpc.BrokerServiceServicer):
    """Answers every Reserve with the same message, and every Capture with another."""

    def __init__(self, reserve: broker_pb2.ReserveResponse, capture: broker_pb2.CaptureResponse | None = None) -> None:
        self._reserve = reserve
        self._capture = capture or broker_pb2.CaptureResponse()

    async def Reserve(self, _request: broker_pb2.ReserveRequest, _context: Any) -> broker_pb2.ReserveResponse:
        """Answers."""
        return self._reserve

    async def Capture(self, _request: broker_pb2.CaptureRequest, _context: Any) -> broker_pb2.CaptureResponse:
        """Answers."""
        return self._capture


class BareProvider(provider_pb2_grpc.ProviderServiceServicer):
    """Answers every ServeRequest with the same message, once a bare broker has answered a Reserve and a Capture."""

    def __init__(self, broker: grpc.aio.Channel, response: provider_pb2.ServeRequestResponse) -> None:
        self._broker: broker_pb2_grpc.BrokerServiceAsyncStub = broker_pb2_grpc.BrokerServiceStub(broker)
        self._response = response

    async def ServeRequest(
        self, request: provider_pb2.ServeRequestRequest, _context: Any
    ) -> provider_pb2.ServeRequestResponse:
        """Reserves, captures, answers."""
        reserved = await self._broker.Reserve(
            broker_pb2.ReserveRequest(
                request_id=request.request_id or str(uuid.uuid4()), account_token=request.account_token, credits=1
            ),
            timeout=_SECONDS,
        )
        await self._broker.Capture(
            broker_pb2.CaptureRequest(
                request_id=request.request_id, reservation_id=reserved.reservation.reservation_id
            ),
            timeout=_SECONDS,
        )
        return self._response


async def main(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM."""
    server = grpc.aio.server()
    channel = _add_servicer(server, arguments)
    host, _, _ = arguments.listen.rpartition(":")
    port = server.add_insecure_port(arguments.listen)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    print(f"listening on {host}:{port}", flush=True)
    await stopped.wait()
    await server.stop(1.0)
    if channel is not None:
        await channel.close()


def _add_servicer(server: grpc.aio.Server, arguments: argparse.Namespace) -> grpc.aio.Channel | None:
    """Makes a broker or a provider of the server; returns the provider's channel to the broker."""
    if arguments.broker is None:
        reserve = broker_pb2.ReserveResponse.FromString(arguments.reserve)
        capture = broker_pb2.CaptureResponse.FromString(arguments.capture)
        broker_pb2_grpc.add_BrokerServiceServicer_to_server(EchoServicer(reserve, capture), server)
        return None
    channel = grpc.aio.insecure_channel(arguments.broker)
    response = provider_pb2.ServeRequestResponse.FromString(arguments.serve_request)
    provider_pb2_grpc.add_ProviderServiceServicer_to_server(BareProvider(channel, response), server)
    return channel


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.echo_server", description="Answers, and does no more.")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--reserve", type=bytes.fromhex, default=b"", metavar="HEX")
    parser.add_argument("--capture", type=bytes.fromhex, default=b"", metavar="HEX")
    parser.add_argument("--broker", metavar="HOST:PORT")
    parser.add_argument("--serve-request", type=bytes.fromhex, default=b"", metavar="HEX")
    return parser.parse_args()


if __name__ == "__main__":
    run_event_loop(main(_read_arguments()))
