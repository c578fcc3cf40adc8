"""Payouts, automatic top-ups and what the operator changes, on top of the naive model of sales."""

from datetime import datetime, timedelta
from types import SimpleNamespace

from broker_service.domain.identities import purchase_id_for
from broker_service.domain.payouts import CreatePayout, ResolvePayout
from broker_service.payments.gateway import PaymentMethod
from tests.ledger_model.figures import Figures, figures_of
from tests.money_model import requests as ask
from tests.money_model.naive_money import NaiveMoney
from tests.money_model.naive_sales import Sale

WAITS = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=3))
CLAIM = timedelta(minutes=1)


class NaiveShop(NaiveMoney):
    def __init__(self, sellers: dict[str, SimpleNamespace]) -> None:
        super().__init__(sellers)
        self.top_ups: dict[str, SimpleNamespace] = {}
        self.received: set[str] = set()  # The purchases that gateways were asked to charge, and heard of.

    def _on_archive(self, it: ask.Archive, _: datetime) -> None:
        self.archived.add(it.pack.pack_id)

    def _on_changeprovider(self, it: ask.ChangeProvider, _: datetime) -> None:
        seller = self.providers[it.provider_id]
        if it.suspended is None:
            seller.basis_points = it.basis_points
        else:
            seller.suspended = it.suspended

    def _on_createpayout(self, it: CreatePayout, _: datetime) -> Figures:
        replayed = it.payout_id in self.payouts
        if not replayed:
            payable = -self.money()[f"provider_payable:{it.provider_id}", it.currency]
            seller = self.providers.get(it.provider_id)
            if seller is None or seller.suspended:
                return {"reason": "PROVIDER_SUSPENDED" if seller else "PROVIDER_NOT_FOUND"}
            if payable < ask.PAYOUT_MINIMUMS.get(it.currency, 1):
                return {"reason": "PAYOUT_BELOW_MINIMUM"}
            terms = {"provider_id": it.provider_id, "currency": it.currency, "amount_minor_units": payable}
            self.payouts[it.payout_id] = SimpleNamespace(**terms, state="IN_TRANSIT", reference="", resolved_by=None)
        payout = self.payouts[it.payout_id]
        if payout.currency != it.currency:
            return {"reason": "REQUEST_ID_REUSED"}
        return {"replayed": replayed, "payout": figures_of(payout, ask.PAYOUT)}

    def _on_resolvepayout(self, it: ResolvePayout, _: datetime) -> Figures:
        payout, by = self.payouts.get(it.payout_id), (it.state, it.request_id)
        if payout is None:
            return {"reason": "PAYOUT_NOT_FOUND"}
        if payout.resolved_by not in (None, by):
            return {"reason": "PAYOUT_RESOLVED"}
        replayed = payout.resolved_by == by
        if replayed and payout.reference != it.reference:
            return {"reason": "REQUEST_ID_REUSED"}
        payout.state, payout.reference, payout.resolved_by = it.state, it.reference, by
        return {"replayed": replayed, "payout": figures_of(payout, ask.PAYOUT)}

    def _on_agree(self, it: ask.Agree, _: datetime) -> Figures:
        before, pack = self.top_ups.get(it.account_id), it.pack
        gateway = ask.GATEWAYS.get(pack.currency)
        refused = {
            "PACK_OF_OTHER_SERVICE": pack.service != self.accounts[it.account_id].service,
            "PACK_ARCHIVED": pack.pack_id in self.archived,
            "INVALID_ARGUMENT": it.monthly_cap_minor_units < pack.price_minor_units,
            "CURRENCY_NOT_SUPPORTED": gateway is None,
            "PAYMENT_METHOD_MISSING": (it.account_id, gateway) not in self.methods,
        }
        if reason := next((reason for reason, holds in refused.items() if holds), ""):
            return {"reason": reason}
        method = self.methods[it.account_id, gateway or ""]
        paid_by = (gateway, method.customer_reference, method.method_reference)
        if before and before.asked:
            paid_by = (before.gateway, before.customer_reference, before.method_reference)
        top_up = self.top_ups[it.account_id] = SimpleNamespace(
            account_id=it.account_id,
            state="ACTIVE",
            pack=pack,
            pack_id=pack.pack_id,
            threshold_credits=it.threshold_credits,
            monthly_cap_minor_units=it.monthly_cap_minor_units,
            gateway=paid_by[0],
            customer_reference=paid_by[1],
            method_reference=paid_by[2],
            failed_payments=0,
            next_attempt_time=None,
            pending_purchase_id=before and before.pending_purchase_id,
            asked=bool(before and before.asked),
            attempts=before.attempts if before else 0,
            agreements=before.agreements + 1 if before else 1,
        )
        return {"top_up": figures_of(top_up, ask.TOP_UP)}

    def _on_turnoff(self, it: ask.TurnOff, _: datetime) -> Figures:
        top_up = self.top_ups.get(it.account_id)
        if top_up:
            top_up.state = "OFF"
        return {"top_up": top_up and figures_of(top_up, ask.TOP_UP)}

    def _on_topupall(self, _: ask.TopUpAll, now: datetime) -> None:
        for top_up in self.top_ups.values():
            is_time = top_up.next_attempt_time is None or top_up.next_attempt_time <= now
            if is_time and (top_up.pending_purchase_id or self._may_buy(top_up, now)):
                self._go_on(top_up, now)

    def spent(self, top_up: SimpleNamespace, now: datetime) -> int:
        """Returns what the month's top-ups have cost, those being paid included."""
        return sum(
            sale.price_minor_units
            for sale in self.sales.values()
            if (sale.account_id, sale.origin, sale.currency) == (top_up.account_id, "AUTO_TOP_UP", top_up.pack.currency)
            and (sale.create_time.year, sale.create_time.month) == (now.year, now.month)
            and (sale.pay_time or sale.state_at(now) == "PENDING")
        )

    def _may_buy(self, top_up: SimpleNamespace, now: datetime) -> bool:
        account, price = self.accounts[top_up.account_id], top_up.pack.price_minor_units
        return (
            (top_up.state, account.state) == ("ACTIVE", "ACTIVE")
            and bool(account.available_credits < top_up.threshold_credits)
            and bool(self.spent(top_up, now) + price <= top_up.monthly_cap_minor_units)
        )

    def _go_on(self, top_up: SimpleNamespace, now: datetime) -> None:
        if not top_up.pending_purchase_id:
            top_up.attempts += 1
            top_up.pending_purchase_id = purchase_id_for(top_up.account_id, f"auto-top-up {top_up.attempts}")
        top_up.next_attempt_time = now + CLAIM
        if top_up.pending_purchase_id not in self.sales:
            request_id = f"auto-top-up {top_up.attempts}"
            start = ask.Start(request_id, top_up.account_id, top_up.pack, return_url="", saves_method=False)
            if reason := self._on_start(start, now, "AUTO_TOP_UP").get("reason"):
                _withdraw(top_up)
                if reason not in ("ACCOUNT_SUSPENDED", "PROVIDER_SUSPENDED"):
                    top_up.state, top_up.next_attempt_time = "PAUSED", None
                return
        sale = self.sales[top_up.pending_purchase_id]
        if sale.state_at(now) != "PENDING" or self._pay(top_up, sale, now):
            _end(top_up, sale, now)

    def _pay(self, top_up: SimpleNamespace, sale: Sale, now: datetime) -> bool:
        """Has a payment charged, or withdraws it if it is not wanted and nobody has heard of it."""
        wanted = (
            (top_up.state, sale.account.state) == ("ACTIVE", "ACTIVE")
            and (sale.pack.pack_id, sale.gateway) == (top_up.pack_id, top_up.gateway)
            and sale.account.available_credits < top_up.threshold_credits
            and self.spent(top_up, sale.create_time) <= top_up.monthly_cap_minor_units
        )
        top_up.asked = top_up.asked or wanted
        if top_up.asked and self.mode == "down":
            return False
        if not top_up.asked or not (wanted or sale.purchase_id in self.received):
            self.hear(sale, f"withdrawn:{sale.purchase_id}", "FAILED", now)
            _withdraw(top_up)
            return False
        self.received.add(sale.purchase_id)
        method = PaymentMethod(top_up.customer_reference, top_up.method_reference)
        if self.mode == "up":
            self.hear(sale, f"evt-{sale.purchase_id}", "SUCCEEDED", now, method=method)
        elif self.mode == "declines":
            self.hear(sale, f"evt-{sale.purchase_id}", "FAILED", now)
        return True


def _withdraw(top_up: SimpleNamespace) -> None:
    top_up.pending_purchase_id, top_up.asked = None, False


def _end(top_up: SimpleNamespace, sale: Sale, now: datetime) -> None:
    """Ends an attempt whose payment has come to an end."""
    if sale.state_at(now) == "PENDING":
        return
    _withdraw(top_up)
    top_up.failed_payments = 0 if sale.pay_time else top_up.failed_payments + 1
    top_up.next_attempt_time = None
    if top_up.failed_payments and top_up.state == "ACTIVE":
        if top_up.failed_payments > len(WAITS):
            top_up.state = "PAUSED"
        else:
            top_up.next_attempt_time = now + WAITS[top_up.failed_payments - 1]
