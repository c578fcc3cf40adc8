import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from tests.forked_processes import ForkedProcess, start_process

SERVE = (sys.executable, "-m", "broker_service", "serve", "--listen", "127.0.0.1:0", "--database")


async def serving(books_url: str, directory: Path) -> Process:
    process = await start_process(*SERVE, books_url, cwd=directory, stdout=PIPE, stderr=PIPE, start_new_session=True)
    assert isinstance(process, ForkedProcess)
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"listening on ")
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
async def test_a_server_is_a_process_of_its_own_and_ends_by_signals(
    books_url: str, tmp_path: Path, number: int, code: int
) -> None:
    first, second = [await serving(books_url, tmp_path) for _ in range(2)]
    assert len({first.pid, second.pid, os.getpid()}) == 3
    assert os.getsid(first.pid) == first.pid
    assert Path(f"/proc/{first.pid}/cwd").resolve() == tmp_path
    first.send_signal(number)
    output, errors = await first.communicate()
    assert (first.returncode, output) == (code, b"")
    assert code or b"node.stopped" in errors
    assert second.returncode is None
    second.kill()
    assert await second.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        second.terminate()


async def test_a_command_has_the_given_environment_and_an_exit_code() -> None:
    environment = {**os.environ, "IAP_BROKER_LISTEN": "nowhere"}
    process = await start_process(
        *(sys.executable, "-m", "broker_service", "serve", "--database", "sqlite:///none"),
        *("--log-level", "error"),
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, output) == (2, b"")
    assert errors.startswith(b"iap-broker: error: invalid address 'nowhere'")


async def test_what_is_none_of_the_programs_is_started_in_the_ordinary_way() -> None:
    process = await start_process(sys.executable, "-c", "print('there')", stdout=PIPE)
    assert not isinstance(process, ForkedProcess)
    assert (await process.communicate())[0] == b"there\n"
