"""Runs a mesh to develop against until Ctrl-C: `python -m deploy.run`.

All it needs it keeps in var/, or in another `--directory`: database, outbox, logs, and in run.json the keys of whom it
registered the first time.
"""

import argparse
import asyncio
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from client_stub.errors import IapError
from deploy.interruption import run_to_end
from deploy.local_mesh import LocalMesh
from deploy.node_process import ANY_PORT, ROOT, NodeProcess, ProcessFailedError
from deploy.run_instructions import instructions, shown_path
from deploy.run_state import RunState, load_state, save_state
from deploy.seeding import SEEDED_SERVICES, seed
from mesh_runtime.addresses import Address
from mesh_runtime.listening_ports import check_port
from mesh_runtime.startup_errors import StartupError

DIRECTORY: Final = ROOT / "var"
BROKER_PORT: Final = 50051
PROVIDER_PORT: Final = 50052
_HOST: Final = "127.0.0.1"


async def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mesh and return the exit code."""
    directory = _read_directory(arguments)
    try:
        with _sole_use(directory):
            async with LocalMesh(directory, broker_listen=_choose_address(BROKER_PORT)) as mesh:
                return await _run(mesh)
    except (ProcessFailedError, IapError) as error:
        print(f"run: error: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        # The way it is meant to end.
        print(f"\nStopped. All is kept in {shown_path(directory)}; the next run goes on with it.")
        return 0


def _read_directory(arguments: Sequence[str] | None) -> Path:
    parser = argparse.ArgumentParser(prog="python -m deploy.run", description="Run a mesh to develop against.")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="keep all that is kept here; default: var")
    directory: Path = parser.parse_args(arguments).directory
    return directory.resolve()


async def _run(mesh: LocalMesh) -> int:
    state = await _start_broker(mesh)
    provider = mesh.add_provider(
        key=state.seeded.provider_key, listen=_choose_address(PROVIDER_PORT), arguments=SEEDED_SERVICES
    )
    await provider.start()
    print(
        instructions(
            broker=mesh.broker.address, provider=provider.address, directory=mesh.directory, seeded=state.seeded
        ),
        flush=True,
    )
    ended = await _wait_for_end(mesh.broker, provider)
    raise ProcessFailedError(f"a server has ended by itself; see {ended.log_path}")


async def _start_broker(mesh: LocalMesh) -> RunState:
    """Start the broker and return who it knows; the first time, or after the database was removed, make them."""
    state_path = mesh.directory / "run.json"
    operator_key = await mesh.initialize()
    if operator_key is None and not state_path.exists():
        raise ProcessFailedError(
            f"{mesh.database_path} was made before, and its keys are not in {state_path}: move the database away"
        )
    await mesh.broker.start()
    if operator_key is None:
        return load_state(state_path)
    seeded = await seed(mesh.broker.address, operator_key=operator_key)
    state = RunState(operator_key=operator_key, seeded=seeded)
    save_state(state_path, state)
    return state


async def _wait_for_end(*nodes: NodeProcess) -> NodeProcess:
    """Return the first that ends."""
    waits = {asyncio.create_task(node.wait()): node for node in nodes}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return waits[done.pop()]


def _choose_address(port: int) -> str:
    """Return the usual address, or one with any free port if that is taken."""
    address = Address(host=_HOST, port=port)
    try:
        check_port(address, reuse_port=False)
    except StartupError as error:
        print(f"{error}; taking a free port")
        return ANY_PORT
    return str(address)


@contextmanager
def _sole_use(directory: Path) -> Iterator[None]:
    """Hold the directory for this process: two brokers would write to one database."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "run.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProcessFailedError(f"a mesh is running in {directory} already") from None
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(run_to_end(main))
