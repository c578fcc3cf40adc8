"""Whatever a service and its caller do, what was received is what is paid."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from provider_service.services.charge import InsufficientCredits, StreamCharge
from provider_service.services.service import ServiceFailure
from tests.contract.broker_world.world import Account
from tests.contract.provider_streams.metered_service import Chunks, MeteredService, Script
from tests.contract.provider_streams.streaming import Received, Streaming

EXAMPLES = int(os.environ.get("IAP_STREAM_EXAMPLES", "25"))


@dataclass(frozen=True)
class Meter:
    credits: int
    goes_on: bool
    """What the service does when it is refused: go on, or let it be."""


@dataclass(frozen=True)
class Yield:
    pass


@dataclass(frozen=True)
class Wait:
    pass


@dataclass(frozen=True)
class TopUp:
    credits: int


@dataclass(frozen=True)
class Extend:
    credits: int


Step = Meter | Yield | Wait | TopUp | Extend
STEPS = st.lists(
    st.one_of(
        st.builds(Meter, st.integers(0, 25), st.booleans()),
        st.just(Yield()),
        st.just(Yield()),
        st.just(Wait()),
        st.builds(TopUp, st.integers(1, 30)),
        st.builds(Extend, st.integers(0, 30)),
    ),
    max_size=25,
)


@dataclass(frozen=True)
class Plan:
    """One stream. `leaves_after`: how many chunks the caller reads before it leaves; None to read to the end."""

    held: int
    slice_credits: int
    quoted: int
    steps: Sequence[Step]
    fails: bool
    leaves_after: int | None


PLANS = st.builds(
    Plan,
    held=st.integers(1, 60),
    slice_credits=st.integers(1, 15),
    quoted=st.integers(1, 40),
    steps=STEPS,
    fails=st.booleans(),
    leaves_after=st.none() | st.integers(0, 5),
)


def script_of(plan: Plan, streaming: Streaming, account: Account) -> Script:
    async def script(charge: StreamCharge) -> Chunks:
        for step in plan.steps:
            if isinstance(step, Yield):
                assert charge.metered_credits <= charge.credits
                yield {"total": charge.metered_credits}
            else:
                await take(step, charge, streaming, account)
        if plan.fails:
            raise ServiceFailure("as planned", retryable=False)

    return script


async def take(step: Step, charge: StreamCharge, streaming: Streaming, account: Account) -> None:
    match step:
        case Meter(credits=amount, goes_on=False):
            await charge.meter(amount)
        case Meter(credits=amount):
            with contextlib.suppress(InsufficientCredits):
                await charge.meter(amount)
        case Extend(credits=amount):
            with contextlib.suppress(InsufficientCredits):
                await charge.extend(credits=amount)
        case TopUp(credits=amount):
            await streaming.top_up(account, amount)
        case _:
            await asyncio.sleep(0.005)


async def carry_out(plan: Plan, streaming: Streaming, service: MeteredService) -> None:
    service.slice_credits, service.quoted_credits = plan.slice_credits, plan.quoted
    account = await streaming.account(plan.held)
    service.script = script_of(plan, streaming, account)
    received = Received()
    if plan.leaves_after is None:
        received = await streaming.read(account)
    else:
        await leave_after(plan.leaves_after, received, streaming, account)
    paid, reserved = await streaming.books(account)
    totals = [int(chunk["total"]) for chunk in received.chunks]
    assert reserved == 0
    assert received.charged == totals
    if plan.leaves_after is None:
        assert paid == received.paid_credits
        assert received.error is None or paid == (totals[-1] if totals else 0)
        assert received.error is not None or received.last is not None
    else:
        assert paid >= received.paid_credits


async def leave_after(number: int, received: Received, streaming: Streaming, account: Account) -> None:
    async with aclosing(streaming.open(account)) as responses:
        for _ in range(number):
            try:
                received.add(await anext(responses))
            except Exception:  # noqa: BLE001 - the end, good or bad
                return


async def test_what_was_received_is_what_is_paid(streaming: Streaming, service: MeteredService) -> None:
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(PLANS)
    def check(plan: Plan) -> None:
        asyncio.run_coroutine_threadsafe(carry_out(plan, streaming, service), loop).result(60)

    # Hypothesis is not asynchronous: it runs in a thread, and the streams here.
    await asyncio.to_thread(check)
