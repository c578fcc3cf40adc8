"""Clients that move credits: on one account that all share and that runs dry, and on many others."""

import asyncio
import random
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from iap.broker.v1 import admin_pb2, broker_pb2

from tests.chaos.calls import Caller, RefusedError, UnclearError
from tests.chaos.journal import Journal
from tests.contract.broker_world.world import Account, duration

LONG_TTL = timedelta(days=1)
SHORT_TTL = timedelta(seconds=1)
TOP_UP_CREDITS = 40

# What may be refused; the second, only where the reservation is one of those that live for a second.
OUT_OF_CREDITS = "INSUFFICIENT_CREDITS"
EXPIRED = "RESERVATION_EXPIRED"


def assert_expected(refusal: RefusedError) -> None:
    """Raises if the broker has refused what it should not."""
    assert refusal.reason in (OUT_OF_CREDITS, EXPIRED), refusal


@dataclass(slots=True)
class Client:
    """Does one job after the other until it is told to stop. A job ends early where a call has no clear outcome."""

    caller: Caller
    journal: Journal
    chance: random.Random
    hot: Account
    others: list[Account]
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        jobs = (self._capture_once, self._capture_in_parts, self._give_back, self._charge_and_refund, self._let_expire)
        while not self.stopped.is_set():
            account = self.hot if self.chance.random() < 0.5 else self.chance.choice(self.others)
            job = self.chance.choices(jobs, (3, 3, 2, 3, 1))[0]
            try:
                await job(account)
            except UnclearError:
                continue
            except RefusedError as refusal:
                assert_expected(refusal)
                if refusal.reason == OUT_OF_CREDITS and self.chance.random() < 0.2:
                    await self._top_up(account)

    async def _capture_once(self, account: Account) -> None:
        reservation_id, reserved = await self._reserve(account)
        taken = self.chance.choice((None, 0, self.chance.randint(0, reserved)))
        await self._ask("Capture", broker_pb2.CaptureRequest(reservation_id=reservation_id, credits=taken))

    async def _capture_in_parts(self, account: Account) -> None:
        """A session: more credits or more time on the way, a part taken each time, some of it refunded."""
        reservation_id, left = await self._reserve(account, at_least=2)
        for _ in range(self.chance.randint(1, 3)):
            if self.chance.random() < 0.5:
                more = self.chance.randint(0, 3)
                ttl = duration(LONG_TTL) if not more or self.chance.random() < 0.5 else None
                await self._ask(
                    "Extend",
                    broker_pb2.ExtendRequest(reservation_id=reservation_id, ttl=ttl, additional_credits=more),
                )
                left += more
            if left < 2:
                break
            part = self.chance.randint(1, left - 1)
            await self._ask(
                "Capture",
                broker_pb2.CaptureRequest(reservation_id=reservation_id, credits=part, keep_open=True),
            )
            left -= part
            if self.chance.random() < 0.3:
                await self._refund(reservation_id, self.chance.randint(1, part))
        end = self.chance.choice(("Capture", "Release", ""))
        if end == "Capture":
            await self._ask("Capture", broker_pb2.CaptureRequest(reservation_id=reservation_id))
        elif end == "Release":
            await self._ask("Release", broker_pb2.ReleaseRequest(reservation_id=reservation_id))

    async def _give_back(self, account: Account) -> None:
        reservation_id, _ = await self._reserve(account)
        await self._ask("Release", broker_pb2.ReleaseRequest(reservation_id=reservation_id))

    async def _charge_and_refund(self, account: Account) -> None:
        amount = self.chance.randint(1, 4)
        request = broker_pb2.ChargeRequest(account_token=account.token, credits=amount)
        charged = await self._ask("Charge", request)
        if self.chance.random() < 0.7:
            first = self.chance.randint(1, amount)
            await self._refund(charged.reservation.reservation_id, first)
            if first < amount and self.chance.random() < 0.5:
                await self._refund(charged.reservation.reservation_id, None)

    async def _let_expire(self, account: Account) -> None:
        """A reservation of a second, of which a part may be taken in time."""
        reservation_id, reserved = await self._reserve(account, at_least=2, ttl=SHORT_TTL)
        await asyncio.sleep(self.chance.choice((0.0, 0.9)))
        part = self.chance.randint(1, reserved - 1)
        request = broker_pb2.CaptureRequest(reservation_id=reservation_id, credits=part, keep_open=True)
        await self._ask("Capture", request)

    async def _top_up(self, account: Account) -> None:
        request = admin_pb2.GrantCreditsRequest(account_id=account.id, credits=TOP_UP_CREDITS)
        try:
            await self._ask("GrantCredits", request)
        except UnclearError:
            return

    async def _reserve(self, account: Account, *, at_least: int = 1, ttl: timedelta = LONG_TTL) -> tuple[str, int]:
        amount = self.chance.randint(at_least, 8)
        request = broker_pb2.ReserveRequest(account_token=account.token, credits=amount, ttl=duration(ttl))
        answer = await self._ask("Reserve", request)
        return answer.reservation.reservation_id, amount

    async def _refund(self, reservation_id: str, amount: int | None) -> None:
        await self._ask("Refund", broker_pb2.RefundRequest(reservation_id=reservation_id, credits=amount))

    async def _ask(self, rpc: str, request: Any) -> Any:
        request.request_id = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        await self.journal.write_request(rpc, request)
        return await self.caller.tell(self.journal, rpc, request, self.chance)
