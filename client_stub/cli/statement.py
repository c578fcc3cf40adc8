"""An account's statement, and whether its lines add up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iap.broker.v1.account_pb2 import Entry

from client_stub.cli.documents import to_document
from client_stub.cli.tables import count


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Entries, oldest first. With `ledger_credits` they are all there are and must add up to it."""

    entries: Sequence[Entry]
    ledger_credits: int | None = None

    @property
    def sum_credits(self) -> int:
        """What the entries add up to."""
        return sum(entry.credits for entry in self.entries)

    @property
    def agrees(self) -> bool:
        """Whether the entries add up to what the account holds; a part of a statement cannot be wrong in that."""
        return self.ledger_credits is None or self.sum_credits == self.ledger_credits

    def summary(self) -> str:
        """Say in one line what the entries add up to."""
        number, total = len(self.entries), count(self.sum_credits, "credit")
        entries = f"{number} entry" if number == 1 else f"{number} entries"
        if self.ledger_credits is None:
            return f"{entries}, together {self.sum_credits:+d} credits"
        if self.agrees:
            return f"{entries}, together {total}: the sum agrees with the account's ledger credits"
        return f"{entries}, together {total}, but the account's ledger credits are {self.ledger_credits}"

    def to_document(self) -> dict[str, Any]:
        """Return the statement for --json; the last two members are null for a part of a statement."""
        return {
            "entries": [to_document(entry) for entry in self.entries],
            "sum_credits": self.sum_credits,
            "ledger_credits": self.ledger_credits,
            "agrees": None if self.ledger_credits is None else self.agrees,
        }
