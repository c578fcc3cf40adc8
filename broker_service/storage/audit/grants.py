"""Whether grants are consistent in themselves, with the reservations that took from them and with their entries."""

import functools
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    type_coerce,
    union_all,
)

from broker_service.domain.purchases import SOLD_STATES
from broker_service.domain.records import EntryKind, GrantKind, PurchaseState, ReservationState
from broker_service.storage import tables
from broker_service.storage.audit.allocations import allocation_parts
from broker_service.storage.audit.checks import Check, Rule, check_of, within_span
from broker_service.storage.audit.sums import (
    NOTHING,
    ONE,
    Amounts,
    amount_of,
    half_names,
    halves_of_all,
    is_negative,
    is_not_zero,
    sums_of_halves,
)

# A grant's credits in reserve less those that active reservations have of it; and those that it has lost less those
# that were taken from it and not given back.
_RESERVED, _LOST = "reserved_in_reservations", "lost_for_no_reason"
_GRANTED = "granted_in_entries"
_TAKEN_BACK = "taken_back_in_entries"

_NO_PURCHASE: ColumnElement[str] = literal_column("''", tables.grants.c.purchase_id.type)
_ENTRY_KINDS = {
    GrantKind.PAID: EntryKind.PURCHASE,
    GrantKind.TRIAL: EntryKind.TRIAL,
    GrantKind.PROMOTIONAL: EntryKind.PROMOTIONAL,
}


@functools.cache
def grant_checks(dialect: str) -> tuple[Check, ...]:
    """Returns the checks of the grants of a span of accounts; they take `pruned_before`, in microseconds."""
    return _rows_check(), _use_check(dialect), _issue_check(), _return_check()


def _rows_check() -> Check:
    it, purchase = tables.grants.c, tables.purchases.c
    with_purchase = tables.grants.outerjoin(
        tables.purchases, and_(purchase.shard_id == it.shard_id, purchase.purchase_id == it.purchase_id)
    )
    is_sold = and_(
        purchase.state.in_([state.value for state in SOLD_STATES]),
        purchase.account_id == it.account_id,
        purchase.credits == it.credits,
    )
    in_range = and_(
        it.reserved_credits >= NOTHING, it.reserved_credits <= it.remaining_credits, it.remaining_credits <= it.credits
    )
    is_charged_back = func.coalesce(purchase.state == PurchaseState.CHARGED_BACK.value, false())
    has_free_credits = it.remaining_credits > it.reserved_credits
    columns = (it.account_id, it.grant_id, it.kind, it.credits, it.remaining_credits, it.reserved_credits)
    return check_of(
        with_purchase,
        columns,
        (
            Rule("GRANT_IN_RANGE", not_(in_range), "0 ≤ reserved ≤ remaining ≤ credits"),
            Rule("GRANT_SPENT", it.spent != (it.remaining_credits == NOTHING), "it is spent when nothing remains"),
            Rule(
                "GRANT_REVOKED",
                or_(it.revoked != is_charged_back, and_(it.revoked, has_free_credits)),
                "it is revoked when its purchase was charged back, and has no free credits then",
            ),
            Rule(
                "GRANT_KIND",
                or_(
                    it.kind.not_in([kind.value for kind in GrantKind]),
                    (it.kind == GrantKind.PAID.value) != it.purchase_id.is_not(None),
                ),
                "it is of a known kind, and PAID when it has a purchase",
            ),
            Rule(
                "PURCHASE_IS_GRANTED",
                and_(it.purchase_id.is_not(None), not_(func.coalesce(is_sold, false()))),
                "its purchase is the account's, paid and of as many credits",
            ),
        ),
        _describe,
        within_span(tables.grants),
    )


def _use_check(dialect: str) -> Check:
    """Lines up each grant with the parts that reservations have of it."""
    sides = union_all(_stored(), _parts(dialect), _refunded_purchases()).subquery("sides")
    lined_up = (
        select(
            sides.c.account_id,
            sides.c.grant_id,
            cast(func.sum(sides.c.stored), BigInteger).label("stored"),
            func.max(sides.c.steady).label("steady"),
            *sums_of_halves(sides, (_RESERVED, _LOST)),
        )
        .group_by(sides.c.account_id, sides.c.grant_id)
        .subquery("lined_up")
    )
    it = lined_up.c
    exists = it.stored > NOTHING
    lost = or_(is_negative(lined_up, _LOST), and_(it.steady > NOTHING, is_not_zero(lined_up, _LOST)))
    return check_of(
        lined_up,
        (it.account_id, it.grant_id, *(it[half] for name in (_RESERVED, _LOST) for half in half_names(name))),
        (
            Rule("GRANT_EXISTS", not_(exists), "reservations name it, and it is not on this account"),
            Rule(
                "GRANT_RESERVED",
                and_(exists, is_not_zero(lined_up, _RESERVED)),
                "it has in reserve what active reservations have of it",
            ),
            Rule("GRANT_REMAINING", and_(exists, lost), "what it has lost was captured, refunded or has expired"),
        ),
        _describe_differences,
    )


def _side(
    stored: ColumnElement[int], steady: ColumnElement[int], amounts: Mapping[str, tuple[Amounts, Amounts]]
) -> list[ColumnElement[Any]]:
    return [stored.label("stored"), steady.label("steady"), *halves_of_all((_RESERVED, _LOST), amounts)]


def _stored() -> Select[Any]:
    """A grant is steady if nothing of it has expired, and no reservation that took from it was pruned."""
    it, account = tables.grants.c, tables.accounts.c
    with_account = tables.grants.join(
        tables.accounts, and_(account.shard_id == it.shard_id, account.account_id == it.account_id)
    )
    is_steady = and_(
        or_(it.expire_time.is_(None), it.expire_time > account.update_time),
        type_coerce(it.create_time, BigInteger) >= bindparam("pruned_before", type_=BigInteger),
    )
    amounts: dict[str, tuple[Amounts, Amounts]] = {
        _RESERVED: ([it.reserved_credits], ()),
        _LOST: ([it.credits], [it.remaining_credits]),
    }
    steady = case((is_steady, ONE), else_=NOTHING)
    return (
        select(it.account_id, it.grant_id, *_side(ONE, steady, amounts))
        .select_from(with_account)
        .where(within_span(tables.grants))
    )


def _parts(dialect: str) -> Select[Any]:
    part = allocation_parts(dialect).c
    active = part.state == ReservationState.ACTIVE.value
    amounts: dict[str, tuple[Amounts, Amounts]] = {
        _RESERVED: (
            [case((active, part.captured_credits), else_=NOTHING)],
            [case((active, part.reserved_credits), else_=NOTHING)],
        ),
        _LOST: ([part.refunded_credits], [part.captured_credits]),
    }
    return select(part.account_id, part.grant_id, *_side(NOTHING, NOTHING, amounts))


def _refunded_purchases() -> Select[Any]:
    grant, entry = tables.grants.c, tables.entries.c
    amounts: dict[str, tuple[Amounts, Amounts]] = {_LOST: ([entry.credits], ())}
    with_grant = tables.entries.join(
        tables.grants,
        and_(
            grant.shard_id == entry.shard_id,
            grant.account_id == entry.account_id,
            grant.purchase_id == entry.purchase_id,
        ),
    )
    return (
        select(grant.account_id, grant.grant_id, *_side(NOTHING, NOTHING, amounts))
        .select_from(with_grant)
        .where(within_span(tables.entries), entry.kind == EntryKind.PURCHASE_REFUND.value)
    )


def _issue_check() -> Check:
    """Lines up what grants put on accounts with the entries that say so."""
    grant, entry = tables.grants.c, tables.entries.c
    entry_kind = case({of.value: kind.value for of, kind in _ENTRY_KINDS.items()}, value=grant.kind, else_=grant.kind)
    granted = select(
        grant.account_id,
        func.coalesce(grant.purchase_id, _NO_PURCHASE).label("purchase_id"),
        entry_kind.label("kind"),
        *halves_of_all([_GRANTED], {_GRANTED: ([grant.credits], ())}),
    ).where(within_span(tables.grants))
    entered = select(
        entry.account_id,
        func.coalesce(entry.purchase_id, _NO_PURCHASE),
        entry.kind,
        *halves_of_all([_GRANTED], {_GRANTED: ([NOTHING], [entry.credits])}),
    ).where(within_span(tables.entries), entry.kind.in_([kind.value for kind in _ENTRY_KINDS.values()]))
    sides = union_all(granted, entered).subquery("sides")
    keys = (sides.c.account_id, sides.c.purchase_id, sides.c.kind)
    lined_up = select(*keys, *sums_of_halves(sides, [_GRANTED])).group_by(*keys).subquery("lined_up")
    it = lined_up.c
    return check_of(
        lined_up,
        (it.account_id, it.purchase_id, it.kind, *(it[half] for half in half_names(_GRANTED))),
        (Rule("GRANT_IS_ENTERED", is_not_zero(lined_up, _GRANTED), "grants put on the account what its entries say"),),
        lambda row: f"{row.kind} {row.purchase_id} ({_GRANTED} {amount_of(row, _GRANTED):+})",
    )


def _return_check() -> Check:
    """Lines up what purchases have refunded with the entries that took it off their accounts.

    Purchases are found by their grants: those are here with their account, and a paid one without a grant is named.
    Entries of a reservation are of credits that came back after a chargeback; those no refund has counted.
    """
    grant, purchase, entry = tables.grants.c, tables.purchases.c, tables.entries.c
    with_purchase = tables.grants.join(
        tables.purchases, and_(purchase.shard_id == grant.shard_id, purchase.purchase_id == grant.purchase_id)
    )
    refunded = (
        select(
            grant.account_id,
            grant.purchase_id,
            *halves_of_all([_TAKEN_BACK], {_TAKEN_BACK: ([purchase.refunded_credits], ())}),
        )
        .select_from(with_purchase)
        .where(within_span(tables.grants))
    )
    entered = select(
        entry.account_id,
        func.coalesce(entry.purchase_id, _NO_PURCHASE),
        *halves_of_all([_TAKEN_BACK], {_TAKEN_BACK: ([entry.credits], ())}),
    ).where(
        within_span(tables.entries),
        entry.kind == EntryKind.PURCHASE_REFUND.value,
        entry.reservation_id.is_(None),
    )
    sides = union_all(refunded, entered).subquery("sides")
    keys = (sides.c.account_id, sides.c.purchase_id)
    lined_up = select(*keys, *sums_of_halves(sides, [_TAKEN_BACK])).group_by(*keys).subquery("lined_up")
    it = lined_up.c
    return check_of(
        lined_up,
        (it.account_id, it.purchase_id, *(it[half] for half in half_names(_TAKEN_BACK))),
        (Rule("REFUND_IS_ENTERED", is_not_zero(lined_up, _TAKEN_BACK), "entries took off what it has refunded"),),
        lambda row: f"purchase {row.purchase_id} ({_TAKEN_BACK} {amount_of(row, _TAKEN_BACK):+})",
    )


def _describe(row: Row[Any]) -> str:
    return (
        f"grant {row.grant_id}, {row.kind} of {row.credits}, {row.remaining_credits} remaining, "
        f"{row.reserved_credits} reserved"
    )


def _describe_differences(row: Row[Any]) -> str:
    found = {name: amount_of(row, name) for name in (_RESERVED, _LOST)}
    differences = ", ".join(f"{name} {amount:+}" for name, amount in found.items() if amount)
    return f"grant {row.grant_id} ({differences or 'no differences'})"
