"""The examples' page works word for word, in a shell with real servers."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = EXAMPLES / "README.md"
# What the test's own environment stands in for.
INSTALLATION = ["make setup", ". .venv/bin/activate", "cd examples"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def environment(unused_tcp_port_factory: Callable[[], int]) -> Mapping[str, str]:
    """What the page's readers have, but other ports: theirs may be in use here."""
    broker, provider = (f"127.0.0.1:{unused_tcp_port_factory()}" for _ in range(2))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IAP_")}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "IAP_BROKER": broker,
        "IAP_BROKER_LISTEN": broker,
        "IAP_PROVIDER": provider,
        "IAP_PROVIDER_LISTEN": provider,
        "IAP_PROVIDER_BROKER": broker,
        "IAP_TIMEOUT": "60",
    }


async def run_in_shell(script: str, *, directory: Path, environment: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        script,
        cwd=directory,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 280)
    finally:
        if process.returncode != 0:
            # The servers in its background would stay.
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output.decode() + (directory / "provider.log").read_text()
    return output.decode()


@pytest.mark.timeout(300)
async def test_the_page_leads_from_a_clone_to_a_paid_request(environment: Mapping[str, str], tmp_path: Path) -> None:
    installation, *steps = blocks("sh")
    assert [line.partition("#")[0].strip() for line in installation.splitlines()] == INSTALLATION
    directory = tmp_path / "examples"
    shutil.copytree(EXAMPLES, directory, ignore=shutil.ignore_patterns("var", "__pycache__", "*.log"))

    output = await run_in_shell("\n".join(steps), directory=directory, environment=environment)

    for shown in blocks("text"):
        for line in shown.strip().splitlines():
            assert re.search(re.escape(line).replace("…", ".*"), output), (line, output)
    assert re.search(r"factors +100 +EUR 5\.00 .* paid", output)
    assert not list(directory.glob("*.log"))
    assert not (directory / "var").exists()


def test_the_code_shown_is_the_code_there_is() -> None:
    assert blocks("python") == [(EXAMPLES / "factors.py").read_text()]
