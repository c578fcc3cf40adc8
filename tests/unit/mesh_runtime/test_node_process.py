import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.forked_processes import start_process
from tests.unit.mesh_runtime.harness import Caller

PROGRAM = Path(__file__).with_name("example_node.py")
ROOT = Path(__file__).parents[3]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Running:
    """A node process that serves."""

    process: Process
    address: str
    caller: Caller

    async def health(self) -> int:
        stub = health_pb2_grpc.HealthStub(self.caller.channel)
        response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        return int(response.status)

    async def wait_for_health(self, status: int) -> None:
        async with asyncio.timeout(20):
            while await self.health() != status:  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.01)


async def start(*arguments: str, **environment: str) -> Process:
    return await start_process(
        sys.executable,
        str(PROGRAM),
        *arguments,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


async def finish(process: Process) -> tuple[int, str, str]:
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Running]:
    process = await start(*arguments)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert line.startswith("listening on 127.0.0.1:"), line
        address = line.removeprefix("listening on ").strip()
        async with grpc.aio.insecure_channel(address) as channel:
            yield Running(process=process, address=address, caller=Caller(channel))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_held(node: Running, path: Path) -> Any:
    """A call that the node is working on until the file exists."""
    call = asyncio.ensure_future(node.caller.unary("Hold", str(path), timeout=60))
    async with asyncio.timeout(20):
        while not Path(f"{path}.held").exists():  # noqa: ASYNC110 - only another process can say so
            await asyncio.sleep(0.01)
    return call


def events(errors: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in errors.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_turns_health_off_while_the_running_call_finishes(number: int, tmp_path: Path) -> None:
    async with running() as node:
        assert await node.health() == SERVING
        held = await until_held(node, tmp_path / "go")
        node.process.send_signal(number)
        await node.wait_for_health(NOT_SERVING)
        assert not held.done()
        (tmp_path / "go").touch()
        assert (await held).value == str(tmp_path / "go")
        code, output, errors = await finish(node.process)
    assert code == 0
    assert output == "after stop\n"
    assert [entry["event"] for entry in events(errors)] == ["node.serving", "node.stopping", "call", "node.stopped"]


async def test_an_idle_node_stops_at_once() -> None:
    async with running("--drain-seconds", "60") as node:
        node.process.send_signal(signal.SIGTERM)
        # Which waits for less than that.
        code, _, _ = await finish(node.process)
    assert code == 0


async def test_calls_that_outlast_the_drain_are_cancelled(tmp_path: Path) -> None:
    async with running("--drain-seconds", "0.3") as node:
        held = await until_held(node, tmp_path / "never")
        node.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await held
        code, output, errors = await finish(node.process)
    assert (code, output) == (0, "after stop\n")
    assert [entry["event"] for entry in events(errors)] == [
        "node.serving",
        "node.stopping",
        "node.calls_cancelled",
        "call",
        "node.stopped",
    ]


async def test_a_second_signal_cancels_running_calls(tmp_path: Path) -> None:
    async with running("--drain-seconds", "60") as node:
        held = await until_held(node, tmp_path / "never")
        node.process.send_signal(signal.SIGTERM)
        await node.wait_for_health(NOT_SERVING)
        node.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(held, 20)
        code, output, _ = await finish(node.process)
    assert (code, output) == (0, "after stop\n")


async def test_a_failure_before_the_stop_does_not_keep_it_from_stopping(tmp_path: Path) -> None:
    async with running("--break-in", "before-stop") as node:
        held = await until_held(node, tmp_path / "go")
        node.process.send_signal(signal.SIGTERM)
        await node.wait_for_health(NOT_SERVING)
        (tmp_path / "go").touch()
        await held
        code, _, errors = await finish(node.process)
    assert code == 0
    (failed,) = [entry for entry in events(errors) if entry["event"] == "node.before_stop_failed"]
    assert "broken on purpose" in failed["exception"]


async def test_a_port_in_use_is_one_line_and_exit_code_2() -> None:
    async with running() as node:
        code, output, errors = await finish(await start("--listen", node.address))
    assert code == 2
    assert errors == f"iap-example: error: cannot listen on {node.address}: address already in use\n"
    assert output == "after stop\n"


async def test_an_address_of_another_machine_is_one_line_and_exit_code_2() -> None:
    code, _, errors = await finish(await start("--listen", "192.0.2.1:0", "--insecure"))
    assert code == 2
    assert errors == "iap-example: error: cannot listen on 192.0.2.1:0: cannot assign requested address\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
async def test_plaintext_for_other_machines_is_refused(host: str) -> None:
    code, output, errors = await finish(await start("--listen", f"{host}:0"))
    assert code == 2
    assert errors.startswith(f"iap-example: error: cannot listen on {host}:0 without TLS: ")
    assert errors.count("\n") == 1
    assert "listening" not in output


async def test_plaintext_for_other_machines_can_be_allowed() -> None:
    process = await start("--listen", "0.0.0.0:0", "--insecure")
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    process.send_signal(signal.SIGTERM)
    code, _, _ = await finish(process)
    assert line.startswith(b"listening on 0.0.0.0:")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--listen", "nowhere"], {}, "invalid address 'nowhere': expected HOST:PORT, such as 127.0.0.1:50051"),
        (
            [],
            {"IAP_EXAMPLE_LISTEN": "1.2.3.4"},
            "invalid address '1.2.3.4': expected HOST:PORT, such as 127.0.0.1:50051",
        ),
        (["--unknown"], {}, "No such option '--unknown'."),
        (["--log-style", "xml"], {}, "invalid log style 'xml': expected one of json, text"),
        (
            [],
            {"IAP_EXAMPLE_DRAIN_SECONDS": "soon"},
            "Invalid value for '--drain-seconds': 'soon' is not a valid float.",
        ),
        (
            ["--listen", "no-such-host.invalid:0", "--insecure"],
            {},
            "cannot listen on no-such-host.invalid:0: unknown host",
        ),
    ],
)
async def test_a_wrong_setting_is_one_line_and_exit_code_2(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    code, _, errors = await finish(await start(*arguments, **environment))
    assert (code, errors) == (2, f"iap-example: error: {message}\n")


async def test_help_is_printed_with_exit_code_0() -> None:
    code, output, errors = await finish(await start("--help"))
    assert (code, errors) == (0, "")
    assert "Serve the example service." in output


async def test_a_bug_keeps_its_traceback_and_exit_code_1() -> None:
    code, _, errors = await finish(await start("--break-in", "start"))
    assert code == 1
    assert "RuntimeError: broken on purpose" in errors
