"""Brokers in processes of their own, on the database of one that runs in this process."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc.aio

from deploy.node_process import NodeCommand, NodeProcess
from tests.contract.broker_world.running_broker import Stubs
from tests.contract.broker_world.world import World

BROKER = "broker_service"


@dataclass(frozen=True, slots=True)
class ProcessWorld:
    """A broker's process, and a world's people at it."""

    process: NodeProcess
    world: World


@asynccontextmanager
async def broker_processes(
    world: World, directory: Path, *, module: str = BROKER, environment: Mapping[str, str] | None = None, count: int = 1
) -> AsyncIterator[list[ProcessWorld]]:
    """Serves a world's database from as many more processes; ends them as they are."""
    command = NodeCommand(
        module=module, arguments=("--database", world.running.database_url), environment=environment or {}
    )
    processes = [NodeProcess(command, log_path=directory / f"broker{number}.log") for number in range(count)]
    try:
        async with AsyncExitStack() as stack:
            started = []
            for process in processes:
                await process.start()
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(process.address))
                running = replace(world.running, channel=channel, stubs=Stubs(channel))
                started.append(ProcessWorld(process, World(running, world.provider, world.rival, world.services)))
            yield started
    finally:
        for process in processes:
            await process.kill()
