"""The engine and the naive model side by side: both get the same requests, and must answer the same."""

import asyncio
import copy
from collections import Counter
from typing import Any

from broker_service.domain.commands import Settle
from broker_service.domain.payouts import CreatePayout
from broker_service.storage.audit import Violation
from broker_service.storage.settlement import SaleSelection
from tests.databases import write_lock
from tests.ledger_model.brokers import Brokers
from tests.ledger_model.comparison import refuse_differences
from tests.ledger_model.figures import RESERVATION, Figures, book_figures, figures_of
from tests.money_model import books
from tests.money_model import requests as ask
from tests.money_model.brokers import GatewaysOutside, MoneyBroker
from tests.money_model.naive_shop import NaiveShop

_ALL = 10_000
# Enough for both to read what they decide on, and to wait for the lock.
_ARRIVE_SECONDS = 0.03


class Comparison:
    """Two brokers on one database, one of whom is asked, or both at once, and the model.

    `prefix` is what the ids of this example's own notices begin with; `known` are violations that earlier examples
    have left behind.
    """

    def __init__(
        self,
        brokers: Brokers[MoneyBroker],
        gateways: GatewaysOutside,
        model: NaiveShop,
        prefix: str,
        known: set[Violation],
    ) -> None:
        self._brokers = brokers
        self._url = brokers.url
        self._gateways = gateways
        self._model = model
        self._prefix = prefix
        self._known = known
        self._turn = 0

    @property
    def broker(self) -> MoneyBroker:
        return self._brokers.both[self._turn]

    def turn_to_the_other_broker(self) -> None:
        self._turn = 1 - self._turn

    def set_mode(self, mode: str) -> None:
        self._model.mode = mode
        self._gateways.set_mode(mode)

    def execute(self, request: ask.Request) -> Figures:
        """Has one broker answer, both if they would remember something else for a while; returns the answer."""
        expected = self._model.answer(request, self._brokers.time)
        answers = [self._brokers.run(self.broker.answer(request))]
        if isinstance(request, ask.ChangeProvider):
            answers.append(self._brokers.run(self._brokers.both[1 - self._turn].answer(request)))
        for answer in answers:
            refuse_differences(answer, expected, f"the answer to {request}")
        self._compare_asked(request)
        return expected

    def race(self, first: ask.Request, second: ask.Request) -> None:
        """Has each broker answer one of them, at once; some order must explain the answers."""
        answers = self._brokers.run(self._answers_at_once(first, second))
        found = [_without_what_time_tells(answer) for answer in answers]
        in_order, in_other_order = copy.deepcopy(self._model), copy.deepcopy(self._model)
        now = self._brokers.time
        expected = [_without_what_time_tells(in_order.answer(it, now)) for it in (first, second)]
        otherwise = [_without_what_time_tells(in_other_order.answer(it, now)) for it in (second, first)]
        if found == otherwise[::-1] != expected:
            second, first = first, second
        elif found != expected:
            raise AssertionError(f"{first} and {second} at once got {found}, not {expected} or {otherwise[::-1]}")
        for request in (first, second):
            self._model.answer(request, now)
        # Which of them has asked a gateway depends on how fast it was.
        self._gateways.take_asked()
        self._model.asked.clear()

    def look(self) -> None:
        """Compares what is read of all accounts, purchases, providers and top-ups."""
        model, now = copy.deepcopy(self._model), self._brokers.time
        for account in model.accounts.values():
            account.settle(now)
        accounts = {
            account_id: {
                "book": book_figures(account, account.grants),
                "reservations": {key: figures_of(row, RESERVATION) for key, row in account.reservations.items()},
            }
            for account_id, account in model.accounts.items()
        }
        refuse_differences(self.broker.read(accounts), accounts, "what is read of accounts")
        expected = {
            "purchases": {
                key: sale.figures(now) | {"has_checkout": sale.has_checkout} for key, sale in model.sales.items()
            },
            "providers": {it: books.balance_figures(model, it) for it in self._provider_ids},
            "due": books.due_figures(model),
            "top_ups": {
                key: figures_of(it, ask.TOP_UP) | {"spent": model.spent(it, now)} for key, it in model.top_ups.items()
            },
        }
        refuse_differences(self._brokers.run(self._read()), expected, "what is read of money")

    def close_the_books(self) -> None:
        """Compares all that is written, and audits."""
        for account_id in self._model.accounts:
            self.execute(Settle(account_id))
        self.look()
        database, accounts = self.broker.database, list(self._model.accounts)
        stored = self._brokers.run(database.read(lambda found: books.stored_books(found, accounts, self._provider_ids)))
        refuse_differences(stored, books.expected_books(self._model), "what is written")
        heard = self._brokers.run(database.read(lambda found: books.times_heard(found, self._prefix)))
        refuse_differences(heard, books.expected_times_heard(self._model, self._prefix), "what was heard")
        refuse_differences(
            self._brokers.run(self._statements()),
            {
                it: {"lines": books.statement_figures(self._model, it), "sales": books.sales_figures(self._model, it)}
                for it in self._provider_ids
            },
            "what providers are told",
        )
        violations = set(self.broker.violations()) - self._known
        self._known |= violations
        assert not violations, f"the audit found {violations}"

    @property
    def _provider_ids(self) -> list[str]:
        return [seller.provider_id for seller in self._model.sellers.values()]

    async def _answers_at_once(self, *requests: ask.Request) -> list[Figures]:
        both = zip(self._brokers.both, requests, strict=True)
        asked = [broker.answer(it) for broker, it in both]
        if not isinstance(requests[0], CreatePayout):
            return await asyncio.gather(*asked)
        # A payout is decided on what was read before: nobody can write until both have come so far.
        with write_lock(self._url):
            begun = [asyncio.create_task(it) for it in asked]
            await asyncio.sleep(_ARRIVE_SECONDS)
        return await asyncio.gather(*begun)

    def _compare_asked(self, request: ask.Request) -> None:
        # An example that has failed may have left refunds behind that are owed.
        owners = {account_id.removeprefix("acc_") for account_id in self._model.accounts}
        asked = [it for it in self._gateways.take_asked() if it.split("_")[1] in owners]
        expected = self._model.asked.copy()
        self._model.asked.clear()
        assert Counter(asked) == Counter(expected), f"{request} has asked gateways for {asked}, not {expected}"

    async def _read(self) -> Figures:
        purchases: Figures = {}
        for purchase_id in self._model.sales:
            purchase = await self.broker.desk.purchase(purchase_id)
            purchases[purchase_id] = figures_of(purchase, (*ask.PURCHASE, "state"))
            purchases[purchase_id]["has_checkout"] = bool(purchase.checkout_url)
        settlement, names = self.broker.settlement, ("payable", "sales", "commission")
        return {
            "purchases": purchases,
            "providers": {
                it: {row.currency: figures_of(row, names) for row in await settlement.balances(it)}
                for it in self._provider_ids
            },
            "due": {
                f"{row.provider_id} {row.currency}": row.payable_minor_units
                for row in await settlement.due()
                if row.provider_id in self._provider_ids
            },
            "top_ups": await self._top_ups(),
        }

    async def _top_ups(self) -> Figures:
        found = [await self.broker.top_ups.of_account(account_id) for account_id in self._model.accounts]
        return {it.account_id: figures_of(it, ask.TOP_UP) | {"spent": spent} for it, spent in found if it is not None}

    async def _statements(self) -> Figures:
        everything = SaleSelection(start_time=None, end_time=None, after=None, limit=_ALL)
        told: Figures = {}
        for provider_id in self._provider_ids:
            lines = await self.broker.settlement.statement(provider_id, ask.FIRST, ask.LAST)
            sales = await self.broker.settlement.sales(provider_id, everything)
            told[provider_id] = {
                "lines": Counter(
                    (it.kind.value, it.reference, it.currency, it.gross, it.commission, it.net) for it in lines
                ),
                "sales": [(it.pay_time, it.purchase_id) for it in sales],
            }
        return told


def _without_what_time_tells(answer: Figures) -> Figures:
    """A refund may be paid, or not yet, when its replay is answered."""
    told: dict[str, Any] = copy.deepcopy(answer)
    told.get("refund", {}).pop("state", None)
    return told
