"""Whether each entry follows from the one before it."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Numeric, Row, Text, and_, case, cast, func, literal, not_, or_, select

from broker_service.domain.records import Counterpart, EntryKind
from broker_service.storage import tables
from broker_service.storage.audit.checks import Check, Rule, check_of, within_span
from broker_service.storage.audit.sums import NOTHING, ONE

COUNTERPARTS = {
    EntryKind.PURCHASE: Counterpart.ISSUED,
    EntryKind.TRIAL: Counterpart.ISSUED,
    EntryKind.PROMOTIONAL: Counterpart.ISSUED,
    EntryKind.CAPTURE: Counterpart.REDEEMED,
    EntryKind.REFUND: Counterpart.REDEEMED,
    EntryKind.EXPIRY: Counterpart.EXPIRED,
    EntryKind.PURCHASE_REFUND: Counterpart.REFUNDED_PURCHASE,
}
_OFF_THE_ACCOUNT = (EntryKind.CAPTURE, EntryKind.EXPIRY, EntryKind.PURCHASE_REFUND)
_OF_A_RESERVATION = (EntryKind.CAPTURE, EntryKind.REFUND)
_OF_A_PURCHASE = (EntryKind.PURCHASE, EntryKind.PURCHASE_REFUND)


def _entries_check() -> Check:
    """Compares each entry with the one before it: a break is named once, not on every line behind it."""
    entries = tables.entries

    def before(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.lag(column).over(partition_by=entries.c.account_id, order_by=entries.c.sequence)

    # In the order of the primary key, so that no database sorts the lines of an account, or holds them.
    source = (
        select(
            entries,
            func.coalesce(before(entries.c.sequence), NOTHING).label("sequence_before"),
            func.coalesce(before(entries.c.ledger_credits_after), NOTHING).label("ledger_credits_before"),
            before(cast(entries.c.time, BigInteger)).label("time_before"),
        )
        .where(within_span(entries))
        .subquery("following")
    )
    it = source.c
    columns = (
        it.account_id,
        it.sequence,
        it.kind,
        it.credits,
        it.counterpart,
        it.ledger_credits_after,
        it.ledger_credits_before,
    )
    # Wider than int64, so that no sum of broken numbers fails; never a parameter or a result.
    ledger_credits = cast(it.ledger_credits_before, Numeric) + cast(it.credits, Numeric)
    return check_of(
        source,
        columns,
        (
            Rule("SEQUENCE_GAPLESS", it.sequence != it.sequence_before + ONE, "sequences count up from 1 without gaps"),
            Rule(
                "RUNNING_TOTAL",
                cast(it.ledger_credits_after, Numeric) != ledger_credits,
                "the running total is the one before and the entry's credits",
            ),
            Rule("LEDGER_NOT_NEGATIVE", it.ledger_credits_after < NOTHING, "no account ever holds less than nothing"),
            Rule(
                "COUNTERPART_OF_KIND",
                it.counterpart.is_distinct_from(_counterpart_of(it.kind)),
                "each kind has its one counterpart",
            ),
            Rule("DIRECTION_OF_KIND", not_(_has_direction_of_kind(it.kind, it.credits)), "each kind has its direction"),
            Rule("ENTRY_NAMES_ITS_CAUSE", not_(_names_its_cause(it)), "an entry names what it was written for"),
            Rule("TIME_NEVER_BACKWARDS", cast(it.time, BigInteger) < it.time_before, "time never runs backwards"),
        ),
        _describe,
    )


def _counterpart_of(kind: ColumnElement[str]) -> ColumnElement[str]:
    return case(
        {of.value: literal(counterpart.value, Text) for of, counterpart in COUNTERPARTS.items()}, value=kind, else_=""
    )


def _has_direction_of_kind(kind: ColumnElement[str], moved: ColumnElement[int]) -> ColumnElement[bool]:
    takes = kind.in_([of.value for of in _OFF_THE_ACCOUNT])
    return or_(and_(takes, moved < NOTHING), and_(not_(takes), moved > NOTHING))


def _names_its_cause(it: Any) -> ColumnElement[bool]:
    return and_(
        or_(it.kind.not_in([of.value for of in _OF_A_RESERVATION]), it.reservation_id.is_not(None)),
        or_(it.kind.not_in([of.value for of in _OF_A_PURCHASE]), it.purchase_id.is_not(None)),
    )


def _describe(row: Row[Any]) -> str:
    return (
        f"entry {row.sequence}, {row.kind} of {row.credits} credits against {row.counterpart}, "
        f"{row.ledger_credits_before} before and {row.ledger_credits_after} after it"
    )


ENTRIES = _entries_check()
