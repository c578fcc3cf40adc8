"""SettlementService: what the broker owes providers, and paying it out."""

from collections import defaultdict
from datetime import datetime
from typing import Any

from iap.broker.v1 import settlement_pb2, settlement_pb2_grpc

from broker_service.domain.currencies import minor_unit_digits
from broker_service.domain.directory import Role
from broker_service.domain.errors import InvalidField, ProviderNotFound
from broker_service.domain.records import JournalKind, Payout, PayoutState, Purchase
from broker_service.engine.directory import Directory
from broker_service.engine.settlement import Settlement
from broker_service.storage.settlement import SaleSelection, StatementLine
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.errors import permission_denied
from broker_service.transport.money import to_money
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.rendering import PURCHASE_STATES
from broker_service.transport.times import instant_of, microseconds_of, optional_instant, to_timestamp

_PAYOUT_STATES = {
    PayoutState.IN_TRANSIT: settlement_pb2.PAYOUT_STATE_IN_TRANSIT,
    PayoutState.PAID: settlement_pb2.PAYOUT_STATE_PAID,
    PayoutState.FAILED: settlement_pb2.PAYOUT_STATE_FAILED,
}
_LINE_KINDS = {
    JournalKind.SALE: settlement_pb2.STATEMENT_LINE_KIND_SALE,
    JournalKind.REFUND: settlement_pb2.STATEMENT_LINE_KIND_REFUND,
    JournalKind.CHARGEBACK: settlement_pb2.STATEMENT_LINE_KIND_CHARGEBACK,
    JournalKind.PAYOUT: settlement_pb2.STATEMENT_LINE_KIND_PAYOUT,
    JournalKind.PAYOUT_FAILED: settlement_pb2.STATEMENT_LINE_KIND_PAYOUT_FAILED,
}


class SettlementServicer(settlement_pb2_grpc.SettlementServiceServicer):
    """Shows providers their figures, and the operator everybody's; makes payouts for the operator."""

    def __init__(self, gate: Gate, directory: Directory, settlement: Settlement) -> None:
        self.gate = gate
        self._directory = directory
        self._settlement = settlement

    @rpc(Role.PROVIDER, Role.OPERATOR)
    async def GetProviderBalance(
        self, request: settlement_pb2.GetProviderBalanceRequest, caller: Caller
    ) -> settlement_pb2.GetProviderBalanceResponse:
        """See the contract."""
        await self._check_provider(request.provider_id, caller)
        found = await self._settlement.balances(request.provider_id)
        return settlement_pb2.GetProviderBalanceResponse(
            payable=[to_money(it.currency, it.payable) for it in found],
            sales=[to_money(it.currency, it.sales) for it in found],
            commission=[to_money(it.currency, it.commission) for it in found],
        )

    @rpc(Role.PROVIDER, Role.OPERATOR)
    async def ListSales(
        self, request: settlement_pb2.ListSalesRequest, caller: Caller
    ) -> settlement_pb2.ListSalesResponse:
        """See the contract."""
        start_time, end_time = _period_of(request)
        scope = ("ListSales", request.provider_id, str(start_time), str(end_time))
        cursor = cursor_of(request.page_token, (int, str), *scope)
        await self._check_provider(request.provider_id, caller)
        limit = page_size(request.page_size)
        after = None if cursor is None else (instant_of(cursor[0]), cursor[1])
        found = await self._settlement.sales(request.provider_id, SaleSelection(start_time, end_time, after, limit + 1))
        shown = found[:limit]
        next_page_token = ""
        if len(found) > limit:
            next_page_token = page_token([microseconds_of(_pay_time(shown[-1])), shown[-1].purchase_id], *scope)
        return settlement_pb2.ListSalesResponse(
            sales=[_render_sale(purchase) for purchase in shown], next_page_token=next_page_token
        )

    @rpc(Role.PROVIDER, Role.OPERATOR)
    async def GetStatement(
        self, request: settlement_pb2.GetStatementRequest, caller: Caller
    ) -> settlement_pb2.GetStatementResponse:
        """See the contract."""
        start_time, end_time = _period_of(request)
        if start_time is None or end_time is None:
            raise InvalidField(field="start_time", description="start_time and end_time must be given")
        await self._check_provider(request.provider_id, caller)
        lines = await self._settlement.statement(request.provider_id, start_time, end_time)
        return settlement_pb2.GetStatementResponse(
            lines=[_render_line(line) for line in lines], totals=_render_totals(lines)
        )

    @rpc(Role.OPERATOR)
    async def CreatePayout(
        self, request: settlement_pb2.CreatePayoutRequest, _caller: Caller
    ) -> settlement_pb2.CreatePayoutResponse:
        """See the contract."""
        if minor_unit_digits(request.currency) is None:
            raise InvalidField(field="currency", description="must be a currency of ISO 4217 with a minor unit")
        result = await self._settlement.create_payout(
            request_id=request.request_id.lower(), provider_id=request.provider_id, currency=request.currency
        )
        return settlement_pb2.CreatePayoutResponse(payout=_render_payout(result.payout), replayed=result.replayed)

    @rpc(Role.OPERATOR)
    async def MarkPayoutPaid(
        self, request: settlement_pb2.MarkPayoutPaidRequest, _caller: Caller
    ) -> settlement_pb2.MarkPayoutPaidResponse:
        """See the contract."""
        result = await self._settlement.resolve_payout(
            request_id=request.request_id.lower(),
            payout_id=request.payout_id,
            state=PayoutState.PAID,
            reference=request.reference,
        )
        return settlement_pb2.MarkPayoutPaidResponse(payout=_render_payout(result.payout), replayed=result.replayed)

    @rpc(Role.OPERATOR)
    async def MarkPayoutFailed(
        self, request: settlement_pb2.MarkPayoutFailedRequest, _caller: Caller
    ) -> settlement_pb2.MarkPayoutFailedResponse:
        """See the contract."""
        result = await self._settlement.resolve_payout(
            request_id=request.request_id.lower(),
            payout_id=request.payout_id,
            state=PayoutState.FAILED,
            reference=request.reason,
        )
        return settlement_pb2.MarkPayoutFailedResponse(payout=_render_payout(result.payout), replayed=result.replayed)

    @rpc(Role.PROVIDER, Role.OPERATOR)
    async def ListPayouts(
        self, request: settlement_pb2.ListPayoutsRequest, caller: Caller
    ) -> settlement_pb2.ListPayoutsResponse:
        """See the contract."""
        scope = ("ListPayouts", request.provider_id)
        cursor = cursor_of(request.page_token, (int, str), *scope)
        await self._check_provider(request.provider_id, caller)
        limit = page_size(request.page_size)
        before = None if cursor is None else (instant_of(cursor[0]), cursor[1])
        found = await self._settlement.payouts(request.provider_id, before, limit + 1)
        shown = found[:limit]
        next_page_token = ""
        if len(found) > limit:
            next_page_token = page_token([microseconds_of(shown[-1].create_time), shown[-1].payout_id], *scope)
        return settlement_pb2.ListPayoutsResponse(
            payouts=[_render_payout(payout) for payout in shown], next_page_token=next_page_token
        )

    async def _check_provider(self, provider_id: str, caller: Caller) -> None:
        """Raises ProviderNotFound, or CallError if the figures are another provider's."""
        if await self._directory.provider(provider_id) is None:
            raise ProviderNotFound(provider_id=provider_id)
        if caller.role is Role.PROVIDER and caller.owner_id != provider_id:
            raise permission_denied("key of the provider, or the operator's")


def _period_of(request: Any) -> tuple[datetime | None, datetime | None]:
    """Returns a request's start_time and end_time. Raises InvalidField, also if they are the wrong way round."""
    start_time, end_time = optional_instant(request, "start_time"), optional_instant(request, "end_time")
    if start_time is not None and end_time is not None and end_time < start_time:
        raise InvalidField(field="end_time", description="must not be before start_time")
    return start_time, end_time


def _pay_time(purchase: Purchase) -> datetime:
    """Returns when a sale was paid, which all that are listed were."""
    return purchase.pay_time or purchase.create_time


def _render_sale(purchase: Purchase) -> settlement_pb2.Sale:
    currency = purchase.currency
    return settlement_pb2.Sale(
        purchase_id=purchase.purchase_id,
        service=purchase.service,
        pack_id=purchase.pack_id,
        credits=purchase.credits,
        price=to_money(currency, purchase.price_minor_units),
        commission=to_money(currency, purchase.commission_minor_units),
        provider_share=to_money(currency, purchase.provider_share_minor_units),
        state=PURCHASE_STATES[purchase.state],
        pay_time=to_timestamp(_pay_time(purchase)),
    )


def _render_line(line: StatementLine) -> settlement_pb2.StatementLine:
    return settlement_pb2.StatementLine(
        time=to_timestamp(line.time),
        kind=_LINE_KINDS[line.kind],
        reference=line.reference,
        gross=to_money(line.currency, line.gross),
        commission=to_money(line.currency, line.commission),
        net=to_money(line.currency, line.net),
    )


def _render_totals(lines: list[StatementLine]) -> list[settlement_pb2.StatementTotal]:
    """Renders the sums of a statement's lines, by currency."""
    of_currency: dict[str, list[StatementLine]] = defaultdict(list)
    for line in lines:
        of_currency[line.currency].append(line)
    return [
        settlement_pb2.StatementTotal(
            gross=to_money(currency, sum(line.gross for line in found)),
            commission=to_money(currency, sum(line.commission for line in found)),
            net=to_money(currency, sum(line.net for line in found)),
        )
        for currency, found in sorted(of_currency.items())
    ]


def _render_payout(payout: Payout) -> settlement_pb2.Payout:
    return settlement_pb2.Payout(
        payout_id=payout.payout_id,
        provider_id=payout.provider_id,
        amount=to_money(payout.currency, payout.amount_minor_units),
        state=_PAYOUT_STATES[payout.state],
        create_time=to_timestamp(payout.create_time),
        resolve_time=None if payout.resolve_time is None else to_timestamp(payout.resolve_time),
        reference=payout.reference,
    )
