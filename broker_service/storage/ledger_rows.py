"""Ledger records from rows, and rows from ledger records."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Row

from broker_service.domain.records import (
    Account,
    AccountState,
    Allocation,
    Counterpart,
    Entry,
    EntryKind,
    Grant,
    GrantKind,
    Operation,
    Purchase,
    PurchaseState,
    Reservation,
    ReservationState,
    TrialClaim,
)

_ALLOCATIONS = msgspec.json.Decoder(tuple[Allocation, ...])

Values = dict[str, Any]
Record = TypeVar("Record", bound=Struct)


def _columns_of(record_type: type[Struct]) -> tuple[str, ...]:
    return record_type.__struct_fields__


def _writer(record_type: type[Record]) -> Callable[[int, Record], Values]:
    """Returns a function that turns a record into its row, column by column."""
    names = _columns_of(record_type)

    def to_values(shard_id: int, record: Record) -> Values:
        values = {name: getattr(record, name) for name in names}
        values["shard_id"] = shard_id
        return values

    return to_values


def _reader(record_type: type[Record], **conversions: Callable[[Any], Any]) -> Callable[[Row[Any]], Record]:
    """Returns a function that turns a row into its record; `conversions` are for columns that hold something else."""
    names = _columns_of(record_type)

    def to_record(row: Row[Any]) -> Record:
        columns = row._mapping
        values = {name: columns[name] for name in names}
        for name, convert in conversions.items():
            values[name] = convert(values[name])
        return record_type(**values)

    return to_record


def _to_allocations(text: str) -> tuple[Allocation, ...]:
    return _ALLOCATIONS.decode(text)


account_values = _writer(Account)
grant_values = _writer(Grant)
entry_values = _writer(Entry)
operation_values = _writer(Operation)
purchase_values = _writer(Purchase)
_reservation_fields = _writer(Reservation)

to_account = _reader(Account, state=AccountState)
to_grant = _reader(Grant, kind=GrantKind)
to_reservation = _reader(Reservation, state=ReservationState, allocations=_to_allocations, metadata=json.loads)
to_entry = _reader(Entry, kind=EntryKind, counterpart=Counterpart)
to_operation = _reader(Operation)
to_purchase = _reader(Purchase, state=PurchaseState)
to_trial_claim = _reader(TrialClaim)


def reservation_values(shard_id: int, reservation: Reservation) -> Values:
    """Returns a reservation's row. Allocations are a JSON list of [grant_id, reserved, captured, refunded]."""
    values = _reservation_fields(shard_id, reservation)
    values["allocations"] = msgspec.json.encode(reservation.allocations).decode()
    values["metadata"] = json.dumps(dict(reservation.metadata)) if reservation.metadata else "{}"
    return values
