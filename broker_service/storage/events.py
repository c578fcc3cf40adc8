"""The outbox: giving events their places, and reading those that have one.

An event is written by whatever caused it, without a place. Places are given afterwards, in one transaction at a time
whoever gives them, so they become visible in their order: who has read up to a place misses nothing.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, exists, func, select, update

from broker_service.domain.directory import Role
from broker_service.domain.records import Event, EventType
from broker_service.domain.webhooks import Audience
from broker_service.storage import tables
from broker_service.storage.deliveries import add_deliveries
from broker_service.storage.events_turn import take_turn
from broker_service.storage.ledger_rows import EVENTS
from broker_service.storage.webhooks import webhooks_for

# In one transaction: others who place or deliver wait behind it.
_PLACED_AT_ONCE: Final = 200
_PRUNED_AT_ONCE: Final = 1_000


class PlacedEvent(Struct, frozen=True):
    """An event and its place in the order of all, from 1."""

    position: int
    event: Event


class EventSelection(Struct, frozen=True):
    """Which events: an owner's, behind a place, of some types (none: of all), oldest first, so many at most."""

    audience: Audience
    after_position: int
    types: tuple[EventType, ...]
    limit: int


def has_unplaced(connection: Connection) -> bool:
    """Tells whether there are events without a place."""
    return connection.execute(_ANY_UNPLACED).scalar_one()


def place_events(connection: Connection, now: datetime) -> int:
    """Gives the oldest events without one their places, and makes their deliveries; returns how many.

    Fewer than could be are all there are.
    """
    take_turn(connection)
    unplaced = [EVENTS.record_of_core(row) for row in connection.execute(_UNPLACED)]
    if not unplaced:
        return 0
    first = last_position(connection) + 1
    placed = [PlacedEvent(position, event) for position, event in enumerate(unplaced, start=first)]
    connection.execute(_PLACE, [{"placed_id": it.event.event_id, "place": it.position} for it in placed])
    wanting = webhooks_for(connection, unplaced)
    add_deliveries(
        connection,
        [
            (webhook.webhook_id, it.position, it.event)
            for it in placed
            for webhook in wanting
            if webhook.wants(it.event)
        ],
        now,
    )
    return len(placed)


def last_position(connection: Connection) -> int:
    """Returns the last place given; 0 before the first."""
    return connection.execute(select(func.max(tables.events.c.position))).scalar_one() or 0


def events_after(connection: Connection, selection: EventSelection) -> list[PlacedEvent]:
    """Returns the events selected."""
    events, audience = tables.events, selection.audience
    statement = (
        select(events)
        .where(events.c.position > selection.after_position)
        .order_by(events.c.position)
        .limit(selection.limit)
    )
    if audience.role is Role.PROVIDER:
        statement = statement.where(events.c.provider_id == audience.owner_id)
    elif audience.role is Role.CUSTOMER:
        statement = statement.where(events.c.customer_id == audience.owner_id)
    if selection.types:
        statement = statement.where(events.c.type.in_([it.value for it in selection.types]))
    return [PlacedEvent(row.position, EVENTS.record_of_core(row)) for row in connection.execute(statement)]


def delivered_before(connection: Connection) -> int:
    """Returns a place before which nothing waits to be delivered or was given up.

    It is never behind the last event, which stays, for the next one's place follows from it.
    """
    undelivered = connection.execute(select(func.min(tables.deliveries.c.position))).scalar_one()
    last = last_position(connection)
    return last if undelivered is None else min(undelivered, last)


def count_prunable_events(connection: Connection, before: datetime) -> int:
    """Returns how many events could be removed."""
    events = tables.events
    statement = select(func.count()).where(events.c.position < delivered_before(connection), events.c.time < before)
    return connection.execute(statement).scalar_one()


def remove_events(connection: Connection, before: datetime, after_position: int) -> tuple[int, int | None]:
    """Removes events from before an instant that have all been delivered, in a window of places.

    Returns how many went, and where the next window begins; None: there is none.
    """
    take_turn(connection)
    events, end = tables.events, delivered_before(connection)
    window_end = connection.execute(
        select(events.c.position)
        .where(events.c.position > after_position, events.c.position < end)
        .order_by(events.c.position)
        .offset(_PRUNED_AT_ONCE - 1)
        .limit(1)
    ).scalar_one_or_none()
    until = end - 1 if window_end is None else window_end
    removed = connection.execute(
        delete(events).where(events.c.position > after_position, events.c.position <= until, events.c.time < before)
    ).rowcount
    return removed, window_end


_ANY_UNPLACED: Final = select(exists().where(tables.events.c.position.is_(None)))
_UNPLACED: Final = (
    select(tables.events)
    .where(tables.events.c.position.is_(None))
    .order_by(tables.events.c.time, tables.events.c.entry_count, tables.events.c.ordinal, tables.events.c.event_id)
    .limit(_PLACED_AT_ONCE)
)
_PLACE: Final = (
    update(tables.events).where(tables.events.c.event_id == bindparam("placed_id")).values(position=bindparam("place"))
)
