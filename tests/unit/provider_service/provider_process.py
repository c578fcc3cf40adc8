"""The provider as a process of its own, for tests of its command line."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path

from tests.forked_processes import start_process
from tests.unit.provider_service.broker_double import KEY

ROOT = Path(__file__).parents[3]


async def start(
    installed: Path, *arguments: str, directory: Path | None = None, environment: Mapping[str, str] | None = None
) -> Process:
    """Starts a provider that finds the services installed in one directory, in another."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IAP_")}
    return await start_process(
        sys.executable,
        "-m",
        "provider_service",
        "serve",
        *arguments,
        stdout=PIPE,
        stderr=PIPE,
        cwd=directory,
        env={
            **inherited,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}",
            "IAP_PROVIDER_KEY": KEY,
            "IAP_PROVIDER_JOURNAL": f"sqlite:///{installed / 'journal.db'}",
            **(environment or {}),
        },
    )


async def finish(process: Process) -> tuple[int | None, str, str]:
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, output.decode(), errors.decode()
