"""What is asked, told and paid, and when: drawn by Hypothesis, with small numbers and short times.

There are few rules, each for several requests: Hypothesis leaves some rules out of each example.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker_service.domain import commands as credit
from broker_service.domain.payouts import CreatePayout, ResolvePayout
from broker_service.domain.purchase_commands import RefundPurchase, SettleRefund
from broker_service.domain.records import PaymentNoticeKind
from broker_service.storage.audit import Violation
from tests.ledger_model.brokers import Brokers
from tests.money_model import draws as draw
from tests.money_model import requests as ask
from tests.money_model.brokers import GatewaysOutside, MoneyBroker
from tests.money_model.changes import with_a_change
from tests.money_model.comparison import Comparison
from tests.money_model.market import GOODS, OWNERS, Market
from tests.money_model.naive_shop import CLAIM, NaiveShop

Making = credit.Reserve | credit.Charge
# What has an id, by which a repetition is known.
Repeatable = (
    ask.Start
    | ask.Tell
    | RefundPurchase
    | SettleRefund
    | CreatePayout
    | ResolvePayout
    | credit.GrantCredits
    | credit.Reserve
    | credit.Charge
    | credit.Capture
    | credit.Release
    | credit.Refund
)
Kept = TypeVar("Kept")
Outcome = TypeVar("Outcome")


class MoneyMachine(RuleBasedStateMachine):
    def __init__(self, brokers: Brokers[MoneyBroker], gateways: GatewaysOutside, known: set[Violation]) -> None:
        super().__init__()
        self.brokers, self.gateways, self.known = brokers, gateways, known
        self.example = brokers.begin_example()
        self.asked: list[ask.Request] = []
        self.repeatable: list[ask.Request] = []
        self.started: list[ask.Start] = []
        self.refunded: list[RefundPurchase] = []
        self.reserved: list[Making] = []
        self.made: list[Making] = []
        self.payouts: list[CreatePayout] = []
        self.agrees = True

    @initialize(first_rate=draw.rates, second_rate=draw.rates, bought=draw.first_goods, used=draw.amounts)
    def begin(self, first_rate: int | None, second_rate: int | None, bought: list[int], used: int) -> None:
        self.market = Market(self.brokers, self.example, (first_rate, second_rate))
        self.model = NaiveShop(self.market.sellers)
        self.comparison = Comparison(self.brokers, self.gateways, self.model, self.market.prefix, self.known)
        self.comparison.set_mode("up")
        for owner in range(len(OWNERS)):
            self._ask(self.market.opening(owner))
        for number in bought:
            self.buy(0, number, pays=True, fault="right", of_other_service=False)
        self.buy(2, bought[0], pays=True, fault="right", of_other_service=False)
        self.use_credits("charge", 0, 0, used, None)
        self.use_credits("reserve", 0, 0, 1, None)

    @rule(number=draw.whose, pack=draw.goods, pays=draw.often, fault=draw.faults, of_other_service=draw.rarely)
    def buy(self, number: int, pack: int, *, pays: bool, fault: str, of_other_service: bool) -> None:
        """Pays at once, or leaves it for later."""
        seller = OWNERS[number][1] ^ of_other_service
        start = self.market.start(number, self.market.pack(seller, pack), saves_method=pays)
        if "reason" not in self._ask(start) or start.purchase_id in self.model.sales:
            self.started.append(start)
            if pays:
                self._ask(self._told(start, PaymentNoticeKind.SUCCEEDED, fault))

    @rule(back=draw.which, kind=draw.kinds, fault=draw.faults, at_once=draw.rarely, resumes=st.booleans())
    def tell(self, back: int, kind: PaymentNoticeKind, fault: str, at_once: bool, resumes: bool) -> None:
        start = _counted_back(self.started, back)
        self._ask_one_or_both(at_once, *(self._told(start, kind, fault) for _ in range(2)))
        if resumes and kind is PaymentNoticeKind.CHARGED_BACK:
            self._ask(self.market.change_state(self.market.account_ids.index(start.account_id), suspends=False))

    @rule(back=draw.which, held=draw.amounts, mode=draw.modes, charged_back=st.booleans())
    def refund_in_parts(self, back: int, held: int, mode: str, charged_back: bool) -> None:
        """Refunds what is left while some credits are reserved, and those once they are released.

        Or the payer's bank is the faster one.
        """
        self.comparison.set_mode(mode)
        start = self._refundable(back)
        self.use_credits("reserve", self.market.account_ids.index(start.account_id), 0, held, None)
        first, second = self.market.refund_purchase(start), self.market.refund_purchase(start)
        self._ask(first)
        if charged_back:
            self._ask(self._told(start, PaymentNoticeKind.CHARGED_BACK, "right"))
        self.use_credits("release", 0, 0, 0, None)
        self._ask(second)
        self.refunded += [it for it in (first, second) if it.refund_id in self.model.returns]

    @rule(
        back=draw.which,
        anyway=draw.rarely,
        mode=draw.modes,
        at_once=draw.rarely,
        is_same=st.booleans(),
        again=st.booleans(),
    )
    def refund(self, back: int, anyway: bool, *, mode: str, at_once: bool, is_same: bool, again: bool) -> None:
        self.comparison.set_mode(mode)
        start = _counted_back(self.started, back) if anyway else self._refundable(back)
        first, second = (self.market.refund_purchase(start) for _ in range(2))
        self._ask_one_or_both(at_once, first, first if is_same else second)
        self.refunded += [it for it in (first, second) if it.refund_id in self.model.returns]
        if again:
            self._ask(second)

    @rule(kind=draw.kinds, pays=st.booleans(), number=draw.whose)
    def tell_before_it_is_paid(self, kind: PaymentNoticeKind, pays: bool, number: int) -> None:
        start = self.market.start(number, self.market.own_pack(number, 0), saves_method=False)
        if "reason" not in self._ask(start):
            self.started.append(start)
            self._ask(self._told(start, kind, "right"))
            if pays:
                self._ask(self._told(start, PaymentNoticeKind.SUCCEEDED, "right"))

    @rule(
        back=draw.which,
        kind=draw.refund_kinds,
        fault=draw.faults,
        of_other_purchase=draw.rarely,
        by_operator=draw.rarely,
        at_once=st.booleans(),
    )
    def tell_of_refund(
        self,
        back: int,
        kind: PaymentNoticeKind,
        fault: str,
        *,
        of_other_purchase: bool,
        by_operator: bool,
        at_once: bool,
    ) -> None:
        """Tells of a refund's end; the operator may pay then what the gateway has not."""
        if not self.refunded:
            self.refund(back, anyway=False, mode="silent", at_once=False, is_same=True, again=False)
            return
        refund = _counted_back(self.refunded, back)
        start = next(it for it in self.started if it.purchase_id == refund.purchase_id)
        start = _counted_back(self.started, back) if of_other_purchase else start
        self._ask(self._told(start, kind, fault, refund.refund_id))
        if by_operator:
            self._ask_one_or_both(at_once, *(self.market.settle_refund(refund) for _ in range(2)))

    @rule(
        what=st.sampled_from(["reserve", "charge", "capture", "capture a part", "release", "refund", "refund"]),
        number=draw.whose,
        back=draw.which,
        amount=draw.amounts,
        part=draw.some,
    )
    def use_credits(self, what: str, number: int, back: int, amount: int, part: int | None) -> None:
        among = self.made if what == "refund" else self.reserved
        if what not in ("reserve", "charge") and among:
            self._ask(self.market.end(what, _counted_back(among, back), part))
            return
        made: Making = self.market.charge(number, amount) if what == "charge" else self.market.reserve(number, amount)
        if "reason" not in self._ask(made):
            self.made.append(made)
            self.reserved += [made] if what == "reserve" else []

    @rule(back=draw.which, at_once=st.booleans(), is_same=draw.rarely)
    def pay_out(self, back: int, at_once: bool, is_same: bool) -> None:
        owed = [key for key, amount in self.model.money().items() if amount < 0 and ":" in key[0]]
        account, currency = _counted_back(owed or [("payable:nobody", "EUR")], back)
        first, second = (self.market.pay_out(account.partition(":")[2], currency) for _ in range(2))
        self._ask_one_or_both(at_once, first, first if is_same else second)
        self.payouts += [it for it in (first, second) if it.payout_id in self.model.payouts]

    @rule(back=draw.which, paid=st.booleans(), at_once=draw.rarely)
    def resolve_payout(self, back: int, paid: bool, at_once: bool) -> None:
        if not self.payouts:
            self.pay_out(back, at_once=at_once, is_same=False)
        payout = (
            _counted_back(self.payouts, back)
            if self.payouts
            else self.market.pay_out(self.market.provider_ids[0], "EUR")
        )
        first, second = self.market.resolve(payout, paid=paid), self.market.resolve(payout, paid=not paid)
        self._ask_one_or_both(at_once, first, second)

    @rule(what=st.sampled_from(["same", "same", "changed"]), back=draw.recent, at_once=draw.rarely)
    def ask_again(self, what: str, back: int, at_once: bool) -> None:
        request = _counted_back(self.repeatable, back)
        changed = with_a_change(request, self.market) if what == "changed" else request
        self._ask_one_or_both(at_once, request, changed)

    @rule(
        what=st.sampled_from(["grant", "suspend", "resume", "resume", "seller", "rate", "archive"]),
        number=draw.whose,
        amount=draw.amounts,
        life=st.sampled_from([None, ask.SECOND, 4 * ask.SECOND]),
        rate=draw.rates,
        flag=draw.rarely,
    )
    def administer(
        self, what: str, number: int, amount: int, life: timedelta | None, rate: int | None, flag: bool
    ) -> None:
        provider_id = self.market.provider_ids[OWNERS[number][1]]
        match what:
            case "grant":
                self._ask(self.market.grant(number, amount, life))
            case "suspend" | "resume":
                self._ask(self.market.change_state(number, suspends=what == "suspend"))
            case "seller":
                self._ask(ask.ChangeProvider(provider_id, suspended=flag))
            case "rate":
                self._ask(ask.ChangeProvider(provider_id, basis_points=rate))
            case _:
                self._ask(ask.Archive(self.market.own_pack(number, len(GOODS) - amount)))

    @rule(
        what=st.sampled_from(["agree", "agree", "agree otherwise", "buy", "buy", "buy", "off"]),
        number=draw.whose,
        number_of_goods=draw.goods,
        back=draw.which,
        threshold=draw.thresholds,
        packs=st.sampled_from([2, 2, 1, 0]),
        mode=draw.modes,
    )
    def top_up(
        self, what: str, number: int, number_of_goods: int, *, back: int, threshold: int, packs: int, mode: str
    ) -> None:
        account_id = self.market.account_ids[number]
        match what:
            case "agree":
                known = self._sold(back)
                self._ask(ask.Agree(known.account_id, known.pack, threshold, packs * known.pack.price_minor_units))
            case "agree otherwise":
                pack = self.market.pack(0, number_of_goods)
                self._ask(ask.Agree(account_id, pack, threshold, packs * pack.price_minor_units))
            case "buy":
                self.comparison.set_mode(mode)
                self._ask(ask.TopUpAll(tuple(self.market.account_ids)))
                self._compare(self.comparison.look)
            case _:
                self._ask(ask.TurnOff(account_id))

    @rule(back=draw.which, mode=draw.modes, by_hand=st.booleans())
    def change_a_top_up_under_way(self, back: int, mode: str, *, by_hand: bool) -> None:
        """Lowers the cap, or fills the account by hand, while a second payment waits for its gateway."""
        known = self._sold(back)
        account_id, price = known.account_id, known.pack.price_minor_units
        low = self.model.accounts[account_id].available_credits + 1
        buying, everybody = (low if by_hand else 2_000), ask.TopUpAll(tuple(self.market.account_ids))
        self._ask(ask.Agree(account_id, known.pack, buying, 2 * price))
        for gateway_mode in ("down",) if by_hand else ("up", "down"):
            self.comparison.set_mode(gateway_mode)
            self._ask(everybody)
        if by_hand:
            self.buy(self.market.account_ids.index(account_id), 0, pays=True, fault="right", of_other_service=False)
        else:
            self._ask(ask.Agree(account_id, known.pack, buying, price))
        self.comparison.set_mode(mode)
        self.brokers.time += CLAIM
        self._ask(everybody)
        self._compare(self.comparison.look)

    @rule(mode=draw.modes, pays_back=st.booleans())
    def change_gateways(self, mode: str, pays_back: bool) -> None:
        """Lets gateways be otherwise; what is owed may be asked for again then."""
        self.comparison.set_mode(mode)
        if pays_back:
            self._ask(ask.PayBackAll())

    @rule(step=draw.steps)
    def move_the_clock(self, step: timedelta) -> None:
        self.brokers.time += step
        self._compare(self.comparison.look)

    @rule()
    def turn_to_the_other_broker(self) -> None:
        self.comparison.turn_to_the_other_broker()
        self._compare(self.comparison.look)

    def teardown(self) -> None:
        # What has failed already is not to be hidden by what follows from it.
        try:
            if self.agrees and self.asked:
                self._leave_nothing_under_way()
                self._compare(self.comparison.close_the_books)
        finally:
            if not self.agrees:
                self.brokers.open_anew()

    def _leave_nothing_under_way(self) -> None:
        """Pays all refunds and charges that are owed, since other examples are asked to do so as well."""
        self.comparison.set_mode("up")
        self._ask(ask.PayBackAll())
        for account_id in self.market.account_ids:
            self._ask(ask.TurnOff(account_id))
        # No broker keeps a payment to itself for longer.
        self.brokers.time += CLAIM
        self._ask(ask.TopUpAll(tuple(self.market.account_ids)))

    def _sold(self, back: int) -> ask.Start:
        """Returns what was bought and paid; there is something from the start."""
        return _counted_back([it for it in self.started if self.model.sales[it.purchase_id].pay_time], back)

    def _refundable(self, back: int) -> ask.Start:
        """Returns what was bought and is not used up; if nothing is left of all that, something new."""
        if not any(self._is_left(it) for it in self.started):
            self.buy(0, back, pays=True, fault="right", of_other_service=False)
        return _counted_back([it for it in self.started if self._is_left(it)] or self.started, back)

    def _is_left(self, start: ask.Start) -> bool:
        sale = self.model.sales[start.purchase_id]
        return bool(sale.pay_time and sale.grant.free_credits and not sale.charged_back)

    def _told(self, start: ask.Start, kind: PaymentNoticeKind, fault: str, refund_id: str = "") -> ask.Tell:
        sale, back = self.model.sales[start.purchase_id], self.model.returns.get(refund_id)
        due = back.amount_minor_units if back else sale.price_minor_units
        return self.market.told(start, kind, fault, due, sale.left, refund_id)

    def _ask_one_or_both(self, at_once: bool, first: ask.Request, second: ask.Request) -> None:
        if at_once:
            self._remember(first, second)
            self._compare(lambda: self.comparison.race(first, second))
        else:
            self._ask(second)

    def _ask(self, request: ask.Request) -> dict[str, Any]:
        self._remember(request)
        return self._compare(lambda: self.comparison.execute(request))

    def _remember(self, *requests: ask.Request) -> None:
        self.asked += requests
        self.repeatable += [it for it in requests if isinstance(it, Repeatable)]

    def _compare(self, work: Callable[[], Outcome]) -> Outcome:
        self.agrees = False
        outcome = work()
        self.agrees = True
        return outcome


def _counted_back(asked: Sequence[Kept], back: int) -> Kept:
    return asked[-1 - back % len(asked)]
