"""The ledger as docs/ledger.md and the contract tell it, in the plainest way that can be run.

An oracle for the engine: it shares the commands with it, and no rule, and makes every sum anew when it is asked for.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from types import SimpleNamespace
from typing import Any

from broker_service.domain import commands as ask
from broker_service.domain import purchase_commands as sales
from broker_service.domain.identities import grant_id_for
from broker_service.domain.records import DEFAULT_PRIORITY, MAX_BALANCE, MAX_CREDITS
from tests.ledger_model.figures import Figures, credits_to_set_aside, model_figures, parameters_of, ttl_of
from tests.ledger_model.requests import Ending


@dataclass(eq=False)
class Reservation:
    provider_id: str
    create_time: datetime
    expire_time: datetime
    state: str = "ACTIVE"
    resolve_time: datetime | None = None
    reserved: Counter[str] = field(default_factory=Counter)  # By grant, in the order of use.
    captured: Counter[str] = field(default_factory=Counter)
    refunded: Counter[str] = field(default_factory=Counter)
    open = property(lambda it: it.reserved - it.captured if it.state == "ACTIVE" else Counter())
    reserved_credits = property(lambda it: it.reserved.total())
    captured_credits = property(lambda it: it.captured.total())
    refunded_credits = property(lambda it: it.refunded.total())
    refundable_credits = property(lambda it: it.captured_credits - it.refunded_credits)
    released_credits = property(lambda it: it.reserved_credits - it.captured_credits - it.open.total())


@dataclass(eq=False)
class Grant:
    rows: dict[str, Reservation]  # The account's, by their id.
    priority: int
    grant_id: str
    kind: str
    credits: int
    expire_time: datetime | None
    create_time: datetime
    gone_credits: int = 0
    revoked: bool = False  # What comes back to it is gone at once.
    spent_credits = property(lambda it: sum((row.captured - row.refunded)[it.grant_id] for row in it.rows.values()))
    reserved_credits = property(lambda it: sum(row.open[it.grant_id] for row in it.rows.values()))
    remaining_credits = property(lambda it: it.credits - it.gone_credits - it.spent_credits)
    free_credits = property(lambda it: it.remaining_credits - it.reserved_credits)
    # Lowest priority, earliest expiry, trial and promotional before paid, oldest; by the id among equals.
    expiry = property(lambda it: (it.expire_time is None, it.expire_time))
    order_of_use = property(lambda it: (it.priority, it.expiry, it.kind == "PAID", it.create_time, it.grant_id))


@dataclass(eq=False)
class Account:
    customer_id: str
    service: str
    create_time: datetime
    last_change: datetime
    tokens: dict[str, datetime | None]  # The end of each, by its hash.
    state: str = "ACTIVE"
    grants: dict[str, Grant] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    purchases: dict[str, Any] = field(default_factory=dict)
    answered: dict[Any, Any] = field(default_factory=dict)  # By request: its parameters, and what it moved.
    ledger_credits = property(lambda it: sum(grant.remaining_credits for grant in it.grants.values()))
    reserved_credits = property(lambda it: sum(grant.reserved_credits for grant in it.grants.values()))
    available_credits = property(lambda it: it.ledger_credits - it.reserved_credits)

    def settle(self, now: datetime) -> None:
        """Writes down what time has done: to reservations first, then to what they leave of grants."""
        for row in self.reservations.values():
            if row.state == "ACTIVE" and now >= row.expire_time:
                row.state, row.resolve_time, self.last_change = "EXPIRED", row.expire_time, now
        for grant in self.grants.values():
            expired = grant.expire_time is not None and now >= grant.expire_time
            if grant.free_credits and (expired or grant.revoked):
                grant.gone_credits, self.last_change = grant.gone_credits + grant.free_credits, now

    def add(self, grant_id: str, *terms: Any, priority: int = DEFAULT_PRIORITY) -> None:
        self.grants[grant_id] = Grant(self.reservations, priority, grant_id, *terms)

    def set_aside(self, row: Reservation, amount: int) -> None:
        """Adds to a reservation's parts; those with open credits stand in the order of use, behind the others."""
        grants = sorted(self.grants.values(), key=lambda grant: grant.order_of_use)
        row.reserved += split(amount, [(grant.grant_id, grant.free_credits) for grant in grants])
        order = [key for key in row.reserved if not row.open[key]] + [it.grant_id for it in grants]
        row.reserved = Counter({key: row.reserved[key] for key in order if row.reserved[key]})


def split(amount: int, rooms: Iterable[tuple[str, int]]) -> Counter[str]:
    """Splits an amount in order, to each as much as it has room for."""
    parts: Counter[str] = Counter()
    for key, room in rooms:
        parts[key] = min(amount, room)
        amount -= parts[key]
    return parts


class NaiveLedger:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.trials: set[tuple[str, str]] = set()  # Who has had them, of which service.

    def answer(self, it: Any, now: datetime) -> Figures:
        """Returns the answer, on a settled account. What has no request_id is never the same request again."""
        account, key = self.accounts.get(it.account_id), (type(it), getattr(it, "request_id", object()))
        if reason := next((reason for refuses, reason in refusals(account, it, key, now) if refuses), ""):
            return {"reason": reason}
        if account is None:
            owner = it.customer_id, it.service
            account = self.accounts[it.account_id] = Account(*owner, now, now, {it.token_hash: None})
            if it.trial_credits and owner not in self.trials:
                account.add(grant_id_for(f"TRIAL {it.account_id}"), "TRIAL", it.trial_credits, None, now)
                self.trials.add(owner)
        if not (replays := key in account.answered):
            account.answered[key] = parameters_of(it), carry_out(account, it, now)
            account.settle(now)
        return model_figures(account, it, account.answered[key][1], replays=replays)


def refusals(account: Any, it: Any, key: tuple[type, object], now: datetime) -> Iterator[tuple[Any, str]]:
    """When a command is refused and why, in the contract's order; the first that holds is the answer."""
    row = account and account.reservations.get(getattr(it, "reservation_id", None))
    sale = account and account.purchases.get(getattr(it, "purchase_id", None))
    refund, token = isinstance(it, ask.Refund), getattr(it, "token", None)
    yield isinstance(it, Ending) and not (row and row.provider_id == it.provider_id), "RESERVATION_NOT_FOUND"
    yield isinstance(it, sales.CompleteSandboxPayment) and not sale, "PURCHASE_NOT_FOUND"
    yield not account and not isinstance(it, ask.OpenAccount), "ACCOUNT_NOT_FOUND"
    yield isinstance(it, ask.RotateToken) and it.customer_id != account.customer_id, "ACCOUNT_NOT_FOUND"
    yield token and token.epoch != len(account.tokens) - 1, "TOKEN_OUTDATED"
    yield token and token.expire_time and token.expire_time <= now, "ACCOUNT_NOT_FOUND"
    if account and key in account.answered:
        yield account.answered[key][0] != parameters_of(it), "REQUEST_ID_REUSED"
        return
    yield isinstance(it, ask.GrantCredits) and it.expire_time is not None and it.expire_time <= now, "INVALID_ARGUMENT"
    yield ttl_of(it) is not None and ttl_of(it) > it.max_ttl, "INVALID_ARGUMENT"
    aside, pack = credits_to_set_aside(it), getattr(it, "pack", None)
    yield (aside or pack) and (pack or it).provider_suspended, "PROVIDER_SUSPENDED"
    yield (aside or pack) and account.state == "SUSPENDED", "ACCOUNT_SUSPENDED"
    yield pack and pack.service != account.service, "PACK_OF_OTHER_SERVICE"
    yield getattr(pack or it, "service_retired", False), "SERVICE_RETIRED"
    yield pack and pack.archived, "PACK_ARCHIVED"
    yield sale and sale.state != "PENDING", f"PURCHASE_{sale and sale.state}"
    yield row and not refund and row.state != "ACTIVE", f"RESERVATION_{row and row.state}"
    yield isinstance(it, ask.Capture) and (it.credits or 0) > row.open.total(), "CAPTURE_EXCEEDS_RESERVATION"
    yield refund and (it.credits or 1) > row.refundable_credits, "REFUND_EXCEEDS_CAPTURE"
    yield row and row.reserved_credits + aside > MAX_CREDITS, "INVALID_ARGUMENT"
    yield aside and aside > account.available_credits, "INSUFFICIENT_CREDITS"
    received = it.credits if isinstance(it, ask.GrantCredits) else sale.credits if sale and it.succeeded else 0
    received = it.credits or row.refundable_credits if refund else received
    yield account and account.ledger_credits + received > MAX_BALANCE, "BALANCE_OVERFLOW"


def carry_out(account: Account, it: Any, now: datetime) -> tuple[int, int, int]:
    """Does what a command asks for; returns the credits captured, released and refunded."""
    if isinstance(it, ask.Settle | ask.OpenAccount) or getattr(it, "state", None) == account.state:
        return 0, 0, 0
    account.last_change, account.state = now, getattr(it, "state", account.state)
    match it:
        case ask.GrantCredits():
            account.add(it.grant_id, it.kind, it.credits, it.expire_time, now, priority=it.priority)
        case ask.RotateToken():
            end = now + it.overlap
            account.tokens = {key: min(end, due or end) for key, due in account.tokens.items()} | {it.token_hash: None}
        case sales.StartPurchase():
            price, rate = it.pack.price_minor_units, Decimal(it.pack.commission_basis_points) / 10_000
            cut = int((price * rate).quantize(Decimal(1), ROUND_HALF_UP))
            terms = {"credits": it.pack.credits, "validity": it.pack.validity, "create_time": now, "pay_time": None}
            money = {"commission_minor_units": cut, "provider_share_minor_units": price - cut}
            account.purchases[it.purchase_id] = SimpleNamespace(state="PENDING", **terms, **money)
        case sales.CompleteSandboxPayment(purchase_id=purchase_id, succeeded=succeeded):
            sale = account.purchases[purchase_id]
            sale.state, sale.pay_time = ("PAID", now) if succeeded else ("FAILED", None)
            if succeeded:
                account.add(grant_id_for(purchase_id), "PAID", sale.credits, sale.validity and now + sale.validity, now)
        case _ if hasattr(it, "reservation_id"):
            return move(account, it, now)
    return 0, 0, 0


def move(account: Account, it: Any, now: datetime) -> tuple[int, int, int]:
    row = account.reservations.setdefault(it.reservation_id, Reservation(it.provider_id, now, now))
    account.set_aside(row, credits_to_set_aside(it))
    if isinstance(it, ask.Reserve | ask.Extend):
        row.expire_time = row.expire_time if ttl_of(it) is None else now + ttl_of(it)
        return 0, 0, 0
    if isinstance(it, ask.Refund):
        amount = it.credits or row.refundable_credits
        row.refunded += split(amount, [(key, row.captured[key] - row.refunded[key]) for key in reversed(row.reserved)])
        return 0, 0, amount
    amount = 0 if isinstance(it, ask.Release) else row.open.total() if it.credits is None else it.credits
    row.captured += split(amount, row.open.items())
    if not getattr(it, "keep_open", False):
        row.state, row.resolve_time = "RELEASED" if isinstance(it, ask.Release) else "CAPTURED", now
    return amount, row.released_credits, 0
