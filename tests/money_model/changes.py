"""The same request with another parameter, or in another case: a repetition that is not one, or one that is."""

from dataclasses import replace

from msgspec.structs import replace as changed

from broker_service.domain import commands as credit
from broker_service.domain.payouts import CreatePayout, ResolvePayout
from broker_service.domain.purchase_commands import RefundPurchase, SettleRefund
from tests.money_model import requests as ask
from tests.money_model.market import Market


def with_a_change(request: ask.Request, market: Market) -> ask.Request:
    """Returns a request with its id and something else than before; the request itself if it has no id."""
    match request:
        case ask.Tell(notice=notice):
            return replace(request, notice=changed(notice, amount_minor_units=1, currency=None))
        case RefundPurchase():
            return changed(request, reason="another reason")
        case CreatePayout(currency=currency):
            return changed(request, currency="JPY" if currency == "EUR" else "EUR")
        case ResolvePayout() | SettleRefund():
            return changed(request, reference="another reference")
        case credit.Reserve() | credit.Charge() | credit.GrantCredits():
            return changed(request, credits=request.credits + 1)
    return _with_other_goods(request, market) if isinstance(request, ask.Start) else request


def _with_other_goods(start: ask.Start, market: Market) -> ask.Start:
    other = market.own_pack(market.account_ids.index(start.account_id), 0)
    return replace(start, return_url="https://other.example") if other == start.pack else replace(start, pack=other)
