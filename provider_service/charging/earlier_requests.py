"""What became of a request that came before, here or in another process, before a restart or after it."""

import asyncio
from collections.abc import Callable
from typing import Final

from provider_service.charging import refusals
from provider_service.charging.budgets import RESERVE_SECONDS, clamp_seconds
from provider_service.charging.outcomes import Served
from provider_service.charging.outputs import read_output
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.payments import Payments
from provider_service.charging.settler import Settler
from provider_service.journal.entries import Entry, Step
from provider_service.journal.journal import Journal

_FIRST_DELAY_SECONDS: Final = 0.02
_LONGEST_DELAY_SECONDS: Final = 0.5


class EarlierRequests:
    """Opens a request's entry, and answers from the one that is there already."""

    def __init__(self, journal: Journal, payments: Payments, settler: Settler) -> None:
        self._journal = journal
        self._payments = payments
        self._settler = settler

    async def resolve(self, request: PaidRequest, seconds_left: Callable[[], float]) -> Served | Entry | None:
        """Returns the outcome of an earlier request, when there is one; waits for it as long as callers do.

        None is returned for a new one, and the entry for one that had not got beyond reserving: both are to be served
        now. `seconds_left` tells how long callers will wait. Raises CallError, JournalUnavailableError.
        """
        delay_seconds = _FIRST_DELAY_SECONDS
        while True:
            ends = self._settler.ends
            found = await self._journal.open(request.to_entry())
            if found is None:
                return None
            if found.digest != request.digest:
                raise refusals.request_id_reused(request.request_id)
            match found.step:
                case Step.CAPTURED:
                    return await self._replay(request, found, seconds_left())
                case Step.UNPAID:
                    return await self._charge(request, found, seconds_left())
                case Step.RELEASED:
                    raise refusals.reservation_released(found.reservation_id or "")
            is_ours = found.owner == self._journal.owner
            is_left = is_ours and found.step is Step.RESERVING and not self._settler.is_settling(found.key)
            # Else it may have been settled while it was on its way here, and is as good as gone.
            if is_left and not self._settler.is_adopting and ends == self._settler.ends:
                return found
            if seconds_left() <= 0:
                raise refusals.not_settled()
            if is_ours and not is_left:
                await asyncio.wait({self._settler.settle(found.key)}, timeout=min(seconds_left(), 1.0))
            else:
                # Another process has it, or had it and is gone: then somebody adopts it, perhaps just now.
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(delay_seconds * 1.5, _LONGEST_DELAY_SECONDS)

    async def _replay(self, request: PaidRequest, found: Entry, seconds: float) -> Served:
        # It also makes sure that the token is still good: what was served is shown to nobody else.
        balance = await self._payments.read_balance(
            request.account_token, timeout_seconds=clamp_seconds(seconds, cap_seconds=RESERVE_SECONDS)
        )
        return Served(
            output=read_output(found.output),
            reservation_id=found.reservation_id or "",
            charged_credits=found.credits or 0,
            balance=balance,
            replayed=True,
        )

    async def _charge(self, request: PaidRequest, found: Entry, seconds: float) -> Served:
        """Has work paid whose reservation had ended before its capture; only then is the output given away."""
        if not found.credits:
            self._journal.captured(found.key, reservation_id=found.reservation_id or "", credits=0)
            return await self._replay(request, found, seconds)
        charged = await self._payments.charge(
            request,
            credits=found.credits,
            timeout_seconds=clamp_seconds(seconds, cap_seconds=RESERVE_SECONDS),
        )
        reservation_id = charged.reservation.reservation_id
        self._journal.captured(found.key, reservation_id=reservation_id, credits=found.credits)
        return Served(
            output=read_output(found.output),
            reservation_id=reservation_id,
            charged_credits=found.credits,
            balance=charged.balance,
            replayed=True,
        )
