"""What the journal knows of one request, and how that may change."""

import time
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple, TypeAlias

RequestKey: TypeAlias = tuple[bytes, str]
"""What tells a request from all others: a digest of its account's token, and its request_id."""


class Kind(StrEnum):
    """How a request is charged."""

    REQUEST = "request"
    """At once, when its work is done."""
    STREAM = "stream"
    """As it goes, up to what was metered."""


class Step(IntEnum):
    """How far a request has come. Numbered so that the steps from which each may be reached are a range."""

    RELEASED = 1
    """Given up and not charged; the id is used up."""
    FAILED = 2
    """Its credits are to be released."""
    RESERVING = 3
    """Credits may have been reserved; no work has begun."""
    WORKING = 4
    """Work may have begun."""
    DONE = 5
    """The work is done, and its credits are to be captured."""
    UNPAID = 6
    """The work is done, but its reservation ended before it was captured: the output is withheld until it is paid."""
    CAPTURED = 7
    """Done and paid."""


# Whose process has something left to do, whoever asks.
OPEN_STEPS: Final = frozenset({Step.FAILED, Step.RESERVING, Step.WORKING, Step.DONE})

# From which step on each may be reached, up to which. A step reached before may be written again: a try whose commit
# was lost may have made it. Plain numbers, as every move carries both into a statement.
_LOWEST: Final[dict[Step, int]] = {
    Step.WORKING: Step.RESERVING.value,
    Step.DONE: Step.WORKING.value,
    Step.UNPAID: Step.DONE.value,
    Step.CAPTURED: Step.WORKING.value,
    Step.FAILED: Step.FAILED.value,
    Step.RELEASED: Step.RELEASED.value,
}
# What every move to a step carries: is_open, lowest and highest.
_RULES: Final = {
    step: (int(step in OPEN_STEPS), lowest, max(step.value, Step.WORKING.value)) for step, lowest in _LOWEST.items()
}


class Entry(NamedTuple):
    """A row of the table `requests`, its columns in order; tables.py describes each."""

    account: bytes
    request_id: str
    kind: Kind
    step: Step
    is_open: int
    owner: int
    digest: str
    service: str
    account_token: str | None
    service_input: bytes | None
    reservation_id: str | None
    credits: int | None
    output: bytes | None
    open_time: int
    update_time: int

    @property
    def key(self) -> RequestKey:
        """Its account and id."""
        return self.account, self.request_id


class Move(NamedTuple):
    """One step of one request. What is None stays as it is; columns in the order in which statements take them."""

    account: bytes
    request_id: str
    step: Step
    is_open: int
    lowest: int
    highest: int
    reservation_id: str | None
    credits: int | None
    output: bytes | None
    update_time: int

    @property
    def key(self) -> RequestKey:
        """Its account and id."""
        return self.account, self.request_id

    def is_allowed(self, entry: Entry, *, owner: int) -> bool:
        """Whether an entry may go this step. One that is open belongs to its owner."""
        return self.lowest <= entry.step <= self.highest and (entry.owner == owner or not entry.is_open)

    def apply(self, entry: Entry) -> Entry:
        """Returns the entry after this step."""
        return entry._replace(
            step=self.step,
            is_open=self.is_open,
            account_token=None,
            service_input=entry.service_input if self.step == Step.WORKING else None,
            reservation_id=entry.reservation_id if self.reservation_id is None else self.reservation_id,
            credits=entry.credits if self.credits is None else self.credits,
            output=entry.output if self.output is None else self.output,
            update_time=self.update_time,
        )


def new_entry(
    key: RequestKey,
    *,
    kind: Kind = Kind.REQUEST,
    digest: str,
    service: str,
    account_token: str,
    service_input: bytes | None = None,
) -> Entry:
    """Returns an entry that is about to be opened; `service_input` is kept for work that a crash may not cut off."""
    account, request_id = key
    now = time.time_ns() // 1_000
    return Entry(
        account=account,
        request_id=request_id,
        kind=kind,
        step=Step.RESERVING,
        is_open=1,
        owner=0,
        digest=digest,
        service=service,
        account_token=account_token,
        service_input=service_input,
        reservation_id=None,
        credits=None,
        output=None,
        open_time=now,
        update_time=now,
    )


def new_move(
    key: RequestKey,
    step: Step,
    *,
    reservation_id: str | None = None,
    credits: int | None = None,  # noqa: A002 - the contract's word
    output: bytes | None = None,
) -> Move:
    """Returns a step that is about to be written."""
    # By place: four are made for each request, and names double what one takes.
    return Move(*key, step, *_RULES[step], reservation_id, credits, output, time.time_ns() // 1_000)
