"""Who is in an example, and what is for sale: two providers, three accounts, packs in several currencies."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from types import SimpleNamespace

from broker_service.domain import commands as ask
from broker_service.domain.directory import Pack, Service
from broker_service.domain.identities import account_id_for
from broker_service.domain.payouts import CreatePayout, ResolvePayout
from broker_service.domain.purchase_commands import RefundPurchase, SettleRefund
from broker_service.domain.records import AccountState, GrantKind, PaymentNoticeKind, PayoutState
from broker_service.payments.gateway import GatewayNotice, PaymentMethod
from tests.ledger_model.brokers import Brokers
from tests.money_model.brokers import MoneyBroker
from tests.money_model.requests import GATEWAYS, SECOND, Goods, Start, Tell

LIFE = 3 * SECOND
METHOD = PaymentMethod("customer", "card")
# The customer, and which of the providers' services the account is for. Most happens on the first.
OWNERS = (("ann", 0), ("bob", 0), ("ann", 1))
GOODS = (
    Goods(7, "EUR", 1_000),
    Goods(3, "EUR", 100),
    Goods(7, "EUR", 999, LIFE),
    Goods(5, "JPY", 101),
    Goods(3, "JPY", 1),
    Goods(7, "KWD", 1_999),
    Goods(1, "KWD", 2, LIFE),
    Goods(1_000, "KWD", 10**12),
    Goods(3, "USD", 500),
)


class Market:
    """Makes requests with ids that are new, about people and packs of its own. `rates` are the providers'."""

    def __init__(self, brokers: Brokers[MoneyBroker], example: int, rates: Sequence[int | None]) -> None:
        self.prefix = f"x{example}x"
        self._brokers = brokers
        self._numbers = count(1)
        self._packs: dict[tuple[int, int], Pack] = {}
        self._services = [self._new_seller(number, rate) for number, rate in enumerate(rates)]
        self.sellers = {
            service.service: SimpleNamespace(provider_id=service.provider_id, basis_points=rate, suspended=False)
            for service, rate in zip(self._services, rates, strict=True)
        }
        self.provider_ids = [service.provider_id for service in self._services]
        self.account_ids = [account_id_for(self._customer_id(name), f"open {number}") for name, number in OWNERS]

    def new_id(self) -> str:
        return f"{self.prefix}{next(self._numbers)}"

    def opening(self, number: int) -> ask.OpenAccount:
        name, seller = OWNERS[number]
        service = self._services[seller]
        return ask.OpenAccount(
            request_id=f"open {seller}",
            account_id=self.account_ids[number],
            customer_id=self._customer_id(name),
            provider_id=service.provider_id,
            service=service.service,
            service_retired=False,
            trial_credits=service.trial_credits,
            token_hash=self.new_id(),
        )

    def pack(self, seller: int, number: int) -> Pack:
        """Returns a pack, which is put on sale when it is first asked for."""
        if (seller, number) not in self._packs:
            terms = GOODS[number]
            directory = self._brokers.both[0].directory
            creation = directory.create_pack(
                request_id=self.new_id(),
                service=self._services[seller],
                title="a pack",
                pack_credits=terms.credits,
                currency=terms.currency,
                price_minor_units=terms.price,
                validity=terms.validity,
            )
            self._packs[seller, number], _ = self._brokers.run(creation)
        return self._packs[seller, number]

    def start(self, number: int, pack: Pack, *, saves_method: bool) -> Start:
        return Start(self.new_id(), self.account_ids[number], pack, saves_method=saves_method)

    def own_pack(self, number: int, goods: int) -> Pack:
        """Returns a pack of the service that an account is for."""
        return self.pack(OWNERS[number][1], goods)

    def reserve(self, number: int, amount: int) -> ask.Reserve:
        return ask.Reserve(
            request_id=self.new_id(),
            account_id=self.account_ids[number],
            provider_id=self.provider_ids[OWNERS[number][1]],
            provider_suspended=False,
            credits=amount,
            ttl=LIFE,
            default_ttl=LIFE,
            max_ttl=LIFE,
            description="work",
            metadata={},
        )

    def charge(self, number: int, amount: int) -> ask.Charge:
        provider_id = self.provider_ids[OWNERS[number][1]]
        return ask.Charge(self.new_id(), self.account_ids[number], provider_id, False, amount, "work", {})

    def end(
        self, what: str, first: ask.Reserve | ask.Charge, amount: int | None
    ) -> ask.Capture | ask.Release | ask.Refund:
        scope = (self.new_id(), first.account_id, first.provider_id, first.reservation_id)
        match what:
            case "release":
                return ask.Release(*scope, "no work")
            case "refund":
                return ask.Refund(*scope, amount or None, "bad work")
            case _:
                return ask.Capture(*scope, amount, keep_open=what == "capture a part")

    def grant(self, number: int, amount: int, life: timedelta | None) -> ask.GrantCredits:
        end: datetime | None = None if life is None else self._brokers.time + life
        return ask.GrantCredits(
            self.new_id(), self.account_ids[number], amount, GrantKind.PROMOTIONAL, 100, end, "a gift"
        )

    def change_state(self, number: int, *, suspends: bool) -> ask.ChangeAccountState:
        state = AccountState.SUSPENDED if suspends else AccountState.ACTIVE
        return ask.ChangeAccountState(self.account_ids[number], state, "a reason", self.new_id())

    def refund_purchase(self, first: Start) -> RefundPurchase:
        return RefundPurchase(self.new_id(), first.account_id, first.purchase_id, "sorry")

    def settle_refund(self, first: RefundPurchase) -> SettleRefund:
        return SettleRefund(self.new_id(), first.account_id, first.purchase_id, first.refund_id, "by bank")

    def pay_out(self, provider_id: str, currency: str) -> CreatePayout:
        return CreatePayout(self.new_id(), provider_id, currency)

    def resolve(self, payout: CreatePayout, *, paid: bool) -> ResolvePayout:
        state = PayoutState.PAID if paid else PayoutState.FAILED
        return ResolvePayout(self.new_id(), payout.payout_id, state, f"bank {payout.request_id}")

    def told(self, start: Start, kind: PaymentNoticeKind, fault: str, due: int, left: int, refund_id: str) -> Tell:
        """Returns a notice of a purchase, as it should be but for what is wrong about it; amounts in minor units."""
        wrong = {"no amount": None, "one more": due + 1, "one less": due - 1, "what is left": left}
        currency = "CHF" if fault == "other currency" else start.pack.currency
        own = GATEWAYS[start.pack.currency]
        other = next(name for name in GATEWAYS.values() if name != own)
        notice = GatewayNotice(
            gateway_event_id=self.new_id(),
            kind=kind,
            purchase_id=f"{start.purchase_id[:-4]}0000" if fault == "unknown" else start.purchase_id,
            refund_id=refund_id,
            currency=None if fault == "no amount" else currency,
            amount_minor_units=wrong.get(fault, due),
            method=METHOD if kind is PaymentNoticeKind.SUCCEEDED else None,
        )
        return Tell(other if fault == "other gateway" else own, notice)

    def _new_seller(self, number: int, rate: int | None) -> Service:
        directory, run = self._brokers.both[0].directory, self._brokers.run
        registration = directory.register_provider(
            request_id=self.new_id(), name="seller", commission_basis_points=rate
        )
        provider, _ = run(registration)
        service, _ = run(
            directory.create_service(
                request_id=self.new_id(),
                provider_id=provider.provider_id,
                service=f"{self.prefix}s{number}",
                title="a service",
                description="",
                unit_name="",
                trial_credits=2 * number,
                default_ttl=None,
                max_ttl=None,
            )
        )
        return service

    def _customer_id(self, name: str) -> str:
        return f"{self.prefix}{name}"
