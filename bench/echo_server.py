"""The baseline over gRPC: a bare server that takes a ReserveRequest and returns a ReserveResponse, and does no more.

`python -m bench.echo_server serve --listen HOST:PORT --response HEX`: what a Python process can answer at all, on the
same gRPC and event loop as the broker. HEX is the response, serialized; it is serialized anew for every request.
"""

import argparse
import asyncio
import signal
from typing import Any

import grpc.aio
from iap.broker.v1 import broker_pb2, broker_pb2_grpc

from mesh_runtime.commands import run_event_loop


class EchoServicer(broker_pb2_grpc.BrokerServiceServicer):
    """Answers every Reserve with the same message."""

    def __init__(self, response: broker_pb2.ReserveResponse) -> None:
        self._response = response

    async def Reserve(self, _request: broker_pb2.ReserveRequest, _context: Any) -> broker_pb2.ReserveResponse:  # noqa: N802 - the RPC's name
        """Answers."""
        return self._response


async def main(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM."""
    response = broker_pb2.ReserveResponse.FromString(bytes.fromhex(arguments.response))
    server = grpc.aio.server()
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(EchoServicer(response), server)
    host, _, _ = arguments.listen.rpartition(":")
    port = server.add_insecure_port(arguments.listen)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    print(f"listening on {host}:{port}", flush=True)
    await stopped.wait()
    await server.stop(1.0)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.echo_server", description="Answers BrokerService.Reserve.")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--response", required=True, metavar="HEX")
    return parser.parse_args()


if __name__ == "__main__":
    run_event_loop(main(_read_arguments()))
