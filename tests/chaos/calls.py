"""Calls to a broker that may be gone at any moment, and what their ends mean."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from tests.chaos.journal import Journal
from tests.contract.broker_world.refusals import RETRY_REASONS, parse_error
from tests.contract.broker_world.running_broker import Stubs

PATIENCE_SECONDS = 5.0
HURRY_SECONDS = 0.03
_OPERATOR_RPCS = ("GrantCredits", "RefundPurchase")
# With these gRPC itself, or a broker that is stopping, says that nobody knows what became of the call.
_UNCLEAR_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class RefusedError(Exception):
    """The broker has refused: nothing was done."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnclearError(Exception):
    """No answer: the call may have been done, or may still be."""


@dataclass(slots=True)
class Progress:
    """How many answers all clients have had, and how often there was none."""

    answers: int = 0
    unclear: int = 0
    _goal: int = 0
    _at_goal: Callable[[], None] = lambda: None
    _reached: asyncio.Event = field(default_factory=asyncio.Event)

    def count_answer(self) -> None:
        self.answers += 1
        if self.answers == self._goal:
            self._at_goal()
            self._reached.set()

    async def wait_for_answers(self, count: int, then: Callable[[], None]) -> None:
        """Returns once so many more have come; does `then` with the last of them, while it is still warm."""
        self._goal, self._at_goal = self.answers + count, then
        self._reached.clear()
        await self._reached.wait()


@dataclass(frozen=True, slots=True)
class Caller:
    """Sends requests with the keys of a provider and of the operator."""

    stubs: Stubs
    provider_key: str
    operator_key: str
    progress: Progress

    async def send(self, rpc: str, request: Any, *, timeout_seconds: float = PATIENCE_SECONDS) -> Any:
        """Makes one try. Raises RefusedError or UnclearError."""
        key = self.operator_key if rpc in _OPERATOR_RPCS else self.provider_key
        method = self.stubs.method(rpc)
        try:
            answer = await method(
                request, metadata=(("authorization", f"Bearer {key}"),), timeout=timeout_seconds, wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            if (reason := _reason_of(error)) is None:
                self.progress.unclear += 1
                raise UnclearError(str(error.code())) from error
            self.progress.count_answer()
            raise RefusedError(reason) from error
        self.progress.count_answer()
        return answer

    async def send_until_answered(self, rpc: str, request: Any) -> Any:
        """Tries until there is an answer. Raises RefusedError."""
        while True:
            try:
                return await self.send(rpc, request)
            except UnclearError:
                await asyncio.sleep(0.1)

    async def tell(self, journal: Journal, rpc: str, request: Any, chance: random.Random) -> Any:
        """Sends a request that the journal knows of, now and then in too much of a hurry, and writes its outcome down.

        Gives up after some tries, so that something is left to settle. Raises RefusedError or UnclearError.
        """
        tries = chance.randint(1, 4)
        for number in range(1, tries + 1):
            hurries = chance.random() < 0.05
            try:
                answer = await self.send(rpc, request, timeout_seconds=HURRY_SECONDS if hurries else PATIENCE_SECONDS)
            except RefusedError as refusal:
                await journal.write_refusal(request.request_id, refusal.reason)
                raise
            except UnclearError:
                if number == tries:
                    raise
                await asyncio.sleep(chance.uniform(0.0, 0.3))
            else:
                await journal.write_response(request.request_id, answer)
                return answer
        raise AssertionError("unreachable")


def _reason_of(error: grpc.aio.AioRpcError) -> str | None:
    """Returns why the broker has refused for good; None if nobody knows what was done."""
    if not any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ()):
        assert error.code() in _UNCLEAR_CODES, f"{error.code()}: {error.details()}"
        return None
    reason = parse_error(error).reason
    assert reason != "INTERNAL", error.details()
    return None if reason in RETRY_REASONS else reason
