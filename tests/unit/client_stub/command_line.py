"""Runs the `iap` command the way a person does: as a process, with servers that a test scripts."""

import asyncio
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.forked_commands import run_forked, run_started
from tests.forked_programs import IAP

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
    run = partial(run_started, "client_stub") if any(map(_is_of_python, environment)) else partial(run_forked, IAP)
    ended = await asyncio.to_thread(
        run, *arguments, environment={**clean, **environment}, standard_input=standard_input
    )
    outcome = Outcome(ended.exit_code, ended.output, ended.errors)
    assert "Traceback" not in outcome.errors
    return outcome


def _is_of_python(variable: str) -> bool:
    """Whether it says how Python starts, which one that is forked has done."""
    return variable.startswith("PYTHON")
