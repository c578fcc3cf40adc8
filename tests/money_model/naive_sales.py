"""What was sold, given back and paid out, and the movements of money that it comes to."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from broker_service.domain.directory import Pack
from broker_service.domain.identities import grant_id_for
from tests.ledger_model.figures import Figures, figures_of
from tests.ledger_model.naive_model import Account
from tests.money_model import requests as ask

# Its kind, the purchase or payout, the provider, the currency, and how much of it goes onto which account.
Movement = tuple[str, str, str, str, dict[str, int]]


@dataclass(eq=False)
class Return:
    """A refund or a chargeback; `moves` is what became of its money, "PAID" or "RETURNED", one after the other."""

    refund_id: str
    sale: "Sale"
    kind: str
    state: str
    credits: int
    amount_minor_units: int
    commission_minor_units: int
    parameters: object = None
    by_others: bool = False
    moves: list[str] = field(default_factory=list)

    def end(self, state: str) -> None:
        """It is paid, or has failed: what was paid before comes back then."""
        if "PAID" in (state, self.state):
            self.moves.append("PAID" if state == "PAID" else "RETURNED")
        self.state = state


@dataclass(eq=False)
class Sale:
    """A purchase, paid or not, with what notices have told of it: `failed`, `chargeback_told` before its payment."""

    account: Account
    account_id: str
    purchase_id: str
    provider_id: str
    pack: Pack
    parameters: object
    origin: str
    gateway: str
    commission_minor_units: int
    create_time: datetime
    saves_method: bool = False
    has_checkout: bool = False
    failed: bool = False
    chargeback_told: bool = False
    pay_time: datetime | None = None
    gone_when_charged_back: int = 0
    returns: list[Return] = field(default_factory=list)
    credits = property(lambda it: it.pack.credits)
    currency = property(lambda it: it.pack.currency)
    price_minor_units = property(lambda it: it.pack.price_minor_units)
    provider_share_minor_units = property(lambda it: it.price_minor_units - it.commission_minor_units)
    refunded_credits = property(lambda it: sum(back.credits for back in it.returns))
    refunded_minor_units = property(lambda it: sum(back.amount_minor_units for back in it.returns))
    refunded_commission_minor_units = property(lambda it: sum(back.commission_minor_units for back in it.returns))
    left = property(lambda it: it.price_minor_units - it.refunded_minor_units)
    owed = property(lambda it: sum(back.amount_minor_units for back in it.returns if back.state != "PAID"))
    charged_back = property(lambda it: any(back.kind == "CHARGEBACK" for back in it.returns))
    grant = property(lambda it: it.account.grants[grant_id_for(it.purchase_id)])
    # Credits that came back after the chargeback, and were taken off the account at once.
    taken_back = property(lambda it: it.grant.gone_credits - it.gone_when_charged_back if it.charged_back else 0)

    def state_at(self, now: datetime) -> str:
        if self.pay_time is None:
            late = self.origin == "CUSTOMER" and now >= self.create_time + ask.CHECKOUT_LIFETIME
            return "FAILED" if self.failed or late else "PENDING"
        if self.charged_back or not self.returns:
            return "CHARGED_BACK" if self.charged_back else "PAID"
        return "REFUNDED" if self.refunded_credits == self.credits else "PARTIALLY_REFUNDED"

    def figures(self, now: datetime) -> Figures:
        return figures_of(self, ask.PURCHASE) | {"state": self.state_at(now)}


def movements(sales: Mapping[str, Sale], payouts: Mapping[str, Any]) -> Iterator[Movement]:
    """Yields all that has moved money, in double entry."""
    for key, sale in sales.items():
        yield from _of_sale(sale, key, sale.provider_id, sale.currency)
    for key, it in payouts.items():
        yield from _of_payout(it, key, it.provider_id, it.currency)


def _of_sale(sale: Sale, key: str, provider_id: str, currency: str) -> Iterator[Movement]:
    payable, place = f"provider_payable:{provider_id}", (key, provider_id, currency)
    if sale.pay_time is not None:
        price, cut = sale.price_minor_units, sale.commission_minor_units
        yield ("SALE", *place, {"gateway_clearing": price, payable: cut - price, "commission": -cut})
    for back in sale.returns:
        amount, cut = back.amount_minor_units, back.commission_minor_units
        source = "refunds_in_transit" if back.kind == "REFUND" else "gateway_clearing"
        yield (back.kind, *place, {source: -amount, payable: amount - cut, "commission": cut})
        for move in back.moves:
            paid = amount if move == "PAID" else -amount
            yield (f"REFUND_{move}", *place, {"refunds_in_transit": paid, "gateway_clearing": -paid})


def _of_payout(payout: Any, key: str, provider_id: str, currency: str) -> Iterator[Movement]:
    payable, place, amount = f"provider_payable:{provider_id}", (key, provider_id, currency), payout.amount_minor_units
    yield ("PAYOUT", *place, {payable: amount, "payouts_in_transit": -amount})
    if payout.state != "IN_TRANSIT":
        off = "gateway_clearing" if payout.state == "PAID" else payable
        yield (f"PAYOUT_{payout.state}", *place, {"payouts_in_transit": amount, off: -amount})


def sums_of(moved: Iterable[Movement]) -> Counter[tuple[str, str]]:
    """Returns what movements come to, by money account and currency."""
    sums: Counter[tuple[str, str]] = Counter()
    for _, _, _, currency, postings in moved:
        for account, amount in postings.items():
            sums[account, currency] += amount
    return sums
