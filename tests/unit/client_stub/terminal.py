"""Runs the `iap` command at a terminal, as a person who answers its question."""

import asyncio
import os
import pty
import sys
from asyncio.subprocess import PIPE

from tests.forked_processes import start_process
from tests.unit.client_stub.command_line import ROOT, Outcome


async def iap_at_terminal(*arguments: str, answer: str, **environment: str) -> Outcome:
    """Run one command whose standard input is a terminal, at which somebody types the answer."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IAP_")}
    ours, theirs = pty.openpty()
    try:
        process = await start_process(
            *(sys.executable, "-m", "client_stub", *arguments),
            stdin=theirs,
            stdout=PIPE,
            stderr=PIPE,
            cwd=ROOT,
            env={**clean, **environment},
        )
        os.write(ours, answer.encode())
        output, errors = await asyncio.wait_for(process.communicate(), timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode is not None
    return Outcome(process.returncode, output.decode(), errors.decode())
