"""Money as docs/payments.md, docs/settlement.md and the contract tell it, in the plainest way that can be run.

An oracle for the engine, on top of the naive ledger's accounts: it shares no rule with the engine, keeps no sums, and
makes each of them anew from what was sold, given back and paid out.
"""

from collections import Counter
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from broker_service.domain.commands import ChangeAccountState
from broker_service.domain.identities import grant_id_for, purchase_refund_id_for
from broker_service.domain.purchase_commands import RefundPurchase, SettleRefund
from broker_service.domain.records import PaymentNoticeKind
from broker_service.payments.gateway import GatewayNotice, PaymentMethod
from tests.ledger_model.figures import Figures, figures_of
from tests.ledger_model.naive_model import NaiveLedger
from tests.money_model import requests as ask
from tests.money_model.naive_sales import Return, Sale, movements, sums_of


class NaiveMoney(NaiveLedger):
    """`sellers` are by their service: who sells, at what rate, suspended or not. `mode` is how the gateways are."""

    def __init__(self, sellers: dict[str, SimpleNamespace]) -> None:
        super().__init__()
        self.sellers, self.mode = sellers, "up"
        self.providers = {seller.provider_id: seller for seller in sellers.values()}
        self.sales: dict[str, Sale] = {}
        self.returns: dict[str, Return] = {}
        self.payouts: dict[str, Any] = {}
        self.heard: dict[Any, list[Any]] = {}  # By notice: what came of it, and how often it came.
        self.archived: set[str] = set()
        self.methods: dict[tuple[str, str], PaymentMethod] = {}  # By account and gateway.
        self.settled: dict[tuple[str, str], object] = {}  # By account and request: the refunds the operator has paid.
        self.suspensions: Counter[str] = Counter()
        self.asked: list[str] = []  # Refunds, of gateways.

    def answer(self, it: Any, now: datetime) -> Figures:
        for account in self.accounts.values():
            account.settle(now)
        if method := getattr(self, f"_on_{type(it).__name__.lower()}", None):
            return dict(method(it, now) or {})
        if isinstance(it, ChangeAccountState) and it.state == "SUSPENDED" != self.accounts[it.account_id].state:
            self.suspensions[it.account_id] += 1
        return super().answer(it, now)

    def _on_start(self, it: ask.Start, now: datetime, origin: str = "CUSTOMER") -> Figures:
        account, pack, sale = self.accounts[it.account_id], it.pack, self.sales.get(it.purchase_id)
        seller, gateway = self.sellers[pack.service], ask.GATEWAYS.get(pack.currency)
        parameters, replayed = (pack.pack_id, it.return_url, it.saves_method), sale is not None
        if sale is None:
            refused = {
                "PROVIDER_SUSPENDED": seller.suspended,
                "ACCOUNT_SUSPENDED": account.state == "SUSPENDED",
                "PACK_OF_OTHER_SERVICE": pack.service != account.service,
                "PACK_ARCHIVED": pack.pack_id in self.archived,
                "CURRENCY_NOT_SUPPORTED": gateway is None,
            }
            if reason := next((reason for reason, holds in refused.items() if holds), ""):
                return {"reason": reason}
            rate = Decimal(ask.BROKERS_RATE if seller.basis_points is None else seller.basis_points) / 10_000
            cut = int((pack.price_minor_units * rate).quantize(Decimal(1), ROUND_HALF_UP))
            terms = (
                it.purchase_id,
                seller.provider_id,
                pack,
                parameters,
                origin,
                gateway or "",
                cut,
                now,
                it.saves_method,
            )
            sale = self.sales[it.purchase_id] = Sale(account, it.account_id, *terms)
        if sale.parameters != parameters:
            return {"reason": "REQUEST_ID_REUSED"}
        if origin == "CUSTOMER" and sale.state_at(now) == "PENDING" and not sale.has_checkout:
            if self.mode == "down":
                return {"reason": "GATEWAY_UNAVAILABLE"}
            sale.has_checkout = self.mode != "declines"
            if not sale.has_checkout:
                self.hear(sale, f"declined:{sale.purchase_id}", "FAILED", now)
        return {"replayed": replayed, "purchase": sale.figures(now)}

    def hear(self, sale: Sale, event_id: str, kind: str, now: datetime, **fields: Any) -> None:
        notice = GatewayNotice(event_id, PaymentNoticeKind(kind), sale.purchase_id, **fields)
        self._on_tell(ask.Tell(sale.gateway, notice), now)

    def _on_tell(self, it: ask.Tell, now: datetime) -> Figures:
        notice, sale = it.notice, self.sales.get(it.notice.purchase_id)
        key = (it.gateway, notice.gateway_event_id, notice.kind, notice.purchase_id, notice.refund_id, sale is None)
        if key not in self.heard:
            self.heard[key] = ["UNKNOWN_PURCHASE" if sale is None else self._outcome(sale, it.gateway, notice, now), 0]
        self.heard[key][1] += 1
        return {"outcome": self.heard[key][0]}

    def _outcome(self, sale: Sale, gateway: str, notice: GatewayNotice, now: datetime) -> str:
        kind, back, fits, due = notice.kind.value, self.returns.get(notice.refund_id), True, {sale.price_minor_units}
        match kind:
            case "SUCCEEDED" | "FAILED":
                new = sale.pay_time is None and not (kind == "FAILED" and sale.failed)
            case "CHARGED_BACK" if sale.pay_time is None:
                new = not sale.chargeback_told
            case "CHARGED_BACK":
                fits, due = not sale.charged_back, due | {sale.left, sale.left + sale.owed}
                new = sale.left + sale.owed > 0
            case _:
                fits = back is not None and (back.sale, back.kind) == (sale, "REFUND")
                due, new = {back.amount_minor_units} if back else due, back is not None and _is_news(back, kind)
        if gateway != sale.gateway or not fits:
            return "IGNORED"
        if notice.currency not in (None, sale.currency) or notice.amount_minor_units not in (None, *due):
            return "WRONG_AMOUNT"
        if new:
            self._carry_out(sale, back, kind, notice.method, now)
        return "APPLIED" if new else "IGNORED"

    def _carry_out(
        self, sale: Sale, back: Return | None, kind: str, method: PaymentMethod | None, now: datetime
    ) -> None:
        match kind:
            case "SUCCEEDED":
                sale.pay_time, end = now, sale.pack.validity and now + sale.pack.validity
                sale.account.add(grant_id_for(sale.purchase_id), "PAID", sale.credits, end, now)
                self.methods |= {(sale.account_id, sale.gateway): method} if method and sale.saves_method else {}
                if sale.chargeback_told:
                    self._charge_back(sale)
            case "FAILED":
                sale.failed = True
            case "CHARGED_BACK" if sale.pay_time is None:
                sale.chargeback_told = True
            case "CHARGED_BACK":
                self._charge_back(sale)
            case _ if back is not None:
                back.end("PAID" if kind == "REFUND_SUCCEEDED" else "FAILED")

    def _charge_back(self, sale: Sale) -> None:
        for owed in sale.returns:
            if owed.state != "PAID":
                owed.by_others = True
                owed.end("PAID")
        refund_id = purchase_refund_id_for(sale.account_id, "Chargeback", sale.purchase_id)
        cut = sale.commission_minor_units - sale.refunded_commission_minor_units
        self._give_back(Return(refund_id, sale, "CHARGEBACK", "PAID", sale.grant.free_credits, sale.left, cut))
        sale.grant.revoked, sale.gone_when_charged_back = True, sale.grant.gone_credits
        self.suspensions[sale.account_id] += sale.account.state != "SUSPENDED"
        sale.account.state = "SUSPENDED"

    def _give_back(self, back: Return) -> None:
        back.sale.grant.gone_credits += back.credits
        back.sale.returns.append(back)
        self.returns[back.refund_id] = back

    def _on_refundpurchase(self, it: RefundPurchase, now: datetime) -> Figures:
        sale, parameters = self.sales.get(it.purchase_id), (it.purchase_id, it.reason)
        replayed = it.refund_id in self.returns
        if sale is None:
            return {"reason": "PURCHASE_NOT_FOUND"}
        if not replayed:
            if sale.pay_time is None:
                return {"reason": "PURCHASE_NOT_PAID"}
            part = Fraction(sale.refunded_credits + sale.grant.free_credits, sale.credits)
            amount = int(part * sale.price_minor_units)
            cut = int(Fraction(amount, sale.price_minor_units) * sale.commission_minor_units)
            amount, cut = amount - sale.refunded_minor_units, cut - sale.refunded_commission_minor_units
            if sale.charged_back or amount == 0:
                return {"reason": "NOTHING_TO_REFUND"}
            free_credits = sale.grant.free_credits
            self._give_back(Return(it.refund_id, sale, "REFUND", "REQUESTED", free_credits, amount, cut, parameters))
        back = self.returns[it.refund_id]
        if back.parameters != parameters:
            return {"reason": "REQUEST_ID_REUSED"}
        told = {"replayed": replayed, "purchase": sale.figures(now), "refund": figures_of(back, ask.RETURN)}
        self._pay_back(back, now)
        return told

    def _on_settlerefund(self, it: SettleRefund, now: datetime) -> Figures:
        back, parameters = self.returns.get(it.refund_id), (it.refund_id, it.reference)
        if back is None or back.kind != "REFUND":
            return {"reason": "REFUND_NOT_FOUND"}
        replayed = (it.account_id, it.request_id) in self.settled
        if replayed and self.settled[it.account_id, it.request_id] != parameters:
            return {"reason": "REQUEST_ID_REUSED"}
        if not replayed:
            if back.state != "FAILED":
                return {"reason": "REFUND_NOT_OWED"}
            self.settled[it.account_id, it.request_id] = parameters
            back.by_others = True
            back.end("PAID")
            key = ("operator", it.operation_id, PaymentNoticeKind.REFUND_SUCCEEDED, it.purchase_id, it.refund_id, False)
            self.heard[key] = ["APPLIED", 1]
        return {
            "replayed": replayed,
            "purchase": back.sale.figures(now),
            "refund": figures_of(back, ask.RETURN),
        }

    def _pay_back(self, back: Return, now: datetime) -> None:
        if back.state == "REQUESTED":
            self.asked.append(back.refund_id)
            if self.mode in ("up", "declines"):
                kind = "REFUND_SUCCEEDED" if self.mode == "up" else "REFUND_FAILED"
                self.hear(back.sale, f"evt-{back.refund_id}", kind, now, refund_id=back.refund_id)

    def _on_paybackall(self, _: ask.PayBackAll, now: datetime) -> None:
        for back in list(self.returns.values()):
            self._pay_back(back, now)

    def money(self) -> Counter[tuple[str, str]]:
        return sums_of(movements(self.sales, self.payouts))


def _is_news(back: Return, kind: str) -> bool:
    """Tells whether the end of a refund changes anything."""
    if kind == "REFUND_SUCCEEDED":
        return back.state != "PAID" and "RETURNED" not in back.moves
    return back.state != "FAILED" and not (back.state == "PAID" and back.by_others)
