"""A node as a program of its own: what commands, settings and signals do to a real process.

Its one service holds a call until a file appears, so that a test decides when it ends.
"""

import asyncio
from pathlib import Path
from typing import Any

import click
import grpc
from google.protobuf.wrappers_pb2 import StringValue

from mesh_runtime.addresses import parse_address
from mesh_runtime.commands import invoke, run_event_loop
from mesh_runtime.logs import configure_logging
from mesh_runtime.node import Node, NodeOptions, serve_until_signal

SERVICE = "test.v1.ExampleService"


async def hold(request: StringValue, _context: Any) -> StringValue:
    """Answer when the file that the request names exists; make one beside it that says that it waits."""
    Path(f"{request.value}.held").touch()
    while not Path(request.value).exists():  # noqa: ASYNC110 - only another process can say so
        await asyncio.sleep(0.01)
    return request


@click.command()
@click.option("--listen", default="127.0.0.1:0")
@click.option("--drain-seconds", type=float, default=10.0)
@click.option("--insecure", is_flag=True)
@click.option("--break-in", type=click.Choice(["start", "before-stop"]))
@click.option("--log-style", default="json")
def command(listen: str, drain_seconds: float, insecure: bool, break_in: str | None, log_style: str) -> None:
    """Serve the example service."""
    configure_logging("info", log_style)
    if break_in == "start":
        raise RuntimeError("broken on purpose")
    options = NodeOptions(listen=parse_address(listen), drain_seconds=drain_seconds, insecure=insecure)
    run_event_loop(serve(options, break_before_stop=break_in == "before-stop"))


async def serve(options: NodeOptions, *, break_before_stop: bool) -> None:
    node = Node(options, domain="iap.test", service_names=[SERVICE])
    handler = grpc.unary_unary_rpc_method_handler(
        hold,
        request_deserializer=StringValue.FromString,
        response_serializer=StringValue.SerializeToString,
    )
    node.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Hold": handler}),))

    async def before_stop() -> None:
        if break_before_stop:
            raise RuntimeError("broken on purpose")

    async def after_stop() -> None:
        print("after stop", flush=True)

    await serve_until_signal(node, before_stop=before_stop, after_stop=after_stop)


if __name__ == "__main__":
    invoke(command, "iap-example")
