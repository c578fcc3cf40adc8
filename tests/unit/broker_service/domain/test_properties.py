"""Whatever is asked of an account, in whatever order and at whatever time, these hold."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_service.domain.commands import Command
from broker_service.domain.errors import Refusal
from broker_service.domain.operator_grants import GrantResult
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.records import Counterpart, GrantKind, Reservation, ReservationState
from tests.unit.broker_service.domain.ledger_world import (
    START,
    World,
    capture,
    charge,
    extend,
    gift,
    grant,
    refund,
    release,
    reserve,
    world,
)

amounts = st.integers(min_value=0, max_value=12)
grants = st.lists(
    st.tuples(st.integers(1, 10), st.sampled_from(GrantKind), st.integers(0, 3), st.none() | st.integers(1, 60)),
    min_size=1,
    max_size=4,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(1, 12), st.integers(1, 40)),
        st.tuples(st.just("capture"), st.none() | amounts, st.integers(0, 7), st.booleans()),
        st.tuples(st.just("release"), st.integers(0, 7)),
        st.tuples(st.just("charge"), st.integers(1, 12)),
        st.tuples(st.just("extend"), st.integers(1, 6), st.none() | st.integers(1, 40), st.integers(0, 7)),
        st.tuples(st.just("refund"), st.none() | st.integers(1, 12), st.integers(0, 7)),
        st.tuples(st.just("gift"), st.integers(1, 10), st.integers(0, 3), st.none() | st.integers(1, 60)),
        st.tuples(st.just("wait"), st.integers(-5, 20)),
        st.tuples(st.just("again"), st.integers(0, 30)),
    ),
    max_size=40,
)

Outcome = ReservationResult | GrantResult | Refusal


class Run:
    """Carries out steps and checks the books after each."""

    def __init__(self, it: World) -> None:
        self.it = it
        self.granted_credits = it.balance.ledger_credits
        self.made: list[Reservation] = []
        self.asked: list[tuple[Command, Outcome]] = []
        self.resolved: dict[str, ReservationState] = {}

    def step(self, kind: str, *values: object) -> None:
        command = self._command(kind, *values)
        if command is not None:
            self._ask(command)
        self.it.look()
        self._check()

    def _command(self, kind: str, *values: object) -> Command | None:  # noqa: PLR0911 - one case for each step
        match kind, values:
            case "reserve", (int(amount), int(seconds)):
                return reserve(amount, ttl=timedelta(seconds=seconds))
            case "capture", (amount, int(index), bool(keep_open)) if self.made:
                assert amount is None or isinstance(amount, int)
                return capture(self.made[index % len(self.made)], amount, keep_open=keep_open)
            case "release", (int(index),) if self.made:
                return release(self.made[index % len(self.made)])
            case "charge", (int(amount),):
                return charge(amount)
            case "extend", (int(amount), seconds, int(index)) if self.made:
                ttl = timedelta(seconds=seconds) if isinstance(seconds, int) else None
                return extend(self.made[index % len(self.made)], amount, ttl=ttl)
            case "refund", (amount, int(index)) if self.made:
                assert amount is None or isinstance(amount, int)
                return refund(self.made[index % len(self.made)], amount)
            case "gift", (int(amount), int(priority), seconds):
                end = self.it.now + timedelta(seconds=seconds) if isinstance(seconds, int) else None
                return gift(amount, priority=priority, expire_time=end)
            case "again", (int(index),) if self.asked:
                return self.asked[index % len(self.asked)][0]
            case "wait", (int(seconds),):
                self.it.now += timedelta(seconds=seconds)
        return None

    def _ask(self, command: Command) -> None:
        before = dict(self.asked_results(command))
        balance = self.it.look()
        (outcome,) = self.it.decide(command)
        assert isinstance(outcome, Outcome)
        if isinstance(outcome, Refusal):
            assert self.it.balance == balance, "a refusal changed the balance"
        elif before:
            assert outcome.replayed
            assert self.it.balance == balance, "a replay changed the balance"
        else:
            assert not outcome.replayed
            self.asked.append((command, outcome))
            if isinstance(outcome, ReservationResult) and not any(
                outcome.reservation.reservation_id == made.reservation_id for made in self.made
            ):
                self.made.append(outcome.reservation)

    def asked_results(self, command: Command) -> list[tuple[int, Outcome]]:
        return [(index, outcome) for index, (asked, outcome) in enumerate(self.asked) if asked is command]

    def _check(self) -> None:
        balance = self.it.balance
        assert balance.available_credits >= 0
        assert balance.reserved_credits >= 0
        entries = [entry for changes in self.it.written for entry in changes.entries]
        assert self.granted_credits + sum(entry.credits for entry in entries) == balance.ledger_credits
        assert [entry.sequence for entry in entries] == list(
            range(self.it.account.entry_count - len(entries) + 1, self.it.account.entry_count + 1)
        )
        assert all(earlier.time <= later.time for earlier, later in pairwise(entries))
        redeemed = -sum(entry.credits for entry in entries if entry.counterpart is Counterpart.REDEEMED)
        rows = self.it.book.reservations.values()
        assert sum(row.captured_credits - row.refunded_credits for row in rows) == redeemed
        open_credits = sum(row.open_credits for row in rows)
        assert open_credits == balance.reserved_credits
        for row in rows:
            assert 0 <= row.refunded_credits <= row.captured_credits <= row.reserved_credits
            assert len({part.grant_id for part in row.allocations}) == len(row.allocations)
            if row.state is ReservationState.ACTIVE:
                assert row.reservation_id not in self.resolved
            else:
                assert self.resolved.setdefault(row.reservation_id, row.state) is row.state, "resolved twice"


@settings(max_examples=300, deadline=None)
@given(grants, steps)
def test_available_is_never_negative_books_sum_to_zero_and_each_reservation_resolves_once(
    given_grants: list[tuple[int, GrantKind, int, int | None]], given_steps: list[tuple[str, ...]]
) -> None:
    run = Run(
        world(
            *(
                grant(
                    amount,
                    f"g{index}",
                    kind=kind,
                    priority=priority,
                    expire_time=None if seconds is None else START + timedelta(seconds=seconds),
                )
                for index, (amount, kind, priority, seconds) in enumerate(given_grants)
            )
        )
    )
    for kind, *values in given_steps:
        run.step(kind, *values)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.lists(st.integers(1, 10), max_size=30))
def test_reservers_of_one_batch_never_take_more_than_is_there(available: int, asked: list[int]) -> None:
    it = world(grant(available))
    outcomes = it.decide(*(reserve(amount) for amount in asked))
    taken = [outcome.reservation.reserved_credits for outcome in outcomes if isinstance(outcome, ReservationResult)]
    assert sum(taken) == it.balance.reserved_credits <= available
