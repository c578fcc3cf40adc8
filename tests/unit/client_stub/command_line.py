"""Runs the `iap` command the way a person does: as a process, with servers that a test scripts."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Outcome:
    exit_code: int
    output: str
    errors: str

    @property
    def document(self) -> Any:
        return json.loads(self.output)


async def iap(*arguments: str, standard_input: str = "", **environment: str) -> Outcome:
    """Run one command; none of the settings of this machine reach it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IAP_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "client_stub",
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env={**clean, **environment},
    )
    output, errors = await asyncio.wait_for(process.communicate(standard_input.encode()), timeout=30)
    assert process.returncode is not None
    outcome = Outcome(process.returncode, output.decode(), errors.decode())
    assert "Traceback" not in outcome.errors
    return outcome
