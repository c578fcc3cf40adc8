"""Automatic top-ups on top of the naive model of money, in the plainest way too; and what the operator changes."""

from datetime import datetime, timedelta
from types import SimpleNamespace

from broker_service.domain.identities import purchase_id_for
from broker_service.payments.gateway import PaymentMethod
from tests.ledger_model.figures import Figures, figures_of
from tests.money_model import requests as ask
from tests.money_model.naive_money import NaiveMoney
from tests.money_model.naive_sales import Sale

WAITS = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=3))


class NaiveShop(NaiveMoney):
    def __init__(self, sellers: dict[str, SimpleNamespace]) -> None:
        super().__init__(sellers)
        self.top_ups: dict[str, SimpleNamespace] = {}

    def _on_archive(self, it: ask.Archive, _: datetime) -> None:
        self.archived.add(it.pack.pack_id)

    def _on_changeprovider(self, it: ask.ChangeProvider, _: datetime) -> None:
        seller = self.providers[it.provider_id]
        if it.suspended is None:
            seller.basis_points = it.basis_points
        else:
            seller.suspended = it.suspended

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
        top_up = self.top_ups[it.account_id] = SimpleNamespace(
            account_id=it.account_id,
            state="ACTIVE",
            pack=pack,
            pack_id=pack.pack_id,
            threshold_credits=it.threshold_credits,
            monthly_cap_minor_units=it.monthly_cap_minor_units,
            failed_payments=0,
            next_attempt_time=None,
            pending_purchase_id=before and before.pending_purchase_id,
            attempts=before.attempts if before else 0,
        )
        return {"top_up": figures_of(top_up, ask.TOP_UP)}

    def _on_turnoff(self, it: ask.TurnOff, _: datetime) -> Figures:
        top_up = self.top_ups.get(it.account_id)
        if top_up and top_up.state != "OFF":
            top_up.state, top_up.next_attempt_time = "OFF", None
        return {"top_up": top_up and figures_of(top_up, ask.TOP_UP)}

    def _on_topupall(self, _: ask.TopUpAll, now: datetime) -> None:
        for top_up in self.top_ups.values():
            if top_up.pending_purchase_id or self._is_due(top_up, now):
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

    def _is_due(self, top_up: SimpleNamespace, now: datetime) -> bool:
        account, price = self.accounts[top_up.account_id], top_up.pack.price_minor_units
        return bool(
            (top_up.state, account.state) == ("ACTIVE", "ACTIVE")
            and account.available_credits < top_up.threshold_credits
            and (top_up.next_attempt_time is None or top_up.next_attempt_time <= now)
            and self.spent(top_up, now) + price <= top_up.monthly_cap_minor_units
        )

    def _go_on(self, top_up: SimpleNamespace, now: datetime) -> None:
        if not top_up.pending_purchase_id:
            top_up.attempts += 1
            top_up.pending_purchase_id = purchase_id_for(top_up.account_id, f"auto-top-up {top_up.attempts}")
            start = ask.Start(f"auto-top-up {top_up.attempts}", top_up.account_id, top_up.pack, return_url="")
            if "reason" in self._on_start(start, now, "AUTO_TOP_UP"):
                top_up.state, top_up.next_attempt_time, top_up.pending_purchase_id = "PAUSED", None, None
                return
        sale = self.sales[top_up.pending_purchase_id]
        if sale.state_at(now) == "PENDING":
            self._charge(sale, now)
        if sale.state_at(now) == "PENDING":
            return
        top_up.pending_purchase_id = None
        if sale.pay_time is not None:
            top_up.failed_payments, top_up.next_attempt_time = 0, None
            return
        top_up.failed_payments += 1
        if top_up.state == "ACTIVE" and top_up.failed_payments > len(WAITS):
            top_up.state, top_up.next_attempt_time = "PAUSED", None
        elif top_up.state == "ACTIVE":
            top_up.next_attempt_time = now + WAITS[top_up.failed_payments - 1]

    def _charge(self, sale: Sale, now: datetime) -> None:
        if self.mode == "up":
            method = PaymentMethod("customer", "card")
            self.hear(sale, f"evt-{sale.purchase_id}", "SUCCEEDED", now, method=method)
        elif self.mode == "declines":
            self.hear(sale, f"evt-{sale.purchase_id}", "FAILED", now)
