"""Serving requests for credits, each once."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging.attempt import Attempt
from provider_service.charging.budgets import running_call_times
from provider_service.charging.earlier_requests import EarlierRequests
from provider_service.charging.outcomes import Outcome, Refused, Served
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.payments import Payments
from provider_service.charging.refusals import request_id_reused
from provider_service.charging.settler import Settler
from provider_service.journal.entries import RequestKey
from provider_service.journal.journal import Journal

# How long a request that was left in the midst waits for its callers to come back.
UNSETTLED_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Running:
    attempt: Attempt
    outcome: asyncio.Future[Outcome]


class PaidRequests:
    """Serves requests and charges for them; the package's docstring says what it promises.

    Work that outlives its callers runs in `pending`, which whoever stops the process drains.
    """

    def __init__(self, payments: Payments, *, journal: Journal, settler: Settler, pending: PendingTasks) -> None:
        self._payments = payments
        self._journal = journal
        self._settler = settler
        self._earlier = EarlierRequests(journal, payments, settler)
        self._pending = pending
        self._running: dict[RequestKey, _Running] = {}

    async def serve(self, request: PaidRequest) -> Served:
        """Serves a request within the running call's deadline, or tells what became of it before.

        Raises CallError.
        """
        running = self._running.get(request.key)
        if running is None:
            return _to_served(await self._answer(self._start(request)))
        if running.attempt.request.digest != request.digest:
            raise request_id_reused(request.request_id)
        return replace(_to_served(await self._answer(running)), replayed=True)

    def _start(self, request: PaidRequest) -> _Running:
        attempt = Attempt(
            request, journal=self._journal, payments=self._payments, earlier=self._earlier, pending=self._pending
        )
        running = _Running(attempt, self._pending.run_shielded(self._carry_out(attempt)))
        self._running[request.key] = running
        return running

    async def _carry_out(self, attempt: Attempt) -> Outcome:
        key = attempt.request.key
        try:
            return await attempt.run()
        finally:
            del self._running[key]
            if attempt.is_unsettled:
                asyncio.get_running_loop().call_later(UNSETTLED_SECONDS, self._settle, key)

    def _settle(self, key: RequestKey) -> None:
        """Settles what nobody came back for."""
        if key not in self._running:
            self._settler.settle(key)

    async def _answer(self, running: _Running) -> Outcome:
        return await running.attempt.answer(running.outcome, running_call_times(asyncio.get_running_loop().time()))


def _to_served(outcome: Outcome) -> Served:
    if isinstance(outcome, Refused):
        raise outcome.error
    return outcome
