"""Writing lines of the ledger."""

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.errors import BalanceOverflow, InvariantError
from broker_service.domain.grants import TakenBack
from broker_service.domain.records import MAX_BALANCE, Account, Counterpart, Entry, EntryKind, Reservation


class EntryDraft(Struct, frozen=True):
    """A line yet to be numbered: credits onto (positive) or off (negative) the account."""

    kind: EntryKind
    credits: int
    counterpart: Counterpart
    reservation_id: str | None = None
    purchase_id: str | None = None
    description: str = ""


def taken_back_drafts(
    taken_back: tuple[TakenBack, ...], reservation: Reservation, description: str
) -> Iterator[EntryDraft]:
    """Yields the lines for credits of purchases that were charged back, as they come back from a reservation."""
    for part in taken_back:
        yield EntryDraft(
            EntryKind.PURCHASE_REFUND,
            -part.credits,
            Counterpart.REFUNDED_PURCHASE,
            reservation_id=reservation.reservation_id,
            purchase_id=part.purchase_id,
            description=description,
        )


def write_entries(account: Account, now: datetime, *drafts: EntryDraft) -> tuple[Account, tuple[Entry, ...]]:
    """Numbers the drafts that move credits, and returns them with the account as it is after them.

    Raises BalanceOverflow if the account would hold more than 2^63 − 1 credits, InvariantError if less than none.
    """
    entries = []
    for draft in drafts:
        if draft.credits == 0:
            continue
        ledger_credits = account.ledger_credits + draft.credits
        if ledger_credits > MAX_BALANCE:
            raise BalanceOverflow(account_id=account.account_id)
        if ledger_credits < 0:
            raise InvariantError(f"account {account.account_id} would hold {ledger_credits} credits")
        account = replace(account, ledger_credits=ledger_credits, entry_count=account.entry_count + 1, update_time=now)
        entries.append(
            Entry(
                account_id=account.account_id,
                sequence=account.entry_count,
                kind=draft.kind,
                credits=draft.credits,
                counterpart=draft.counterpart,
                ledger_credits_after=ledger_credits,
                time=now,
                reservation_id=draft.reservation_id,
                purchase_id=draft.purchase_id,
                description=draft.description,
            )
        )
    return account, tuple(entries)
