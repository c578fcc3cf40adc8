"""One account, its book, and short ways to ask it for things."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes, latest_time
from broker_service.domain.commands import Capture, Charge, Command, Extend, GrantCredits, Refund, Release, Reserve
from broker_service.domain.decide import Result, decide_batch
from broker_service.domain.errors import Refusal
from broker_service.domain.operator_grants import GrantResult
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.records import (
    DEFAULT_PRIORITY,
    DEFAULT_TTL,
    MAX_TTL,
    Account,
    AccountState,
    Balance,
    Entry,
    Grant,
    GrantKind,
    Reservation,
)
from broker_service.domain.references import References, references_of

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ACCOUNT = "acc_" + "a" * 24
PROVIDER = "prv_p"


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class World:
    """A book that keeps all it ever saw, as a database would, and the time.

    Commands are decided on what a batch loads of it, and no more.
    """

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
        verdict = decide_batch({ACCOUNT: self._loaded(references_of(commands))}, commands, self.now)
        for changes in verdict.changes:
            self.book.apply(changes)
        self.written.extend(verdict.changes)
        return list(verdict.outcomes)

    def _loaded(self, references: References) -> Book:
        kept, now = self.book, latest_time([self.book], self.now)
        refunds = [kept.reservations[name] for name in references.refunds & kept.reservations.keys()]
        grants = references.grants | {part.grant_id for refunded in refunds for part in refunded.allocations}
        return Book(
            ACCOUNT,
            kept.account,
            grants={name: row for name, row in kept.grants.items() if row.remaining_credits or name in grants},
            reservations={
                name: row
                for name, row in kept.reservations.items()
                if name in references.reservations or row.is_overdue(now)
            },
            operations={name: row for name, row in kept.operations.items() if name in references.operations},
            purchases={name: row for name, row in kept.purchases.items() if name in references.purchases},
            purchase_refunds={
                name: row
                for name, row in kept.purchase_refunds.items()
                if name in references.purchase_refunds or row.purchase_id in references.refunded_purchases
            },
            payment_notices={n: row for n, row in kept.payment_notices.items() if n in references.payment_notices},
            payment_methods=dict(kept.payment_methods) if references.method_accounts else {},
            account_tokens=dict(kept.account_tokens) if references.token_accounts else {},
            trial_claims=dict(kept.trial_claims),
            webhooks={name: row for name, row in kept.webhooks.items() if name in references.webhooks},
        )

    @property
    def entries(self) -> list[Entry]:
        return [entry for changes in self.written for entry in changes.entries]

    def result(self, command: Command) -> Result:
        (outcome,) = self.decide(command)
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def do(self, command: Command) -> ReservationResult:
        outcome = self.result(command)
        assert isinstance(outcome, ReservationResult)
        return outcome

    def give(self, command: GrantCredits) -> GrantResult:
        outcome = self.result(command)
        assert isinstance(outcome, GrantResult)
        return outcome

    def remaining(self) -> dict[str, tuple[int, int]]:
        """Remaining and reserved credits of each grant by its name."""
        return {name: (it.remaining_credits, it.reserved_credits) for name, it in self.book.grants.items()}

    def suspend(self) -> None:
        self.book.account = replace(self.account, state=AccountState.SUSPENDED)

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


def charge(amount: int, **changes: object) -> Charge:
    values: dict[str, object] = {
        "request_id": new_id(),
        "account_id": ACCOUNT,
        "provider_id": PROVIDER,
        "provider_suspended": False,
        "credits": amount,
        "description": "",
        "metadata": {},
    }
    return Charge(**values | changes)  # type: ignore[arg-type]


def extend(reservation: Reservation, additional: int = 0, *, ttl: timedelta | None = None, **changes: object) -> Extend:
    values: dict[str, object] = {
        "request_id": new_id(),
        "account_id": ACCOUNT,
        "provider_id": PROVIDER,
        "provider_suspended": False,
        "reservation_id": reservation.reservation_id,
        "ttl": ttl,
        "max_ttl": MAX_TTL,
        "additional_credits": additional,
    }
    return Extend(**values | changes)  # type: ignore[arg-type]


def refund(reservation: Reservation, amount: int | None = None, **changes: object) -> Refund:
    values: dict[str, object] = {
        "request_id": new_id(),
        "account_id": ACCOUNT,
        "provider_id": PROVIDER,
        "reservation_id": reservation.reservation_id,
        "credits": amount,
        "reason": "",
    }
    return Refund(**values | changes)  # type: ignore[arg-type]


def gift(amount: int, **changes: object) -> GrantCredits:
    values: dict[str, object] = {
        "request_id": new_id(),
        "account_id": ACCOUNT,
        "credits": amount,
        "kind": GrantKind.PROMOTIONAL,
        "priority": DEFAULT_PRIORITY,
        "expire_time": None,
        "reason": "",
    }
    return GrantCredits(**values | changes)  # type: ignore[arg-type]
