import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import demo
from deploy.demo_requests import REQUESTS
from deploy.node_process import ROOT


async def start_demo(*arguments: str, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.demo", *arguments),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=PIPE,
        stderr=PIPE,
    )


async def finish(process: Process) -> tuple[int, str, str]:
    output, errors = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


def rows(output: str, *beginning: str) -> list[list[str]]:
    """The rows of the demo's tables that begin with these words, without them."""
    found = [line.split() for line in output.splitlines()]
    return [words[len(beginning) :] for words in found if words[: len(beginning)] == list(beginning)]


async def test_the_demo_tells_what_it_does_and_leaves_its_files_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await demo.main(["--directory", str(tmp_path)]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert "the broker keeps EUR 1.25 (25 %) and owes the provider EUR 3.74" in " ".join(output.split())
    assert rows(output, "a", "short", "text") == [["+12025550143", "GSM-7", "1", "1", "21", "sent"]]
    assert rows(output, "a", "long", "text") == [["+12025550143", "GSM-7", "3", "3", "18", "sent"]]
    assert rows(output, "with", "accents") == [["+33199001234", "GSM-7", "1", "5", "13", "sent"]]
    assert rows(output, "with", "an", "emoji") == [["+442079460123", "UCS-2", "1", "4", "9", "sent"]]
    assert "input.to must be a number" in output
    assert "9 more credits are needed." in output
    assert "    | Your parcel is here 📦" in output
    assert rows(output, "sale", "EUR") == [["4.99", "EUR", "1.25", "EUR", "3.74"]]
    assert rows(output, "refund", "EUR") == [["-2.24", "EUR", "-0.56", "EUR", "-1.68"]]
    assert rows(output, "payout", "EUR") == [["0.00", "EUR", "0.00", "EUR", "-2.06"]]
    assert output.endswith("All of it was checked, and is as told.\n")
    assert {"iap.db", "sms-outbox.txt", "broker.log", "provider.log"} <= {path.name for path in tmp_path.iterdir()}
    assert await demo.main(["--directory", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"demo: error: {tmp_path} is in use: there is a database in it\n"


async def test_what_is_not_as_told_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = replace(REQUESTS[0], expected=replace(REQUESTS[0].expected, charged_credits=2))
    monkeypatch.setattr(demo, "REQUESTS", (wrong, *REQUESTS[1:]))
    assert await demo.main([]) == 1
    printed = capsys.readouterr()
    assert printed.err == (
        "demo: error: not as told: a short text: expected sent, GSM-7, 1 segments, 2 charged, "
        "found sent, GSM-7, 1 segments, 1 charged\n"
    )
    assert "All of it" not in printed.out


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes by /proc")
async def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    process = await start_demo(TMPDIR=str(tmp_path))
    assert process.stdout is not None
    line = b""
    while not line.startswith(b"2. "):
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line, "the demo ended before its second section"
    assert processes_naming(tmp_path)
    process.send_signal(signal.SIGTERM)
    code, _, errors = await finish(process)
    assert (code, errors) == (143, "")
    assert not processes_naming(tmp_path)
    assert not list(tmp_path.iterdir())


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
