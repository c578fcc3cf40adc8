"""What the naive model keeps of an account: what happened, and nothing that can be summed up from it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from operator import attrgetter

from broker_service.domain.commands import PackTerms
from broker_service.domain.records import MAX_BALANCE, AccountState, EntryKind, GrantKind, PurchaseState
from broker_service.domain.records import ReservationState as State


class Refused(Exception):
    """A command is refused; the argument is the reason."""


def refuse_if(condition: bool, reason: str) -> None:
    if condition:
        raise Refused(reason)


@dataclass(eq=False)
class Part:
    """What one reservation has had of one grant."""

    grant: "Grant"
    reserved: int = 0
    captured: int = 0
    released: int = 0
    refunded: int = 0
    open = property(lambda it: it.reserved - it.captured - it.released)


class Parted:
    """What sums up its parts: a reservation has parts of grants, a grant has the same parts by reservation."""

    parts: list[Part]
    captured_credits = property(lambda it: sum(part.captured for part in it.parts))
    released_credits = property(lambda it: sum(part.released for part in it.parts))
    refunded_credits = property(lambda it: sum(part.refunded for part in it.parts))
    open_credits = property(lambda it: sum(part.open for part in it.parts))


@dataclass(eq=False)
class Grant(Parted):
    """Credits put on an account; `gone_credits` of them have expired."""

    grant_id: str
    kind: GrantKind
    priority: int
    credits: int
    expire_time: datetime | None
    create_time: datetime
    parts: list[Part] = field(default_factory=list, repr=False)
    gone_credits: int = 0
    remaining_credits = property(lambda it: it.credits - it.gone_credits - it.captured_credits + it.refunded_credits)
    reserved_credits = property(lambda it: it.open_credits)
    free_credits = property(lambda it: it.remaining_credits - it.reserved_credits)

    @property
    def order_of_use(self) -> tuple[int, datetime, bool, datetime, str]:
        """Lowest priority, earliest expiry, trial and promotional before paid, oldest; by the id among equals."""
        expire_time = self.expire_time or datetime.max.replace(tzinfo=UTC)
        return self.priority, expire_time, self.kind is GrantKind.PAID, self.create_time, self.grant_id


@dataclass(eq=False)
class Reservation(Parted):
    provider_id: str
    create_time: datetime
    expire_time: datetime
    parts: list[Part] = field(default_factory=list)
    state: State = State.ACTIVE
    resolve_time: datetime | None = None
    reserved_credits = property(lambda it: sum(part.reserved for part in it.parts))
    refundable_credits = property(lambda it: it.captured_credits - it.refunded_credits)

    def resolve(self, state: State, resolve_time: datetime) -> int:
        """Gives back all that is open; returns how many credits."""
        released_credits = int(self.open_credits)
        for part in self.parts:
            part.released += part.open
        self.state, self.resolve_time = state, resolve_time
        return released_credits


@dataclass(eq=False)
class Purchase:
    pack: PackTerms
    create_time: datetime
    state: PurchaseState = PurchaseState.PENDING
    pay_time: datetime | None = None
    credits = property(lambda it: it.pack.credits)
    provider_share_minor_units = property(lambda it: it.pack.price_minor_units - it.commission_minor_units)

    @property
    def commission_minor_units(self) -> int:
        exact = Decimal(self.pack.price_minor_units) * self.pack.commission_basis_points / 10_000
        return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


@dataclass(eq=False)
class Account:
    customer_id: str
    service: str
    create_time: datetime
    last_change: datetime
    state: AccountState = AccountState.ACTIVE
    grants: dict[str, Grant] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    purchases: dict[str, Purchase] = field(default_factory=dict)
    entries: list[tuple[EntryKind, int]] = field(default_factory=list)
    # The end of each token, by its hash.
    tokens: dict[str, datetime | None] = field(default_factory=dict)
    # By command and request_id: the parameters, and the credits captured, released and refunded.
    answered: dict[tuple[type, str], tuple[object, tuple[int, int, int]]] = field(default_factory=dict)
    ledger_credits = property(lambda it: sum(amount for _, amount in it.entries))
    reserved_credits = property(lambda it: sum(row.open_credits for row in it.reservations.values()))
    available_credits = property(lambda it: it.ledger_credits - it.reserved_credits)

    def settle(self, now: datetime) -> None:
        """Writes down what time has done: to reservations first, then to what they leave of grants."""
        for row in self.reservations.values():
            if row.state is State.ACTIVE and now >= row.expire_time:
                row.resolve(State.EXPIRED, row.expire_time)
                self.last_change = now
        for grant in self.grants.values():
            if grant.expire_time is not None and now >= grant.expire_time and grant.free_credits:
                self.entries.append((EntryKind.EXPIRY, -grant.free_credits))
                grant.gone_credits += grant.free_credits
                self.last_change = now

    def receive(self, kind: EntryKind, amount: int) -> None:
        refuse_if(self.ledger_credits + amount > MAX_BALANCE, "BALANCE_OVERFLOW")
        self.entries.append((kind, amount))

    def set_aside(self, row: Reservation, amount: int) -> None:
        """Adds credits to a reservation: one part per grant, and those with open credits in the order of use."""
        refuse_if(amount > self.available_credits, "INSUFFICIENT_CREDITS")
        for grant in sorted(self.grants.values(), key=attrgetter("order_of_use")):
            added = min(amount, grant.free_credits)
            amount -= added
            if added and not any(part.grant is grant for part in row.parts):
                row.parts.append(Part(grant))
                grant.parts.append(row.parts[-1])
            for part in row.parts:
                part.reserved += added if part.grant is grant else 0
        captured = [part for part in row.parts if not part.open]
        row.parts = captured + sorted((part for part in row.parts if part.open), key=attrgetter("grant.order_of_use"))

    def capture(self, row: Reservation, amount: int) -> None:
        refuse_if(amount > row.open_credits, "CAPTURE_EXCEEDS_RESERVATION")
        if amount:
            self.entries.append((EntryKind.CAPTURE, -amount))
        for part in row.parts:
            captured = min(amount, part.open)
            part.captured += captured
            amount -= captured

    def refund(self, row: Reservation, amount: int) -> None:
        """Gives back to the last part first; what comes back to an expired grant is gone when it is settled next."""
        refuse_if(not 0 < amount <= row.refundable_credits, "REFUND_EXCEEDS_CAPTURE")
        self.receive(EntryKind.REFUND, amount)
        for part in reversed(row.parts):
            refunded = min(amount, part.captured - part.refunded)
            part.refunded += refunded
            amount -= refunded
