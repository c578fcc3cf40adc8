"""What is asked, and when: drawn by Hypothesis, with small numbers and short times, so that edges are met often.

There are few rules, each for several commands: Hypothesis leaves some rules out of each example.
"""

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker_service.domain import commands as ask
from broker_service.domain import purchase_commands as sales
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.records import MAX_CREDITS, GrantKind
from tests.ledger_model.brokers import Broker, Brokers
from tests.ledger_model.changes import about_another, with_a_change
from tests.ledger_model.comparison import Comparison
from tests.ledger_model.requests import MAX_TTL, OWNERS, SECOND, TICK, Asked, Making, Requests

rarely = st.integers(0, 15).map(lambda drawn: drawn == 15)
waiting = st.integers(0, 2).map(lambda drawn: drawn == 2)
# The accounts' numbers; most happens on the first.
whose = st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3])
# How far back among what was made, and among all that was asked.
which = st.integers(0, 4)
recent = st.integers(0, 15)
amounts = st.sampled_from([*[1, 2, 3, 4, 5] * 4, MAX_CREDITS])
some = st.sampled_from([None, 0, 1, 1, 2, 3, 4])
spans = st.sampled_from([*[MAX_TTL, MAX_TTL, None, SECOND, MAX_TTL - TICK] * 3, MAX_TTL + TICK])
kinds = st.sampled_from([GrantKind.PROMOTIONAL, GrantKind.TRIAL])
priorities = st.sampled_from([100, 99, 101])
lives = st.sampled_from([*[None, None, SECOND, SECOND, 2 * SECOND, 3 * SECOND] * 2, timedelta()])
# How far back from the newest a token is that is looked up; None: what the last look-up has told.
tokens = st.sampled_from([0, 0, 0, 1, 2, None, None])
# Price in minor units, commission in basis points.
pack_terms = st.tuples(st.sampled_from([0, 1, 2, 3, 999, 10**12]), st.sampled_from([0, 1, 2500, 5000, 10_000]))
troubles = st.sampled_from([None] * 20 + ["service", "archived", "service_retired", "provider_suspended"])
steps = st.sampled_from([*[SECOND] * 4, 2 * SECOND, 4 * SECOND, TICK, SECOND - TICK, -TICK, -SECOND, -3 * SECOND])
gifts = st.lists(st.tuples(amounts, kinds, priorities, lives), max_size=4)


class LedgerMachine(RuleBasedStateMachine):
    """A command is executed at once, or waits to arrive together with those behind it."""

    def __init__(self, brokers: Brokers[Broker]) -> None:
        super().__init__()
        self.brokers = brokers
        self.requests = Requests(brokers.begin_example(), brokers.shards)
        self.comparison = Comparison(brokers, self.requests.account_ids)
        self.asked: list[ask.Command] = []
        self.reserved: list[Making] = []
        self.made: list[Making] = []
        self.bought: list[sales.StartPurchase] = []
        self.waiting: list[ask.Command] = []
        self.known: dict[int, KnownToken | None] = {}
        self.agrees = True

    @initialize(gifts=gifts)
    def start(self, gifts: list[tuple[int, GrantKind, int, timedelta | None]]) -> None:
        for number in range(len(OWNERS) - 1):
            self._ask(self.requests.open(number), waits=True)
        for gift in gifts:
            self.grant(0, *gift, waits=True)
        self.make("charge", 0, 2, None, token=None, suspended=False, waits=True)
        self.make("reserve", 0, 3, MAX_TTL, token=None, suspended=False, waits=False)

    @rule(
        what=st.sampled_from(["reserve", "reserve", "reserve", "charge"]),
        number=whose,
        amount=amounts,
        ttl=spans,
        token=tokens,
        suspended=rarely,
        waits=waiting,
    )
    def make(
        self,
        what: str,
        number: int,
        amount: int,
        ttl: timedelta | None,
        *,
        token: int | None,
        suspended: bool,
        waits: bool,
    ) -> None:
        command: Making
        known = self._known(number, token)
        if what == "reserve":
            command = self.requests.reserve(number, amount, ttl, known, suspended=suspended)
        else:
            command = self.requests.charge(number, amount, known, suspended=suspended)
        self._ask(command, waits)
        if waits or self.comparison.last_was_answered:
            self.made.append(command)
            if what == "reserve":
                self.reserved.append(command)

    @rule(back=which, amount=some, keep_open=st.booleans(), waits=waiting)
    def capture(self, back: int, amount: int | None, keep_open: bool, waits: bool) -> None:
        first = _counted_back(self.reserved, back)
        self._ask(self.requests.capture(first, amount, keep_open=keep_open), waits)

    @rule(what=st.sampled_from(["release", "refund"]), back=which, amount=some, waits=waiting)
    def give_back(self, what: str, back: int, amount: int | None, waits: bool) -> None:
        if what == "release":
            self._ask(self.requests.release(_counted_back(self.reserved, back)), waits)
        else:
            # At least 1, by a field rule.
            self._ask(self.requests.refund(_counted_back(self.made, back), amount or None), waits)

    @rule(back=which, ttl=spans, amount=st.just(0) | amounts, suspended=rarely, waits=waiting)
    def extend(self, back: int, ttl: timedelta | None, amount: int, suspended: bool, waits: bool) -> None:
        # One of the two is given, by a field rule.
        ttl = SECOND if ttl is None and not amount else ttl
        self._ask(self.requests.extend(_counted_back(self.reserved, back), ttl, amount, suspended=suspended), waits)

    @rule(number=whose, amount=amounts, kind=kinds, priority=priorities, life=lives, waits=waiting)
    def grant(
        self, number: int, amount: int, kind: GrantKind, priority: int, life: timedelta | None, waits: bool
    ) -> None:
        expire_time = None if life is None else self.brokers.time + life
        self._ask(self.requests.grant(number, amount, kind, priority, expire_time), waits)

    @rule(
        number=whose,
        amount=amounts,
        validity=lives,
        terms=pack_terms,
        trouble=troubles,
        token=tokens,
        pays=st.booleans(),
    )
    def start_purchase(
        self,
        number: int,
        amount: int,
        validity: timedelta | None,
        terms: tuple[int, int],
        *,
        trouble: str | None,
        token: int | None,
        pays: bool,
    ) -> None:
        """Pays in the same batch, or leaves it for later."""
        known = self._known(number, token)
        self.bought.append(self.requests.start_purchase(number, amount, validity or None, *terms, trouble, token=known))
        self._ask(self.bought[-1], waits=pays)
        if pays:
            self.resolve_payment(0, fails=False, waits=False)

    @rule(back=which, fails=rarely, waits=waiting)
    def resolve_payment(self, back: int, fails: bool, waits: bool) -> None:
        if self.bought:
            purchase = _counted_back(self.bought, back)
            self._ask(self.requests.resolve_payment(purchase, succeeded=not fails), waits)

    @rule(
        what=st.sampled_from(["sweep", "suspend", "resume", "rotate token", "open", "open retired"]),
        number=whose,
        seconds=st.integers(0, 3),
        waits=waiting,
    )
    def administer(self, what: str, number: int, seconds: int, waits: bool) -> None:
        command: ask.Command
        match what:
            case "sweep":
                command = self.requests.settle(number)
            case "suspend" | "resume":
                command = self.requests.change_state(number, suspends=what == "suspend")
            case "rotate token":
                command = self.requests.rotate_token(number, seconds * SECOND)
            case _:
                command = self.requests.open(number, retired=what == "open retired")
        self._ask(command, waits)

    @rule(
        what=st.sampled_from(["same", "another try", "changed", "changed", "about another"]),
        back=recent,
        choice=st.integers(0, 9),
        waits=waiting,
    )
    def ask_again(self, what: str, back: int, choice: int, waits: bool) -> None:
        command = _counted_back(self.asked, back)
        if isinstance(command, ask.ChangeAccountState):
            what = "another try"
        match what:
            case "another try":
                command = self.requests.another_try(command)
            case "changed":
                command = self.requests.another_try(with_a_change(command, choice))
            case "about another":
                command = about_another(command, _counted_back(self.made, choice))
        self._ask(command, waits)

    @rule(step=steps)
    def move_the_clock(self, step: timedelta) -> None:
        self.brokers.time += step
        self._look()

    @rule(step=st.just(timedelta()) | steps)
    def turn_to_the_other_broker(self, step: timedelta) -> None:
        """The other one has not seen what time it was meanwhile, should the clock step back."""
        self.comparison.turn_to_the_other_broker()
        self.move_the_clock(step)

    def teardown(self) -> None:
        # What has failed already is not to be hidden by what follows from it.
        try:
            if self.agrees:
                self._execute()
                self.agrees = False
                self.comparison.close_the_books()
                self.agrees = True
        finally:
            if not self.agrees:
                self.brokers.open_anew()

    def _known(self, number: int, back: int | None) -> KnownToken | None:
        if back is not None:
            self.known[number] = self.comparison.look_up(self.requests.account_ids[number], back)
        return self.known.get(number)

    def _look(self) -> None:
        self.agrees = False
        self.comparison.look()
        self.agrees = True

    def _ask(self, command: ask.Command, waits: bool) -> None:
        self.asked.append(command)
        self.waiting.append(command)
        if not waits:
            self._execute()

    def _execute(self) -> None:
        commands, self.waiting = self.waiting, []
        if commands:
            self.agrees = False
            self.comparison.execute(commands)
            self.agrees = True


def _counted_back(asked: Sequence[Asked], back: int) -> Asked:
    return asked[-1 - back % len(asked)]
