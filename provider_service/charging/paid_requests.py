"""Serving requests for credits, each once."""

import asyncio
from dataclasses import dataclass, replace

from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging.attempt import Attempt
from provider_service.charging.budgets import RESERVE_SECONDS, clamp_seconds, running_call_times
from provider_service.charging.outcomes import Outcome, Refused, Served
from provider_service.charging.paid_request import PaidRequest, RequestKey
from provider_service.charging.payments import Payments
from provider_service.charging.records import Records
from provider_service.charging.refusals import request_id_reused, reservation_released


@dataclass(frozen=True, slots=True)
class _Running:
    attempt: Attempt
    outcome: asyncio.Future[Outcome]


class PaidRequests:
    """Serves requests and charges for them; the package's docstring says what it promises.

    Work that outlives its callers runs in `pending`, which whoever stops the process drains.
    """

    def __init__(self, payments: Payments, *, pending: PendingTasks, records: Records | None = None) -> None:
        self._payments = payments
        self._pending = pending
        self._records = Records() if records is None else records
        self._running: dict[RequestKey, _Running] = {}

    async def serve(self, request: PaidRequest) -> Served:
        """Serves a request within the running call's deadline, or tells what became of it before.

        Raises CallError.
        """
        settled = self._records.find(request)
        if settled is not None:
            return await self._replay(request, settled)
        running = self._running.get(request.key)
        if running is None:
            return _to_served(await self._answer(self._start(request)))
        if running.attempt.request.digest != request.digest:
            raise request_id_reused(request.request_id)
        return replace(_to_served(await self._answer(running)), replayed=True)

    def _start(self, request: PaidRequest) -> _Running:
        attempt = Attempt(request, payments=self._payments, pending=self._pending)
        running = _Running(attempt, self._pending.run_shielded(self._carry_out(attempt)))
        self._running[request.key] = running
        return running

    async def _carry_out(self, attempt: Attempt) -> Outcome:
        try:
            outcome = await attempt.run()
            self._records.keep(attempt.request, outcome)
        finally:
            del self._running[attempt.request.key]
        return outcome

    async def _answer(self, running: _Running) -> Outcome:
        return await running.attempt.answer(running.outcome, running_call_times(asyncio.get_running_loop().time()))

    async def _replay(self, request: PaidRequest, outcome: Outcome) -> Served:
        if isinstance(outcome, Refused):
            raise reservation_released(outcome.released_reservation_id or "")
        loop = asyncio.get_running_loop()
        answer_end = running_call_times(loop.time()).answer_end
        # It also makes sure that the token is still good: what was served is shown to nobody else.
        balance = await self._payments.read_balance(
            request.account_token,
            timeout_seconds=clamp_seconds(answer_end - loop.time(), cap_seconds=RESERVE_SECONDS),
        )
        return replace(outcome, balance=balance, replayed=True)


def _to_served(outcome: Outcome) -> Served:
    if isinstance(outcome, Refused):
        raise outcome.error
    return outcome
