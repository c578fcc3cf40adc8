"""Asking gateways again for refunds that are owed.

A refund is asked for as soon as it is written down. If the process died before that, or the gateway did not answer,
this asks again until the gateway has paid or refused it.
"""

import random
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial

from msgspec import Struct

from broker_service.background.rounds import Rounds
from broker_service.domain.records import PurchaseRefund
from broker_service.engine.clock import Clock
from broker_service.engine.committer import HaltedError, OverloadedError
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from broker_service.storage.purchase_queries import requested_refunds
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

_BATCH_REFUNDS = 100
_MAX_PAUSE_SECONDS = 3_600.0
_MAX_DOUBLINGS = 20


class _Waiting(Struct, frozen=True):
    """How often a refund was asked for in vain, and the reading of time.monotonic() until which it is left alone."""

    attempts: int
    until: float


class RefundRunner:
    """Asks for refunds that have been owed for longer than `interval_seconds`, each ever more seldom.

    Several brokers of a database may each have one: the gateway knows a refund by its id, and pays it once.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        desk: PaymentDesk,
        *,
        interval_seconds: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._clock = clock
        self._desk = desk
        self._interval_seconds = interval_seconds
        self._waiting: dict[str, _Waiting] = {}
        self._rounds = Rounds("refunds", self.run, interval_seconds=interval_seconds, chance=chance)

    def start(self) -> None:
        """Asks from now on, until it is stopped; never, if the interval is 0."""
        self._rounds.start()

    async def stop(self) -> None:
        """Returns when nothing of it is running any more; a gateway on its way to an answer is waited for a little.

        What it does not answer in time is asked for again.
        """
        await self._rounds.stop()

    async def run(self) -> int:
        """Asks once for each refund that is owed and not to be left alone; returns how many were paid or refused.

        Raises StorageError, OverloadedError or HaltedError, and may have asked for a part then.
        """
        answered, seen = 0, set()
        async for refund in self._owed():
            seen.add(refund.refund_id)
            waiting = self._waiting.get(refund.refund_id)
            if self._rounds.stopping.is_set() or (waiting is not None and time.monotonic() < waiting.until):
                continue
            if await self._ask(refund):
                answered += 1
                self._waiting.pop(refund.refund_id, None)
            else:
                self._leave_alone(refund.refund_id)
        self._waiting = {refund_id: it for refund_id, it in self._waiting.items() if refund_id in seen}
        return answered

    async def _owed(self) -> AsyncIterator[PurchaseRefund]:
        """Yields all refunds that are owed, batch by batch, the oldest first."""
        requested_before = self._clock() - timedelta(seconds=self._interval_seconds)
        after = None
        while True:
            read = partial(requested_refunds, requested_before=requested_before, after=after, limit=_BATCH_REFUNDS)
            batch = await self._database.read(read)
            for refund in batch:
                yield refund
            if len(batch) < _BATCH_REFUNDS:
                return
            after = (batch[-1].create_time, batch[-1].refund_id)

    async def _ask(self, refund: PurchaseRefund) -> bool:
        try:
            return await self._desk.pay_back(await self._desk.purchase(refund.purchase_id), refund)
        except (StorageError, OverloadedError, HaltedError):
            raise
        except Exception:
            # One that cannot be asked for must not keep the others waiting.
            logger.exception("refund.crashed", refund_id=refund.refund_id)
            return False

    def _leave_alone(self, refund_id: str) -> None:
        attempts = self._waiting[refund_id].attempts + 1 if refund_id in self._waiting else 1
        pause_seconds = min(self._interval_seconds * 2 ** min(attempts, _MAX_DOUBLINGS), _MAX_PAUSE_SECONDS)
        self._waiting[refund_id] = _Waiting(attempts, time.monotonic() + pause_seconds)
