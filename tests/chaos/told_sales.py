"""Holds the broker's books to what buyers were told, and to what Stripe knows of payments and refunds."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from iap.broker.v1 import account_pb2

from tests.chaos.buyers import PACK_CREDITS
from tests.chaos.calls import Caller
from tests.chaos.journal import Record
from tests.contract.broker_world.world import Account
from tests.databases import Rows, run_sql
from tests.stripe_double.api import StripeApi

# What stands in the books of each purchase that was paid: one of each.
_OF_PAID = {
    "grants": "SELECT purchase_id, credits FROM grants WHERE purchase_id IS NOT NULL",
    "entries": "SELECT purchase_id, credits FROM entries WHERE kind = 'PURCHASE'",
}
_SALES = (
    "SELECT purchase_id, amount_minor_units FROM journal_entries JOIN journal_postings USING (journal_entry_id)"
    " WHERE kind = 'SALE' AND money_account = 'gateway_clearing'"
)
_REFUNDS = "SELECT refund_id, purchase_id, state, credits, amount_minor_units FROM purchase_refunds"
_REFUND_MOVEMENTS = (
    "SELECT kind, purchase_id, amount_minor_units FROM journal_entries JOIN journal_postings USING (journal_entry_id)"
    " WHERE kind IN ('REFUND', 'REFUND_PAID') AND money_account = 'refunds_in_transit'"
)
_CLEARING = "SELECT amount_minor_units FROM journal_postings WHERE money_account = 'gateway_clearing'"


class ToldSales:
    """Everything that was bought, from a database with nothing else in it."""

    def __init__(self, url: str, api: StripeApi, records: Sequence[Record]) -> None:
        self._url = url
        self._paid = {
            it["metadata"]["purchase_id"]: it["amount"] for it in api.payments.values() if it["status"] == "succeeded"
        }
        self._refunded_by_stripe = Counter(
            (it["metadata"]["refund_id"], it["metadata"]["purchase_id"], it["amount"]) for it in api.refunds.values()
        )
        self._answered = [it for it in records if it.response is not None]

    def __str__(self) -> str:
        answered = Counter(record.rpc for record in self._answered)
        return f"{len(self._paid)} payments, {self._refunded_by_stripe.total()} refunds; answered: {dict(answered)}"

    def assert_paid_once(self) -> None:
        """Each payment has one grant, one entry, one sale and one event, and there are no others."""
        expected = Counter((purchase_id, PACK_CREDITS) for purchase_id in self._paid)
        for what, statement in _OF_PAID.items():
            assert Counter(self._sql(statement)) == expected, what
        assert Counter(self._sql(_SALES)) == Counter(self._paid.items())
        told = self._events("purchase.paid")
        assert Counter(it["purchase_id"] for it in told) == Counter(self._paid.keys())

    def assert_refunded_once(self) -> None:
        """Each refund that was answered is there and paid, Stripe has made it once, and there are no others."""
        rows = self._sql(_REFUNDS)
        assert {state for _, _, state, _, _ in rows} <= {"PAID"}
        refunds = Counter((refund_id, purchase_id, amount) for refund_id, purchase_id, _, _, amount in rows)
        assert refunds == self._refunded_by_stripe
        answered = Counter(
            (it.request.purchase_id, minor_units(it.response.refund)) for it in self._answered_of("RefundPurchase")
        )
        assert Counter((purchase_id, amount) for _, purchase_id, amount in refunds.elements()) == answered
        moved = Counter(self._sql(_REFUND_MOVEMENTS))
        signs = (("REFUND", -1), ("REFUND_PAID", 1))
        assert moved == Counter(
            {(kind, *refund[:1], sign * refund[1]): n for refund, n in answered.items() for kind, sign in signs}
        )
        events = Counter(it["refund_id"] for it in self._events("purchase.refunded"))
        assert events == Counter(refund_id for refund_id, _, _ in refunds.elements())

    def assert_money_is_at_stripe(self) -> None:
        """What the broker says it has there is what Stripe says."""
        given_back = sum(amount for _, _, amount in self._refunded_by_stripe.elements())
        assert sum(amount for (amount,) in self._sql(_CLEARING)) == sum(self._paid.values()) - given_back

    async def assert_credits_are_left(self, caller: Caller, accounts: Iterable[Account]) -> None:
        """Each account has what was paid for, less what was used and given back."""
        given_back = self._given_back()
        owners = Counter(self._account_of(it) for it in self._paid)
        used: Counter[str] = Counter()
        for record in self._answered_of("Charge"):
            used[record.response.reservation.account_id] += record.request.credits
        for account in accounts:
            request = account_pb2.GetBalanceRequest(account_token=account.token)
            balance = (await caller.send_until_answered("GetBalance", request)).balance
            left = owners[account.id] * PACK_CREDITS - used[account.id] - given_back[account.id]
            assert (balance.ledger_credits, balance.reserved_credits) == (left, 0)

    async def assert_answers_stand(self, caller: Caller) -> None:
        """Repeats every request that was answered: each is a replay and tells of the same."""
        for record in self._answered:
            again = await caller.send_until_answered(record.rpc, record.request)
            assert again.replayed, f"what was answered is gone: {record.rpc} {record.request.request_id}"
            assert _told(record.rpc, again) == _told(record.rpc, record.response)

    def _answered_of(self, rpc: str) -> list[Record]:
        return [it for it in self._answered if it.rpc == rpc]

    def _sql(self, statement: str) -> Rows:
        return [tuple(row) for row in run_sql(self._url, statement)]

    def _given_back(self) -> Counter[str]:
        """Returns the credits that refunds have taken back, by account."""
        sums: Counter[str] = Counter()
        for _, purchase_id, _, taken, _ in self._sql(_REFUNDS):
            sums[self._account_of(purchase_id)] += taken
        return sums

    def _events(self, kind: str) -> list[Any]:
        return [json.loads(data) for (data,) in run_sql(self._url, "SELECT data FROM events WHERE type = ?", kind)]

    def _account_of(self, purchase_id: str) -> str:
        return f"acc_{purchase_id.split('_')[1]}"


def minor_units(money: Any) -> int:
    """Returns an amount in euro cents."""
    return int(money.units) * 100 + int(money.nanos) // 10_000_000


def _told(rpc: str, answer: Any) -> object:
    match rpc:
        case "CreatePurchase":
            return answer.purchase.purchase_id
        case "RefundPurchase":
            return answer.purchase.purchase_id, minor_units(answer.refund)
        case _:
            return answer.reservation.reservation_id
