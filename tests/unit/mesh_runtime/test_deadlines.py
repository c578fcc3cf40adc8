import asyncio

import pytest

from mesh_runtime import deadlines


async def in_a_call(remaining_seconds: float | None, cap_seconds: float, keep_back_seconds: float) -> float:
    """The budget within a call of its own, as gRPC gives every call a context of its own."""

    async def run() -> float:
        deadlines.start_deadline(remaining_seconds)
        return deadlines.budget_seconds(cap_seconds, keep_back_seconds=keep_back_seconds)

    return await asyncio.create_task(run())


async def test_without_a_deadline_the_budget_is_the_cap() -> None:
    assert deadlines.remaining_seconds() is None
    assert await in_a_call(None, cap_seconds=3, keep_back_seconds=1) == 3


async def test_a_distant_deadline_leaves_the_cap() -> None:
    assert await in_a_call(100, cap_seconds=3, keep_back_seconds=1) == 3


async def test_a_near_deadline_less_what_is_kept_back_is_the_budget() -> None:
    assert await in_a_call(2, cap_seconds=3, keep_back_seconds=0.5) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("remaining_seconds", [0.2, 0.0, -5.0])
async def test_a_budget_is_never_zero(remaining_seconds: float) -> None:
    budget = await in_a_call(remaining_seconds, cap_seconds=3, keep_back_seconds=1)
    assert budget == deadlines.SHORTEST_BUDGET_SECONDS > 0


async def test_what_remains_shrinks_and_goes_below_zero() -> None:
    async def run() -> list[float | None]:
        deadlines.start_deadline(0.02)
        before = deadlines.remaining_seconds()
        await asyncio.sleep(0.05)
        return [before, deadlines.remaining_seconds()]

    before, after = await asyncio.create_task(run())
    assert before is not None
    assert after is not None
    assert 0 < before <= 0.02
    assert after < 0


async def test_a_context_without_deadline_keeps_everything_else_apart() -> None:
    async def run() -> tuple[float | None, float | None]:
        deadlines.start_deadline(5)
        return deadlines.context_without_deadline().run(deadlines.remaining_seconds), deadlines.remaining_seconds()

    without, still = await asyncio.create_task(run())
    assert without is None
    assert still is not None
