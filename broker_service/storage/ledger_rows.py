"""Ledger records from rows, and rows from ledger records.

A row is a sequence of plain values in the order of its record's fields; `shard_id` is no part of it. The hot path goes
through here for every row, so each kind of record knows beforehand which of its fields stand in the table as something
else.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Row, Table

from broker_service.domain.records import (
    Account,
    AccountToken,
    Allocation,
    Entry,
    Event,
    EventType,
    Grant,
    Operation,
    PaymentNotice,
    Payout,
    Purchase,
    PurchaseRefund,
    Reservation,
    SavedPaymentMethod,
    TrialClaim,
)
from broker_service.domain.webhooks import Webhook
from broker_service.storage import tables
from broker_service.storage.tables import Instant, Span

Record = TypeVar("Record", bound=msgspec.Struct)
PlainRow = Sequence[Any]
Conversion = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ALLOCATIONS = msgspec.json.Decoder(tuple[Allocation, ...])
_METADATA = msgspec.json.Decoder(dict[str, str])
_EVENT_DATA = msgspec.json.Decoder(dict[str, str | int])
_JSON = msgspec.json.Encoder()


def to_microseconds(instant: datetime) -> int:
    """Returns whole microseconds since 1970, as instants are stored."""
    return (instant - _EPOCH) // _MICROSECOND


class RecordRows(Generic[Record]):
    """How one kind of record stands in its table.

    `columns` are the table's without `shard_id`: the record's fields in their order, then the `derived` ones, which
    follow from the record. `converted` says how fields stand in the table that neither the column's nor the field's
    type tells: a pair of functions, into the row and out of it.
    """

    def __init__(
        self,
        table: Table,
        record_type: type[Record],
        *,
        derived: dict[str, Callable[[Record], Any]] | None = None,
        converted: dict[str, tuple[Conversion, Conversion]] | None = None,
    ) -> None:
        self.table = table
        self.fields = record_type.__struct_fields__
        self.columns = (*self.fields, *(derived or {}))
        self._record_type = record_type
        self._derived = derived or {}
        self._into_row: dict[str, Conversion] = {}
        self._out_of_row: list[tuple[int, Conversion]] = []
        for index, field in enumerate(msgspec.structs.fields(record_type)):
            into, out_of = (converted or {}).get(field.name) or _conversions(table, field)
            if into is not None:
                self._into_row[field.name] = into
            if out_of is not None:
                self._out_of_row.append((index, out_of))
        self.row_of = self.picker(self.columns)

    def picker(self, columns: Sequence[str]) -> Callable[[Record], list[Any]]:
        """Returns a function that picks these columns' values out of a record; derived ones come last."""
        names = [name for name in columns if name in self.fields]
        pick = attrgetter(*names) if len(names) > 1 else partial(_pick_one, attrgetter(names[0]))
        conversions = [(names.index(name), self._into_row[name]) for name in names if name in self._into_row]
        derived = [self._derived[name] for name in columns[len(names) :]]

        def row_of(record: Record) -> list[Any]:
            row = list(pick(record))
            for index, convert in conversions:
                value = row[index]
                if value is not None:
                    row[index] = convert(value)
            for derive in derived:
                row.append(derive(record))  # noqa: PERF401 - quicker than a generator, for one at most
            return row

        return row_of

    def record_of(self, row: PlainRow) -> Record:
        """Returns the record of a row that holds `columns` as the database keeps them."""
        values = list(row[: len(self.fields)])
        for index, convert in self._out_of_row:
            value = values[index]
            if value is not None:
                values[index] = convert(value)
        return self._record_type(*values)

    def record_of_core(self, row: Row[Any]) -> Record:
        """Returns the record of a row that SQLAlchemy Core has selected from the whole table."""
        columns = row._mapping
        values = []
        for index, name in enumerate(self.fields):
            column, value = self.table.c[name], columns[name]
            values.append(value if value is None or _is_time(column) else self._convert(index, value))
        return self._record_type(*values)

    def _convert(self, index: int, value: Any) -> Any:
        for converted_index, convert in self._out_of_row:
            if converted_index == index:
                return convert(value)
        return value


def _pick_one(pick: Callable[[Any], Any], record: Any) -> tuple[Any]:
    return (pick(record),)


def _is_time(column: Any) -> bool:
    return isinstance(column.type, Instant | Span)


def _conversions(table: Table, field: msgspec.structs.FieldInfo) -> tuple[Conversion | None, Conversion | None]:
    """Returns how a field gets into its row and out of it; None where it stands there as it is."""
    column_type = table.c[field.name].type
    if isinstance(column_type, Instant):
        return to_microseconds, _instant
    if isinstance(column_type, Span):
        return _whole_microseconds, _span
    if isinstance(field.type, type) and issubclass(field.type, StrEnum):
        return None, {member.value: member for member in field.type}.__getitem__
    if field.type is bool:
        return None, bool  # SQLite keeps it as a number.
    return None, None


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _span(microseconds: int) -> timedelta:
    return timedelta(microseconds=microseconds)


def _whole_microseconds(span: timedelta) -> int:
    return span // _MICROSECOND


def _types_text(types: tuple[EventType, ...]) -> str:
    return ",".join(types)


def _types(text: str) -> tuple[EventType, ...]:
    return tuple(EventType(name) for name in text.split(",")) if text else ()


def _json_text(value: Any) -> str:
    return _JSON.encode(value).decode()


ACCOUNTS = RecordRows(tables.accounts, Account)
GRANTS = RecordRows(tables.grants, Grant, derived={"spent": lambda grant: grant.remaining_credits == 0})
# Allocations are a JSON list of [grant_id, reserved, captured, refunded].
RESERVATIONS = RecordRows(
    tables.reservations,
    Reservation,
    converted={"allocations": (_json_text, _ALLOCATIONS.decode), "metadata": (_json_text, _METADATA.decode)},
)
ENTRIES = RecordRows(tables.entries, Entry)
OPERATIONS = RecordRows(tables.operations, Operation)
PURCHASES = RecordRows(tables.purchases, Purchase)
PURCHASE_REFUNDS = RecordRows(tables.purchase_refunds, PurchaseRefund)
PAYMENT_NOTICES = RecordRows(tables.payment_notices, PaymentNotice)
PAYMENT_METHODS = RecordRows(tables.payment_methods, SavedPaymentMethod)
PAYOUTS = RecordRows(tables.payouts, Payout)
EVENTS = RecordRows(tables.events, Event, converted={"data": (_json_text, _EVENT_DATA.decode)})
WEBHOOKS = RecordRows(tables.webhooks, Webhook, converted={"types": (_types_text, _types)})
ACCOUNT_TOKENS = RecordRows(tables.account_tokens, AccountToken)
TRIAL_CLAIMS = RecordRows(tables.trial_claims, TrialClaim)
