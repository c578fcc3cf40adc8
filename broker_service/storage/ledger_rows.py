"""Ledger records from rows, and rows from ledger records."""

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

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

Values = dict[str, Any]
Record = TypeVar("Record")


def _columns_of(record_type: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record_type))


def _plain(record_type: type[Record]) -> Callable[[int, Record], Values]:
    """Returns a function that turns a record into its row, column by column."""
    names = _columns_of(record_type)

    def to_values(shard_id: int, record: Record) -> Values:
        values = {name: getattr(record, name) for name in names}
        values["shard_id"] = shard_id
        return values

    return to_values


account_values = _plain(Account)
grant_values = _plain(Grant)
entry_values = _plain(Entry)
operation_values = _plain(Operation)
purchase_values = _plain(Purchase)
_reservation_fields = _plain(Reservation)


def reservation_values(shard_id: int, reservation: Reservation) -> Values:
    """Returns a reservation's row. Allocations are a JSON list of [grant_id, reserved, captured]."""
    values = _reservation_fields(shard_id, reservation)
    values["allocations"] = json.dumps(
        [[part.grant_id, part.reserved_credits, part.captured_credits] for part in reservation.allocations],
        separators=(",", ":"),
    )
    values["metadata"] = json.dumps(dict(reservation.metadata)) if reservation.metadata else "{}"
    return values


def to_account(row: Row[Any]) -> Account:
    """Returns the record of a row of `accounts`."""
    return Account(
        account_id=row.account_id,
        customer_id=row.customer_id,
        provider_id=row.provider_id,
        service=row.service,
        state=AccountState(row.state),
        ledger_credits=row.ledger_credits,
        reserved_credits=row.reserved_credits,
        entry_count=row.entry_count,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def to_grant(row: Row[Any]) -> Grant:
    """Returns the record of a row of `grants`."""
    return Grant(
        account_id=row.account_id,
        grant_id=row.grant_id,
        kind=GrantKind(row.kind),
        priority=row.priority,
        credits=row.credits,
        remaining_credits=row.remaining_credits,
        reserved_credits=row.reserved_credits,
        expire_time=row.expire_time,
        purchase_id=row.purchase_id,
        create_time=row.create_time,
    )


def to_reservation(row: Row[Any]) -> Reservation:
    """Returns the record of a row of `reservations`."""
    return Reservation(
        account_id=row.account_id,
        reservation_id=row.reservation_id,
        provider_id=row.provider_id,
        service=row.service,
        state=ReservationState(row.state),
        reserved_credits=row.reserved_credits,
        captured_credits=row.captured_credits,
        released_credits=row.released_credits,
        refunded_credits=row.refunded_credits,
        allocations=tuple(Allocation(*part) for part in json.loads(row.allocations)),
        fingerprint=row.fingerprint,
        create_time=row.create_time,
        expire_time=row.expire_time,
        resolve_time=row.resolve_time,
        description=row.description,
        metadata=json.loads(row.metadata),
    )


def to_entry(row: Row[Any]) -> Entry:
    """Returns the record of a row of `entries`."""
    return Entry(
        account_id=row.account_id,
        sequence=row.sequence,
        kind=EntryKind(row.kind),
        credits=row.credits,
        counterpart=Counterpart(row.counterpart),
        ledger_credits_after=row.ledger_credits_after,
        time=row.time,
        reservation_id=row.reservation_id,
        purchase_id=row.purchase_id,
        description=row.description,
    )


def to_operation(row: Row[Any]) -> Operation:
    """Returns the record of a row of `operations`."""
    return Operation(
        account_id=row.account_id,
        operation_id=row.operation_id,
        fingerprint=row.fingerprint,
        captured_credits=row.captured_credits,
        released_credits=row.released_credits,
        time=row.time,
    )


def to_purchase(row: Row[Any]) -> Purchase:
    """Returns the record of a row of `purchases`."""
    return Purchase(
        account_id=row.account_id,
        purchase_id=row.purchase_id,
        provider_id=row.provider_id,
        service=row.service,
        pack_id=row.pack_id,
        pack_title=row.pack_title,
        credits=row.credits,
        validity=row.validity,
        currency=row.currency,
        price_minor_units=row.price_minor_units,
        commission_minor_units=row.commission_minor_units,
        state=PurchaseState(row.state),
        fingerprint=row.fingerprint,
        create_time=row.create_time,
        pay_time=row.pay_time,
    )


def to_trial_claim(row: Row[Any]) -> TrialClaim:
    """Returns the record of a row of `trial_claims`."""
    return TrialClaim(customer_id=row.customer_id, service=row.service, account_id=row.account_id, time=row.time)
