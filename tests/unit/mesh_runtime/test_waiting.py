"""Waiting that leaves alone what it waits for."""

import asyncio

import pytest

from mesh_runtime.waiting import happens_within, wait_until_done

LONG_SECONDS = 30.0


async def test_waiting_ends_with_the_future() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(wait_until_done(future, LONG_SECONDS))
    await asyncio.sleep(0)
    assert not waiting.done()
    future.set_result("done")
    await asyncio.wait_for(waiting, LONG_SECONDS / 2)


async def test_a_future_that_is_done_already_is_not_waited_for() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("its own"))
    await asyncio.wait_for(wait_until_done(future, LONG_SECONDS), LONG_SECONDS / 2)
    assert isinstance(future.exception(), ValueError)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.01])
async def test_waiting_ends_with_the_time_and_leaves_the_future_alone(seconds: float) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await asyncio.wait_for(wait_until_done(future, seconds), LONG_SECONDS)
    assert not future.done()


async def test_who_is_cancelled_leaves_the_future_to_others() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    leaving, staying = (asyncio.create_task(wait_until_done(future, LONG_SECONDS)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not future.done()
    assert not staying.done()
    future.set_result("done")
    await asyncio.wait_for(staying, LONG_SECONDS / 2)


async def test_an_event_is_waited_for_as_long_as_said() -> None:
    event = asyncio.Event()
    assert not await happens_within(event, 0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await happens_within(event, LONG_SECONDS)
    assert await happens_within(event, 0)


@pytest.mark.parametrize("turns", range(4))
async def test_who_is_cancelled_as_the_event_happens_does_not_go_on(turns: int) -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(happens_within(event, LONG_SECONDS))
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    if waiting.cancel():
        with pytest.raises(asyncio.CancelledError):
            await waiting
