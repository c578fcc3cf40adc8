"""Whether reservations are consistent in themselves, with their parts and with the entries written for them."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Numeric,
    Row,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    not_,
    or_,
    select,
    type_coerce,
    union_all,
)

from broker_service.domain.records import EntryKind, ReservationState
from broker_service.storage import tables
from broker_service.storage.audit.allocations import allocation_parts, is_readable
from broker_service.storage.audit.checks import (
    FIRST_ID,
    LAST_ID,
    Check,
    Rule,
    Span,
    check_of,
    id_names_account,
    sort_in_files,
    within_span,
)
from broker_service.storage.audit.findings import Page
from broker_service.storage.audit.horizon import pruning_horizon
from broker_service.storage.audit.sums import (
    NOTHING,
    ONE,
    Amounts,
    amount_of,
    half_names,
    halves_of_all,
    is_not_zero,
    sums_of_halves,
)

# What is stored less what follows from elsewhere.
_RESERVED, _CAPTURED, _REFUNDED = "reserved_in_parts", "captured_in_parts", "refunded_in_parts"
_CAPTURED_ENTRIES, _REFUNDED_ENTRIES = "captured_in_entries", "refunded_in_entries"
_DIFFERENCES = (_RESERVED, _CAPTURED, _REFUNDED, _CAPTURED_ENTRIES, _REFUNDED_ENTRIES)


# Entries, or nearly as many reservations; what is lined up at once has to be sorted first.
_MOST_LINED_UP = 200_000
# Ids end in one of these, evenly spread.
_ENDINGS = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Part:
    """Reservations whose ids end alike: from one ending on, up to before another."""

    first_ending: str
    end_ending: str


def parts_of(entries: int) -> tuple[Part, ...]:
    """Returns parts of about as many reservations as are lined up at once, for an account of so many entries."""
    count = min(entries // _MOST_LINED_UP + 1, len(_ENDINGS))
    bounds = [FIRST_ID, *(_ENDINGS[number * len(_ENDINGS) // count] for number in range(1, count)), LAST_ID]
    return tuple(Part(first, end) for first, end in pairwise(bounds))


def audit_reservations(connection: Connection, span: Span, part: Part) -> Page:
    """Checks the reservations of a span of accounts, or one part of them, against their entries.

    Every snapshot shows a reservation together with its entries, so that parts can be checked one after the other.
    """
    sort_in_files(connection)
    parameters = span.parameters | {
        "first_ending": part.first_ending,
        "end_ending": part.end_ending,
        "pruned_before": pruning_horizon(connection),
    }
    checks = _reservation_checks(connection.dialect.name)
    return Page(None, tuple(found for check in checks for found in check.violations(connection, parameters)))


@functools.cache
def _reservation_checks(dialect: str) -> tuple[Check, ...]:
    return _rows_check(dialect), _sums_check(dialect)


def _in_lot(reservation_id: ColumnElement[Any]) -> ColumnElement[bool]:
    ending = func.substr(reservation_id, func.length(reservation_id), 1)
    return and_(ending >= bindparam("first_ending"), ending < bindparam("end_ending"))


def _rows_check(dialect: str) -> Check:
    it = tables.reservations.c
    active = it.state == ReservationState.ACTIVE.value
    taken = cast(it.captured_credits, Numeric) + cast(it.released_credits, Numeric)
    reserved = cast(it.reserved_credits, Numeric)
    known_states = [state.value for state in ReservationState]
    in_range = and_(
        it.captured_credits >= NOTHING,
        it.released_credits >= NOTHING,
        it.reserved_credits >= NOTHING,
        it.refunded_credits >= NOTHING,
        it.refunded_credits <= it.captured_credits,
        taken <= reserved,
    )
    return check_of(
        tables.reservations,
        (
            it.account_id,
            it.reservation_id,
            it.state,
            it.reserved_credits,
            it.captured_credits,
            it.released_credits,
            it.refunded_credits,
        ),
        (
            Rule("STATE_KNOWN", it.state.not_in(known_states), "there is no such state"),
            Rule(
                "RESERVATION_IN_RANGE",
                not_(in_range),
                "0 ≤ captured + released ≤ reserved, and 0 ≤ refunded ≤ captured",
            ),
            Rule("RESOLVED_ONCE", and_(not_(active), taken != reserved), "once resolved, it holds nothing any more"),
            Rule("RESOLVE_TIME", active != it.resolve_time.is_(None), "it has a resolve_time once it is resolved"),
            Rule("RESERVATION_TIMES", _is_out_of_time(it), "it is made, then resolved, and expires on its expire_time"),
            Rule("ALLOCATIONS_READABLE", not_(is_readable(dialect)), "its allocations are no list of parts"),
            Rule(
                "ID_NAMES_ACCOUNT",
                not_(id_names_account(it.reservation_id, it.account_id)),
                "its id carries its account",
            ),
        ),
        _describe,
        within_span(tables.reservations),
        _in_lot(it.reservation_id),
    )


def _is_out_of_time(it: Any) -> ColumnElement[bool]:
    return or_(
        it.expire_time < it.create_time,
        it.resolve_time < it.create_time,
        and_(it.state == ReservationState.EXPIRED.value, it.resolve_time != it.expire_time),
    )


def _sums_check(dialect: str) -> Check:
    """Lines up each reservation with its parts and its entries, so that what lacks on either side shows too."""
    sides = union_all(_stored(), _parts(dialect), _entries()).subquery("sides")
    lined_up = (
        select(
            sides.c.account_id,
            sides.c.reservation_id,
            cast(func.sum(sides.c.stored), BigInteger).label("stored"),
            cast(func.sum(sides.c.broken_parts), BigInteger).label("broken_parts"),
            func.max(sides.c.entry_time).label("entry_time"),
            *sums_of_halves(sides, _DIFFERENCES),
        )
        .group_by(sides.c.account_id, sides.c.reservation_id)
        .subquery("lined_up")
    )
    it = lined_up.c
    exists = it.stored > NOTHING

    def differs(name: str) -> ColumnElement[bool]:
        return and_(exists, is_not_zero(lined_up, name))

    return check_of(
        lined_up,
        (it.account_id, it.reservation_id, *(it[half] for name in _DIFFERENCES for half in half_names(name))),
        (
            Rule("RESERVED_IS_SUM_OF_ALLOCATIONS", differs(_RESERVED), "it has reserved what its parts have"),
            Rule("CAPTURED_IS_SUM_OF_ALLOCATIONS", differs(_CAPTURED), "it has captured what its parts have"),
            Rule("REFUNDED_IS_SUM_OF_ALLOCATIONS", differs(_REFUNDED), "it has refunded what its parts have"),
            Rule("CAPTURED_IS_SUM_OF_ENTRIES", differs(_CAPTURED_ENTRIES), "it has captured what its entries say"),
            Rule("REFUNDED_IS_SUM_OF_ENTRIES", differs(_REFUNDED_ENTRIES), "it has refunded what its entries say"),
            Rule("ALLOCATION_IN_RANGE", it.broken_parts > NOTHING, "of each part, 0 ≤ refunded ≤ captured ≤ reserved"),
            Rule(
                "RESERVATION_EXISTS",
                and_(not_(exists), it.entry_time >= bindparam("pruned_before", type_=BigInteger)),
                "entries name it, and it is not on this account, nor was it pruned",
            ),
        ),
        _describe_differences,
    )


def _side(
    stored: ColumnElement[int],
    broken_parts: ColumnElement[int],
    entry_time: ColumnElement[int],
    amounts: Mapping[str, tuple[Amounts, Amounts]],
) -> list[ColumnElement[Any]]:
    return [
        stored.label("stored"),
        broken_parts.label("broken_parts"),
        entry_time.label("entry_time"),
        *halves_of_all(_DIFFERENCES, amounts),
    ]


def _stored() -> Select[Any]:
    it = tables.reservations.c
    amounts: dict[str, tuple[Amounts, Amounts]] = {
        _RESERVED: ([it.reserved_credits], ()),
        _CAPTURED: ([it.captured_credits], ()),
        _REFUNDED: ([it.refunded_credits], ()),
        _CAPTURED_ENTRIES: ([it.captured_credits], ()),
        _REFUNDED_ENTRIES: ([it.refunded_credits], ()),
    }
    return select(it.account_id, it.reservation_id, *_side(ONE, NOTHING, NOTHING, amounts)).where(
        within_span(tables.reservations), _in_lot(it.reservation_id)
    )


def _parts(dialect: str) -> Select[Any]:
    part = allocation_parts(dialect, _in_lot(tables.reservations.c.reservation_id)).c
    in_range = and_(
        part.refunded_credits >= NOTHING,
        part.refunded_credits <= part.captured_credits,
        part.captured_credits <= part.reserved_credits,
    )
    amounts: dict[str, tuple[Amounts, Amounts]] = {
        _RESERVED: ([NOTHING], [part.reserved_credits]),
        _CAPTURED: ([NOTHING], [part.captured_credits]),
        _REFUNDED: ([NOTHING], [part.refunded_credits]),
    }
    broken_parts = case((in_range, NOTHING), else_=ONE)
    return select(part.account_id, part.reservation_id, *_side(NOTHING, broken_parts, NOTHING, amounts))


def _entries() -> Select[Any]:
    it = tables.entries.c
    captured, refunded = it.kind == EntryKind.CAPTURE.value, it.kind == EntryKind.REFUND.value
    # A capture's credits are below 0.
    amounts: dict[str, tuple[Amounts, Amounts]] = {
        _CAPTURED_ENTRIES: ([case((captured, it.credits), else_=NOTHING)], ()),
        _REFUNDED_ENTRIES: ([NOTHING], [case((refunded, it.credits), else_=NOTHING)]),
    }
    entry_time = type_coerce(it.time, BigInteger)
    present = tables.reservations.alias("present")
    return (
        select(it.account_id, it.reservation_id, *_side(NOTHING, NOTHING, entry_time, amounts))
        .select_from(
            tables.entries.outerjoin(
                present,
                and_(present.c.shard_id == it.shard_id, present.c.reservation_id == it.reservation_id),
            )
        )
        .where(
            within_span(tables.entries),
            or_(captured, refunded),
            _in_lot(it.reservation_id),
            # What came before it belongs to a reservation of the same id that was pruned.
            or_(present.c.create_time.is_(None), it.time >= present.c.create_time),
        )
    )


def _describe(row: Row[Any]) -> str:
    return (
        f"reservation {row.reservation_id}, {row.state}, {row.reserved_credits} reserved, {row.captured_credits} "
        f"captured, {row.released_credits} released, {row.refunded_credits} refunded"
    )


def _describe_differences(row: Row[Any]) -> str:
    found = {name: amount_of(row, name) for name in _DIFFERENCES}
    differences = ", ".join(f"{name} {amount:+}" for name, amount in found.items() if amount)
    return f"reservation {row.reservation_id} ({differences or 'no differences'})"
