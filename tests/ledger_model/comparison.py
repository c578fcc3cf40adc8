"""The engine and the naive model side by side: both get the same commands, and must answer the same."""

import copy
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from broker_service.domain.commands import Command, Settle
from broker_service.domain.identities import shard_of
from broker_service.domain.known_tokens import KnownToken
from tests.ledger_model.brokers import Broker, Brokers
from tests.ledger_model.figures import RESERVATION, Figures, book_figures, figures_of
from tests.ledger_model.naive_model import Account, NaiveLedger


class Comparison:
    """Two brokers on one database, one of whom is asked, and the model, which knows what time it is for each."""

    def __init__(self, brokers: Brokers[Broker], account_ids: Sequence[str]) -> None:
        self._brokers = brokers
        self._turn = 0
        self._model = NaiveLedger()
        start = brokers.time
        # The latest instant that a broker knows of in a shard.
        self._latest: defaultdict[tuple[int, int], datetime] = defaultdict(lambda: start)
        self.last_was_answered = True
        for broker in brokers.both:
            broker.look_at_the_clock(account_ids)

    @property
    def _broker(self) -> Broker:
        return self._brokers.both[self._turn]

    def turn_to_the_other_broker(self) -> None:
        self._turn = 1 - self._turn

    def look_up(self, account_id: str, back: int) -> KnownToken | None:
        """Returns what a look-up tells now of a token of an account, counted back from its newest; None without any."""
        account = self._model.accounts.get(account_id)
        if account is None:
            return None
        ends = list(account.tokens.values())
        return KnownToken(len(ends) - 1, ends[-1 - back % len(ends)])

    def execute(self, commands: list[Command]) -> None:
        """Has commands executed that arrive together; they make one batch of each shard that they are about."""
        answers, commits = self._broker.execute(commands)
        expected, batches = self._expected(commands)
        for command, answer, expected_answer in zip(commands, answers, expected, strict=True):
            refuse_differences(answer, expected_answer, f"the answer to {command}")
        assert commits == batches, f"{commands} made {commits} batches, expected {batches}"
        self.last_was_answered = "reason" not in answers[-1]

    def look(self) -> None:
        """Compares what is read of all accounts."""
        accounts = {account_id: self._as_of_now(account_id) for account_id in self._model.accounts}
        expected = {
            account_id: {
                "book": book_figures(account, account.grants),
                "reservations": {key: figures_of(row, RESERVATION) for key, row in account.reservations.items()},
            }
            for account_id, account in accounts.items()
        }
        refuse_differences(self._broker.read(accounts), expected, "what is read")

    def close_the_books(self) -> None:
        """Compares all entries, and audits."""
        account_ids = list(self._model.accounts)
        self.execute([Settle(account_id) for account_id in account_ids])
        self.look()
        sums = {account_id: _entry_sums(account) for account_id, account in self._model.accounts.items()}
        refuse_differences(self._broker.entry_sums(account_ids), sums, "what the entries come to")
        # What another example has left behind is not to be found again.
        violations = [found for found in self._broker.violations() if found.account_id in {"", *account_ids}]
        assert not violations, f"the audit found {violations}"

    def _expected(self, commands: list[Command]) -> tuple[list[Figures], int]:
        """Returns the model's answers, and how many batches it took."""
        answers: dict[int, Figures] = {}
        indices_of_shards: defaultdict[int, list[int]] = defaultdict(list)
        for index, command in enumerate(commands):
            indices_of_shards[shard_of(command.account_id, self._brokers.shards)].append(index)
        for shard, indices in indices_of_shards.items():
            account_ids = {commands[index].account_id for index in indices} & self._model.accounts.keys()
            accounts = [self._model.accounts[account_id] for account_id in account_ids]
            now = max([self._now(shard), *(account.last_change for account in accounts)])
            self._latest[self._turn, shard] = now
            for account in accounts:
                account.settle(now)
            answers.update({index: self._model.answer(commands[index], now) for index in indices})
        return [answers[index] for index in range(len(commands))], len(indices_of_shards)

    def _now(self, shard: int) -> datetime:
        """Returns the present instant for the broker that is asked, which takes note of it."""
        now = self._latest[self._turn, shard] = max(self._brokers.time, self._latest[self._turn, shard])
        return now

    def _as_of_now(self, account_id: str) -> Account:
        account = copy.deepcopy(self._model.accounts[account_id])
        account.settle(max(self._now(shard_of(account_id, self._brokers.shards)), account.last_change))
        return account


def refuse_differences(found: Figures, expected: Figures, what: str) -> None:
    differences = list(_differences(found, expected))
    if differences:
        raise AssertionError(f"{what} differs: {'; '.join(differences)}")


def _differences(found: Any, expected: Any, *path: object) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys(), key=str):
            yield from _differences(found.get(key), expected.get(key), *path, key)
    elif found != expected:
        yield f"{'.'.join(map(str, path))} is {found}, not {expected}"


def _entry_sums(account: Account) -> Figures:
    """Returns how many credits the entries of each kind must have moved, for the account to be as it is."""
    sums: Counter[str] = Counter()
    for grant in account.grants.values():
        sums["PURCHASE" if grant.kind == "PAID" else grant.kind] += grant.credits
        sums["EXPIRY"] -= grant.gone_credits
    for row in account.reservations.values():
        sums["CAPTURE"] -= row.captured_credits
        sums["REFUND"] += row.refunded_credits
    return {kind: amount for kind, amount in sums.items() if amount}
