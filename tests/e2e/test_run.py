"""`python -m deploy.run`: what it prints can be pasted, and nothing of it outlives it."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.node_process import ROOT

LAST_WORDS = "Another request needs another one."


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[list[str]]:
    """Run the mesh and yield the lines to paste that it prints; end it by SIGTERM, which leaves no process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.run", "--directory", str(directory)), cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    try:
        yield re.findall(r"^  (\S.*)$", await read_instructions(process), re.MULTILINE)
    finally:
        process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, errors) == (0, b"")
    assert output.decode() == f"\nStopped. All is kept in {directory}; the next run goes on with it.\n"
    assert processes_naming(directory) == []


async def read_instructions(process: Process) -> str:
    assert process.stdout is not None
    printed = ""
    while LAST_WORDS not in printed:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line, f"the mesh did not start: {printed}"
        printed += line.decode()
    return printed


async def paste(*lines: str) -> str:
    """Run lines in a new shell that knows none of our variables, in the project's directory; return what they print."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IAP_")}
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-e", "-c", "\n".join(lines)), cwd=ROOT, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    output, errors = await asyncio.wait_for(shell.communicate(), 30)
    assert shell.returncode == 0, errors.decode()
    return output.decode()


def processes_naming(path: Path) -> list[str]:
    """The command lines, of whichever process, that hold the path."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command_line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(path) in command_line:
            found.append(command_line)
    return found


async def refuses_another(directory: Path) -> None:
    """One mesh at a time uses a directory."""
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.run", "--directory", str(directory)), cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    _, errors = await asyncio.wait_for(second.communicate(), 20)
    assert (second.returncode, errors.decode()) == (1, f"run: error: a mesh is running in {directory} already\n")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes by /proc")
async def test_the_mesh_to_develop_against_is_kept_from_one_run_to_the_next(tmp_path: Path) -> None:
    async with running(tmp_path) as lines:
        assert len(processes_naming(tmp_path)) == 3
        exports = [line for line in lines if line.startswith("export ")]
        commands = [line for line in lines if "grpcurl" not in line and line not in exports]
        assert len(commands) == 7
        told = await paste(*exports, *commands, "env | grep ^IAP_")
    # The trial's two credits and a pack of twenty, less a text for one.
    assert "charged 1 credit, 21 credits available" in told
    assert "3 entries, together 21 credits" in told
    assert "    | Hello from the mesh" in told
    state = json.loads((tmp_path / "run.json").read_text())["seeded"]
    variables = dict(line.split("=", 1) for line in told.splitlines() if line.startswith("IAP_"))
    assert variables.pop("IAP_BROKER") != variables.pop("IAP_PROVIDER")
    assert variables == {
        f"IAP_{name.upper()}": state[name] for name in ("account_token", "customer_key", "provider_key")
    }

    async with running(tmp_path) as lines:
        await refuses_another(tmp_path)
        # The first has the addresses: others, if the usual ports were taken meanwhile.
        exports_again = [line for line in lines if line.startswith("export ")]
        assert exports_again[1:] == exports[1:]
        serve = next(line for line in lines if " serve " in line)
        assert "charged 1 credit, 20 credits available" in await paste(*exports_again, serve)
