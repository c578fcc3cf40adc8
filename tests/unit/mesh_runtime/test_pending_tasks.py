import asyncio
import gc

import pytest
from structlog.testing import capture_logs

from mesh_runtime import deadlines
from mesh_runtime.pending_tasks import PendingTasks


async def test_the_result_reaches_the_caller() -> None:
    async def work() -> int:
        return 7

    tasks = PendingTasks()
    assert await tasks.run_shielded(work()) == 7
    assert len(tasks) == 0


async def test_an_error_reaches_the_caller_and_not_the_log() -> None:
    async def work() -> None:
        raise ValueError("it failed")

    tasks = PendingTasks()
    with capture_logs() as logs, pytest.raises(ValueError, match="it failed"):
        await tasks.run_shielded(work())
    assert logs == []


async def test_work_goes_on_when_its_caller_is_cancelled() -> None:
    release, finished = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await release.wait()
        finished.set()

    tasks = PendingTasks()

    async def call() -> None:
        await tasks.run_shielded(work())

    caller = asyncio.create_task(call())
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    # Nothing but PendingTasks holds the work now.
    gc.collect()
    assert len(tasks) == 1
    release.set()
    assert await tasks.drain(5) == 0
    assert finished.is_set()


async def test_work_starts_even_if_nobody_gets_to_await_it() -> None:
    finished = asyncio.Event()

    async def work() -> None:
        finished.set()

    tasks = PendingTasks()
    tasks.run_shielded(work()).cancel()
    assert await tasks.drain(5) == 0
    assert finished.is_set()


async def test_the_error_of_orphaned_work_is_logged_once() -> None:
    release = asyncio.Event()

    async def work() -> None:
        await release.wait()
        raise ValueError("it failed")

    tasks = PendingTasks()
    with capture_logs() as logs:
        outcome = tasks.run_shielded(work())
        await asyncio.sleep(0)
        outcome.cancel()
        release.set()
        assert await tasks.drain(5) == 0
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("task.orphan_failed", "error")
    assert isinstance(line["exc_info"], ValueError)


async def test_drain_counts_what_is_left_and_leaves_it_running() -> None:
    release = asyncio.Event()
    tasks = PendingTasks()
    outcome = tasks.run_shielded(release.wait())
    assert await tasks.drain(0.01) == 1
    release.set()
    assert await outcome is True
    assert await tasks.drain(0) == 0


async def test_drain_waits_for_work_that_running_work_adds() -> None:
    finished = asyncio.Event()
    tasks = PendingTasks()

    async def later() -> None:
        await asyncio.sleep(0.01)
        finished.set()

    async def work() -> None:
        await asyncio.sleep(0.01)
        tasks.run_shielded(later())

    outcome = tasks.run_shielded(work())
    assert await tasks.drain(5) == 0
    assert outcome.done()
    assert finished.is_set()


async def test_shielded_work_is_not_bound_by_the_deadline_of_the_call() -> None:
    async def budget() -> float:
        return deadlines.budget_seconds(3)

    async def call() -> float:
        deadlines.start_deadline(0)
        return await PendingTasks().run_shielded(budget())

    assert await asyncio.create_task(call()) == 3
