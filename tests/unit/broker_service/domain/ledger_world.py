"""One account, its book, and short ways to ask it for things."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from broker_service.domain.book import Book, Changes
from broker_service.domain.commands import Capture, Command, Release, Reserve
from broker_service.domain.decide import Result, decide_batch
from broker_service.domain.errors import Refusal
from broker_service.domain.records import (
    DEFAULT_TTL,
    MAX_TTL,
    Account,
    AccountState,
    Balance,
    Grant,
    GrantKind,
    Reservation,
)
from broker_service.domain.reservations import ReservationResult

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ACCOUNT = "acc_" + "a" * 24
PROVIDER = "prv_p"


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class World:
    """A book that keeps all it ever saw, as a database would, and the time."""

    book: Book
    now: datetime = START
    written: list[Changes] = field(default_factory=list)

    @property
    def account(self) -> Account:
        assert self.book.account is not None
        return self.book.account

    @property
    def balance(self) -> Balance:
        return self.account.balance

    def decide(self, *commands: Command) -> list[Result | Refusal]:
        verdict = decide_batch({ACCOUNT: self.book}, commands, self.now)
        self.written.extend(verdict.changes)
        return list(verdict.outcomes)

    def do(self, command: Command) -> ReservationResult:
        (outcome,) = self.decide(command)
        if isinstance(outcome, Refusal):
            raise outcome
        assert isinstance(outcome, ReservationResult)
        return outcome

    def reserve(self, amount: int, **changes: object) -> Reservation:
        return self.do(reserve(amount, **changes)).reservation

    def look(self) -> Balance:
        """What anybody sees now: expiry has been taken into account."""
        self.decide()
        return self.balance


def grant(
    amount: int,
    name: str = "g",
    *,
    kind: GrantKind = GrantKind.PAID,
    priority: int = 100,
    expire_time: datetime | None = None,
    create_time: datetime = START,
) -> Grant:
    return Grant(ACCOUNT, name, kind, priority, amount, amount, 0, expire_time, None, create_time)


def world(*grants: Grant, state: AccountState = AccountState.ACTIVE) -> World:
    total = sum(each.credits for each in grants)
    account = Account(ACCOUNT, "cus_c", PROVIDER, "sms", state, total, 0, len(grants), START, START)
    return World(Book(ACCOUNT, account, grants={each.grant_id: each for each in grants}))


def reserve(amount: int, **changes: object) -> Reserve:
    values: dict[str, object] = {
        "request_id": new_id(),
        "account_id": ACCOUNT,
        "provider_id": PROVIDER,
        "provider_suspended": False,
        "credits": amount,
        "ttl": None,
        "default_ttl": DEFAULT_TTL,
        "max_ttl": MAX_TTL,
        "description": "",
        "metadata": {},
    }
    return Reserve(**values | changes)  # type: ignore[arg-type]


def capture(
    reservation: Reservation, amount: int | None = None, *, keep_open: bool = False, **changes: object
) -> Capture:
    values: dict[str, object] = {
        "request_id": new_id(),
        "account_id": ACCOUNT,
        "provider_id": PROVIDER,
        "reservation_id": reservation.reservation_id,
        "credits": amount,
        "keep_open": keep_open,
    }
    return Capture(**values | changes)  # type: ignore[arg-type]


def release(reservation: Reservation, **changes: object) -> Release:
    values: dict[str, object] = {
        "request_id": new_id(),
        "account_id": ACCOUNT,
        "provider_id": PROVIDER,
        "reservation_id": reservation.reservation_id,
        "reason": "",
    }
    return Release(**values | changes)  # type: ignore[arg-type]
