import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest

from tests.unit.mesh_runtime.example_workers import ANNOUNCE_SECONDS
from tests.unit.mesh_runtime.worker_harness import (
    Supervised,
    connection,
    kill_group,
    lives,
    start,
    supervising,
    until,
)


async def failure(directory: Path, *arguments: str) -> tuple[int, str, str]:
    """The exit code, the output and the errors of a supervisor that cannot begin."""
    process = await start(directory, *arguments)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        kill_group(process)
    assert process.returncode is not None
    return process.returncode, output.decode(), (directory / "log").read_text()


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervised]:
    """Two workers, for tests that leave two behind."""
    async with supervising(tmp_path_factory.mktemp("mesh")) as shared:
        yield shared


async def test_a_port_is_announced_once_all_workers_serve_on_it(tmp_path: Path) -> None:
    # What tells the supervisor how many there are reaches the workers as well, which supervise none of their own.
    async with supervising(tmp_path, IAP_EXAMPLE_WORKERS="3") as mesh:
        started = await mesh.wait_for_event("workers.started", address=mesh.address)
        assert await mesh.pids(3) == set(started["pids"])
        assert len(started["pids"]) == 3
        assert mesh.process.pid not in started["pids"]
        mesh.process.send_signal(signal.SIGTERM)
        assert await mesh.finish() == (0, "")
        assert len(mesh.events("workers.started")) == 1


async def test_a_killed_worker_is_replaced_while_the_port_goes_on_answering(mesh: Supervised) -> None:
    before = await mesh.pids()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: not lives(victim))
    answered_meanwhile = await mesh.pids(1)
    replaced = await mesh.wait_for_event("workers.replaced", previous_pid=victim)
    assert answered_meanwhile <= before - {victim} | {replaced["pid"]}
    assert await mesh.pids() == before - {victim} | {replaced["pid"]}
    (ended,) = [event for event in mesh.events("workers.ended") if event["pid"] == victim]
    assert ended["end"] == "a worker was ended by SIGKILL"


async def test_a_worker_that_is_told_to_stop_drains_and_is_replaced(mesh: Supervised, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        calls = await mesh.hold_in_each(tmp_path / "go", stack)
        victim = min(await mesh.pids())
        os.kill(victim, signal.SIGTERM)
        os.kill(victim, signal.SIGTERM)
        await asyncio.sleep(2 * ANNOUNCE_SECONDS)
        assert lives(victim)
        (tmp_path / "go").touch()
        assert victim in {int(answer.value) for answer in await asyncio.gather(*calls)}
        await mesh.wait_for_event("workers.replaced", previous_pid=victim)


async def test_a_worker_that_keeps_dying_is_replaced_ever_more_slowly(tmp_path: Path) -> None:
    refuse = tmp_path / "refuse"
    async with supervising(tmp_path, "--refuse", str(refuse)) as mesh:
        victim = min(await mesh.pids())
        refuse.write_text("the database is full")
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(mesh.events("workers.ended")) > 3)
        assert len(await mesh.pids(1)) == 1
        refuse.unlink()
        await mesh.wait_for_event("workers.replaced")
        ended = mesh.events("workers.ended")
        assert len(await mesh.pids()) == 2
    assert [event["retry_seconds"] for event in ended[:4]] == [0.1, 0.2, 0.4, 0.8]
    assert {event["end"] for event in ended[1:]} == {"the database is full"}


def to_the_supervisor(process_id: int, number: int) -> None:
    os.kill(process_id, number)


# Ctrl-C reaches all processes of a terminal, and a service manager signals all processes of a service.
def to_all(process_id: int, number: int) -> None:
    os.killpg(process_id, number)


@pytest.mark.parametrize(
    ("send", "number"), [(to_the_supervisor, signal.SIGTERM), (to_all, signal.SIGTERM), (to_all, signal.SIGINT)]
)
async def test_a_signal_lets_every_worker_finish_its_calls(
    send: Callable[[int, int], None], number: int, tmp_path: Path
) -> None:
    async with supervising(tmp_path) as mesh, AsyncExitStack() as stack:
        pids = await mesh.pids()
        calls = await mesh.hold_in_each(tmp_path / "go", stack)
        send(mesh.process.pid, number)
        await until(lambda: len(mesh.events("node.stopping")) == 2)
        await asyncio.sleep(2 * ANNOUNCE_SECONDS)
        assert not any(call.done() for call in calls)
        (tmp_path / "go").touch()
        assert {int(answer.value) for answer in await asyncio.gather(*calls)} == pids
        assert await mesh.finish() == (0, "")
    assert mesh.events("node.calls_cancelled") == []
    assert mesh.events("workers.ended") == []
    assert "Traceback" not in mesh.log_path.read_text()


async def test_a_second_signal_cancels_running_calls(tmp_path: Path) -> None:
    async with supervising(tmp_path, "--drain-seconds", "60") as mesh, AsyncExitStack() as stack:
        calls = await mesh.hold_in_each(tmp_path / "never", stack)
        mesh.process.send_signal(signal.SIGTERM)
        await until(lambda: len(mesh.events("node.stopping")) == 2)
        mesh.process.send_signal(signal.SIGTERM)
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
        assert {type(answer) for answer in answers} == {grpc.aio.AioRpcError}
        assert await mesh.finish() == (0, "")


async def test_a_third_signal_kills_workers_that_are_stuck(tmp_path: Path) -> None:
    async with supervising(tmp_path) as mesh:
        pids = await mesh.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for _ in range(3):
            mesh.process.send_signal(signal.SIGTERM)
            # Signals that wait are one.
            await asyncio.sleep(0.2)
        assert await mesh.finish() == (-signal.SIGTERM, "")
        await until(lambda: not any(lives(pid) for pid in pids))


async def test_a_signal_ends_workers_that_still_start_at_once(tmp_path: Path) -> None:
    process = await start(tmp_path, "--slow")
    assert process.stdout is not None
    try:
        starting = {int((await process.stdout.readline()).split()[1]) for _ in range(2)}
        os.killpg(process.pid, signal.SIGINT)
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        kill_group(process)
    assert (process.returncode, output) == (0, b"")
    assert not any(lives(pid) for pid in starting)
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_workers_of_a_killed_supervisor_finish_their_calls_and_end(tmp_path: Path) -> None:
    async with supervising(tmp_path) as mesh, AsyncExitStack() as stack:
        pids = await mesh.pids()
        calls = await mesh.hold_in_each(tmp_path / "go", stack)
        mesh.process.kill()
        await until(lambda: len(mesh.events("node.stopping")) == 2)
        (tmp_path / "go").touch()
        assert {int(answer.value) for answer in await asyncio.gather(*calls)} == pids
        await until(lambda: not any(lives(pid) for pid in pids))


async def test_workers_that_cannot_start_end_the_command_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "refuse").write_text("there is no database\nanywhere")
    code, output, errors = await failure(tmp_path, "--refuse", str(tmp_path / "refuse"), "--workers", "3")
    assert (code, output, errors) == (2, "", "iap-example: error: there is no database anywhere\n")


async def test_a_worker_that_crashes_at_the_start_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "crash").touch()
    code, output, errors = await failure(tmp_path, "--crash", str(tmp_path / "crash"))
    assert (code, output, errors) == (2, "", "iap-example: error: a worker ended with exit code 3\n")


async def test_a_port_that_a_stranger_holds_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, output, errors = await failure(tmp_path, "--listen", address)
    expected = f"iap-example: error: cannot listen on {address}: address already in use\n"
    assert (code, output, errors) == (2, "", expected)


async def test_a_port_that_other_workers_share_is_refused(mesh: Supervised, tmp_path: Path) -> None:
    code, output, errors = await failure(tmp_path, "--listen", mesh.address)
    assert len(await mesh.pids()) == 2
    expected = f"iap-example: error: cannot listen on {mesh.address}: address already in use\n"
    assert (code, output, errors) == (2, "", expected)


async def test_a_port_can_be_had_again_when_its_workers_have_stopped(tmp_path: Path) -> None:
    async with supervising(tmp_path) as mesh, connection(mesh.address) as caller:
        await caller.unary("ProcessId")
        # The server's side closes first, and so leaves the port in TIME_WAIT.
        mesh.process.send_signal(signal.SIGTERM)
        assert (await mesh.finish())[0] == 0
    async with supervising(tmp_path, "--listen", mesh.address) as again:
        assert again.address == mesh.address
        assert len(await again.pids()) == 2
