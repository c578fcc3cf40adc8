"""What an audit finds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

MOST_VIOLATIONS = 1_000
# A description may quote what a broken row holds.
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Violation:
    """A difference: on which account (empty: the books as a whole), against which rule, and what was found."""

    account_id: str
    rule: str
    description: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the rows of some accounts come to. `counterparts` is the other side of their entries, by counterpart."""

    accounts: int = 0
    entries: int = 0
    ledger_credits: int = 0
    reserved_credits: int = 0
    captured_credits: int = 0
    counterparts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Figures") -> "Figures":
        names = self.counterparts.keys() | other.counterparts.keys()
        return Figures(
            accounts=self.accounts + other.accounts,
            entries=self.entries + other.entries,
            ledger_credits=self.ledger_credits + other.ledger_credits,
            reserved_credits=self.reserved_credits + other.reserved_credits,
            captured_credits=self.captured_credits + other.captured_credits,
            counterparts={it: self.counterparts.get(it, 0) + other.counterparts.get(it, 0) for it in names},
        )


@dataclass(frozen=True, slots=True)
class Page:
    """What one page came to; the next one begins at `next_id`, None if this was the last of its kind.

    `further` reads what else there is to this page, each in a snapshot of its own.
    """

    next_id: str | None
    violations: tuple[Violation, ...]
    figures: Figures = field(default_factory=Figures)
    further: "tuple[ReadPage, ...]" = ()


ReadPage = Callable[[Connection], Page]


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit saw. The books agree if there are no violations."""

    accounts_checked: int
    entries_checked: int
    ledger_credits: int
    reserved_credits: int
    captured_credits: int
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class Findings:
    """What the pages so far come to, in bounded memory however broken the books are."""

    figures: Figures = field(default_factory=Figures)
    violations: list[Violation] = field(default_factory=list)
    unlisted: int = 0

    def list_all(self, violations: Iterable[Violation]) -> None:
        """Lists violations as long as there is room, and counts the others."""
        for violation in violations:
            if len(self.violations) < MOST_VIOLATIONS:
                description = violation.description[:_MOST_CHARACTERS]
                self.violations.append(Violation(violation.account_id, violation.rule, description))
            else:
                self.unlisted += 1

    def as_audit(self) -> Audit:
        """Returns all of it, with a last line for what is not listed."""
        violations = list(self.violations)
        if self.unlisted:
            violations.append(Violation("", "MORE_VIOLATIONS", f"at least {self.unlisted} more are not listed"))
        figures = self.figures
        return Audit(
            accounts_checked=figures.accounts,
            entries_checked=figures.entries,
            ledger_credits=figures.ledger_credits,
            reserved_credits=figures.reserved_credits,
            captured_credits=figures.captured_credits,
            violations=tuple(violations),
        )
