"""Customers of a provider that may be gone at any moment, and what each of their requests was answered."""

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from iap.provider.v1.provider_pb2 import ServeRequestRequest, ServeRequestResponse
from iap.provider.v1.provider_pb2_grpc import ProviderServiceStub

from client_stub.error_parsing import to_iap_error
from client_stub.structs import to_struct
from tests.chaos.providers.provider_stage import PayingAccount, ProviderStage

PATIENCE_SECONDS = 5.0
# Told for good that nothing was charged.
FAILED = ("SERVICE_FAILED", "RESERVATION_RELEASED", "RESERVATION_EXPIRED")
OUT_OF_CREDITS = "INSUFFICIENT_CREDITS"
# Nobody knows what became of it: to be asked again.
_UNCLEAR = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.3


@dataclass(slots=True)
class Asked:
    """A request, and all that was answered to it."""

    account: PayingAccount
    service_input: dict[str, object]
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    outputs: list[ServeRequestResponse] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(reason in FAILED for reason in self.refusals)

    @property
    def answered(self) -> bool:
        return bool(self.outputs or self.refusals)


@dataclass(slots=True)
class Answers:
    """How many clear answers all customers have had."""

    count: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self) -> None:
        self.count += 1
        self._more.set()

    async def wait_for(self, more: int, *, alive: Callable[[], bool]) -> None:
        """Returns after so many more, or when there will be none."""
        goal = self.count + more
        while self.count < goal and alive():
            self._more.clear()
            try:
                async with asyncio.timeout(0.2):
                    await self._more.wait()
            except TimeoutError:
                continue


class Counter:
    """Where requests are handed in."""

    def __init__(self, stage: ProviderStage, channel: grpc.aio.Channel) -> None:
        self.answers = Answers()
        self.asked: list[Asked] = []
        self._stage = stage
        self._stub: Any = ProviderServiceStub(channel)

    def new(self, service: str, *, poor: bool = False, **service_input: object) -> Asked:
        asked = Asked(self._stage.account(service, poor=poor), {"text": uuid.uuid4().hex, **service_input})
        self.asked.append(asked)
        return asked

    async def ask(self, asked: Asked, *, seconds: float = PATIENCE_SECONDS) -> bool:
        """Asks once; returns whether there was a clear answer."""
        request = ServeRequestRequest(
            request_id=asked.request_id,
            service=asked.account.service,
            account_token=asked.account.token,
            input=to_struct(asked.service_input),
        )
        try:
            asked.outputs.append(await self._stub.ServeRequest(request, timeout=seconds))
        except grpc.aio.AioRpcError as error:
            reason = to_iap_error(error).reason
            if reason not in FAILED and error.code() in _UNCLEAR:
                return False
            if reason not in (*FAILED, OUT_OF_CREDITS):
                raise
            asked.refusals.append(reason)
        self.answers.add()
        return True

    async def ask_until_answered(self, asked: Asked, *, seconds: float = PATIENCE_SECONDS) -> None:
        async with asyncio.timeout(60):
            while not await self.ask(asked, seconds=seconds):  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(_PAUSE_SECONDS)


async def keep_asking(counter: Counter, chance: random.Random, stopped: asyncio.Event) -> None:
    """Asks for one thing after the other; some are given up, some fail, some cannot be paid."""
    while not stopped.is_set():
        asked = counter.new(
            chance.choice(("once", "once", "again")),
            poor=chance.random() < 0.08,
            seconds=chance.choice((0, 0, chance.uniform(0, 0.05))),
            fails=chance.random() < 0.1,
        )
        seconds = PATIENCE_SECONDS if chance.random() < 0.9 else chance.uniform(0.01, 0.2)
        while not await counter.ask(asked, seconds=seconds):
            if stopped.is_set() or chance.random() < 0.05:
                break
            await asyncio.sleep(chance.uniform(0.0, _LONGEST_PAUSE_SECONDS))
