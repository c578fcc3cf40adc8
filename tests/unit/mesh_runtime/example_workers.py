"""Workers as a program of its own: what a supervisor, its workers and signals do as real processes.

Each worker answers with its process id, or holds a call until a file appears. A file can keep workers from starting.
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

import click

from mesh_runtime.addresses import parse_address
from mesh_runtime.commands import invoke, run_event_loop
from mesh_runtime.logs import configure_logging
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.worker import Worker, this_worker
from mesh_runtime.workers import supervise

SERVICE = "test.v1.ExampleService"
ANNOUNCE_SECONDS = 0.2


@click.command()
@click.option("--listen", default="127.0.0.1:0")
@click.option("--workers", type=int, default=2)
@click.option("--drain-seconds", type=float, default=10.0)
@click.option("--refuse", type=click.Path(path_type=Path), help="While this file exists, its text is a StartupError.")
@click.option("--crash", type=click.Path(path_type=Path), help="While this file exists, workers crash.")
@click.option("--slow", is_flag=True, help="Workers take a minute to start.")
def command(
    listen: str, workers: int, drain_seconds: float, refuse: Path | None, crash: Path | None, slow: bool
) -> None:
    """Serve the example service."""
    worker = this_worker()
    configure_logging("info", "json")
    if worker is None:
        asyncio.run(supervise(parse_address(listen), workers=workers))
        assert not any(name.startswith(("grpc", "google")) for name in sys.modules)
        return
    with worker.reporting_failure():
        if refuse is not None and refuse.exists():
            raise StartupError(refuse.read_text())
        if crash is not None and crash.exists():
            os._exit(3)
        run_event_loop(serve(worker, drain_seconds, start_seconds=60 if slow else 0))


async def serve(worker: Worker, drain_seconds: float, *, start_seconds: float) -> None:
    """Serve as one worker."""
    import grpc  # noqa: PLC0415 - the supervisor does without
    from google.protobuf.wrappers_pb2 import StringValue  # noqa: PLC0415 - see above

    from mesh_runtime.node import Node, NodeOptions, serve_until_signal  # noqa: PLC0415 - see above

    numbers = count()

    async def process_id(_request: StringValue, _context: Any) -> StringValue:
        return StringValue(value=str(os.getpid()))

    async def hold(request: StringValue, _context: Any) -> StringValue:
        Path(request.value).with_name(f"held-{os.getpid()}-{next(numbers)}").touch()
        while not Path(request.value).exists():  # noqa: ASYNC110 - only another process can say so
            await asyncio.sleep(0.01)
        return StringValue(value=str(os.getpid()))

    if start_seconds:
        # In one write: the workers share this output, and what print writes may come in two.
        os.write(1, f"starting {os.getpid()}\n".encode())
        await asyncio.sleep(start_seconds)
    options = NodeOptions(
        listen=worker.listen, drain_seconds=drain_seconds, announce_seconds=ANNOUNCE_SECONDS, reuse_port=True
    )
    node = Node(options, domain="iap.test", service_names=[SERVICE])
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            behavior,
            request_deserializer=StringValue.FromString,
            response_serializer=StringValue.SerializeToString,
        )
        for name, behavior in (("ProcessId", process_id), ("Hold", hold))
    }
    node.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    await serve_until_signal(node, announce=worker.report_serving, stop_orders=worker.stop_orders)


if __name__ == "__main__":
    invoke(command, "iap-example")
