"""What providers have sold and are owed, and paying it out."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from broker_service.domain.errors import InvalidField, PayoutBelowMinimum, ProviderSuspended
from broker_service.domain.payouts import CreatePayout, PayoutResult, ResolvePayout
from broker_service.domain.records import Payout, PayoutState, Purchase
from broker_service.engine.clock import Clock
from broker_service.engine.writing import write_with_retries
from broker_service.storage import payouts, settlement
from broker_service.storage.database import Database
from broker_service.storage.settlement import DuePayout, ProviderBalance, SaleSelection, StatementLine

# Some 150 bytes each in the answer, of which a caller takes 4 MiB.
MOST_LINES = 10_000
# Unless the settings say otherwise: whatever there is.
_SMALLEST_PAYOUT_MINOR_UNITS = 1


@dataclass(frozen=True, slots=True)
class Settled:
    """What one run over all that was due has made, and which payouts had been in transit before."""

    made: list[Payout]
    in_transit_before: list[Payout]


class Settlement:
    """Reads providers' figures and makes payouts, each in a transaction of its own.

    `payout_minimums` are the least payouts by currency, in minor units.
    """

    def __init__(self, database: Database, clock: Clock, *, payout_minimums: Mapping[str, int]) -> None:
        self._database = database
        self._clock = clock
        self._payout_minimums = payout_minimums

    async def balances(self, provider_id: str) -> list[ProviderBalance]:
        """Returns a provider's figures by currency."""
        return await self._database.read(lambda connection: settlement.balances_of(connection, provider_id))

    async def sales(self, provider_id: str, selection: SaleSelection) -> list[Purchase]:
        """Returns a provider's paid purchases, oldest first."""
        return await self._database.read(lambda connection: settlement.sales_of(connection, provider_id, selection))

    async def statement(self, provider_id: str, start_time: datetime, end_time: datetime) -> list[StatementLine]:
        """Returns all movements of a provider's payable in [start_time, end_time), oldest first.

        Raises InvalidField if they are more than an answer can hold.
        """
        found = await self._database.read(
            lambda connection: settlement.statement_lines(
                connection, provider_id, start_time, end_time, limit=MOST_LINES + 1
            )
        )
        if len(found) > MOST_LINES:
            description = f"must be earlier: the period has more than {MOST_LINES} lines; ask for shorter ones"
            raise InvalidField(field="end_time", description=description)
        return found

    async def payouts(self, provider_id: str, before: tuple[datetime, str] | None, limit: int) -> list[Payout]:
        """Returns a provider's payouts older than (create_time, payout_id), newest first."""
        return await self._database.read(
            lambda connection: settlement.payouts_of(connection, provider_id, before, limit)
        )

    async def create_payout(self, *, request_id: str, provider_id: str, currency: str) -> PayoutResult:
        """Pays out all that is payable in one currency.

        Raises ProviderNotFound, RequestIdReused, ProviderSuspended, PayoutBelowMinimum.
        """
        command = CreatePayout(request_id, provider_id, currency, self._minimum(currency))
        return await write_with_retries(
            self._database, lambda connection: payouts.create_payout(connection, command, self._clock())
        )

    async def resolve_payout(
        self, *, request_id: str, payout_id: str, state: PayoutState, reference: str
    ) -> PayoutResult:
        """Marks a payout PAID or FAILED. Raises PayoutNotFound, RequestIdReused, PayoutResolved."""
        command = ResolvePayout(request_id, payout_id, state, reference)
        return await write_with_retries(
            self._database, lambda connection: payouts.resolve_payout(connection, command, self._clock())
        )

    async def due(self, currency: str | None = None) -> list[DuePayout]:
        """Returns the payouts that could be made now, of one currency or of all."""
        payable = await self._database.read(lambda connection: settlement.due_payouts(connection, currency))
        return [it for it in payable if it.payable_minor_units >= self._minimum(it.currency)]

    async def settle(self, currency: str | None = None) -> Settled:
        """Makes every payout that is due, each by itself: one that is broken off is gone on with by the next run.

        What another run, or the operator, has paid out in the meantime is left out.
        """
        in_transit_before = await self._database.read(settlement.payouts_in_transit)
        made = []
        for due in await self.due(currency):
            try:
                result = await self.create_payout(
                    request_id=str(uuid.uuid4()), provider_id=due.provider_id, currency=due.currency
                )
            except (PayoutBelowMinimum, ProviderSuspended):
                continue
            made.append(result.payout)
        return Settled(made, in_transit_before)

    def _minimum(self, currency: str) -> int:
        return self._payout_minimums.get(currency, _SMALLEST_PAYOUT_MINOR_UNITS)
