"""Sums that are exact however large they are.

Sums of credits may leave int64: SQLite fails at that, and PostgreSQL turns to another type. So each amount is summed
in two halves, high and low bits, which are put together afterwards: amount = high · 2^32 + low.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Label, Row, and_, cast, func, literal_column, not_

NOTHING: ColumnElement[int] = literal_column("0", BigInteger)
ONE: ColumnElement[int] = literal_column("1", BigInteger)

_LOW_BITS: ColumnElement[int] = literal_column("4294967295", BigInteger)
_SHIFT: ColumnElement[int] = literal_column("32", Integer)

Amounts = Sequence[ColumnElement[int]]


def half_names(name: str) -> tuple[str, str]:
    """Returns the columns of an amount's high and low half."""
    return f"{name}_high", f"{name}_low"


def halves(name: str, plus: Amounts, minus: Amounts = ()) -> list[Label[int]]:
    """Returns the two halves of an amount: the sum of `plus` less that of `minus`, each within int64 by itself."""
    high = _total([amount.bitwise_rshift(_SHIFT) for amount in plus], [it.bitwise_rshift(_SHIFT) for it in minus])
    low = _total([amount.bitwise_and(_LOW_BITS) for amount in plus], [it.bitwise_and(_LOW_BITS) for it in minus])
    return [half.label(column) for half, column in zip((high, low), half_names(name), strict=True)]


def halves_of_all(names: Iterable[str], amounts: Mapping[str, tuple[Amounts, Amounts]]) -> list[Label[int]]:
    """Returns the halves of each amount: what is added to it and what is taken off it, 0 if it is not mentioned."""
    return [half for name in names for half in halves(name, *amounts.get(name, ([NOTHING], ())))]


def sums_of_halves(source: Any, names: Iterable[str]) -> list[Label[int]]:
    """Returns the sums of amounts that `source` has in halves, in halves again."""
    return [_sum(source.c[half]).label(half) for name in names for half in half_names(name)]


def exact_sum(name: str, plus: Amounts, minus: Amounts = ()) -> list[Label[int]]:
    """Returns the two halves of an amount's sum over rows."""
    return [_sum(half.element).label(half.name) for half in halves(name, plus, minus)]


def is_zero(source: Any, name: str) -> ColumnElement[bool]:
    """Tells whether an amount in halves is 0."""
    high, low = _halves_in(source, name)
    return and_(low.bitwise_and(_LOW_BITS) == NOTHING, high + low.bitwise_rshift(_SHIFT) == NOTHING)


def is_not_zero(source: Any, name: str) -> ColumnElement[bool]:
    """Tells whether an amount in halves is not 0."""
    return not_(is_zero(source, name))


def is_negative(source: Any, name: str) -> ColumnElement[bool]:
    """Tells whether an amount in halves is below 0."""
    high, low = _halves_in(source, name)
    return (high + low.bitwise_rshift(_SHIFT)) < NOTHING


def amount_of(row: Row[Any], name: str) -> int:
    """Returns an amount that a row has in halves."""
    high, low = (int(row._mapping[half]) for half in half_names(name))
    return (high << 32) + low


def _sum(amount: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL's sum of a bigint is numeric, which has no bits.
    return cast(func.coalesce(func.sum(amount), NOTHING), BigInteger)


def _total(plus: Amounts, minus: Amounts) -> ColumnElement[int]:
    total = plus[0]
    for amount in plus[1:]:
        total += amount
    for amount in minus:
        total -= amount
    return total


def _halves_in(source: Any, name: str) -> tuple[ColumnElement[int], ColumnElement[int]]:
    high, low = half_names(name)
    return source.c[high], source.c[low]
